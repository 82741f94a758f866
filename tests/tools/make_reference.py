"""Writes tests/data/article_reference.npz: the article's network by another framework.

Run once, in an environment of its own with torch==2.13.0 and numpy (no ambigmnist):

    python tests/tools/make_reference.py

PyTorch computes on the CPU, in float64, from the weights and batches of tests/reference.py: the
forward logits, the gradients of all 431,242 parameters under both losses, and ten-step loss curves
under three optimizers. Losses and optimizers are spelled out here, because the framework's
own differ (its RMSprop keeps 0.99 of the average; its Nesterov is another form). Dropout is off.
Everything runs in float32 as well: how far that is from float64 is printed, and checked.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import reference

Tensors = dict[str, torch.Tensor]


def forward(p: Tensors, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (n, 10); beside them the input and the output before ReLU of the first dense layer."""
    x = images.permute(0, 3, 1, 2)
    for layer in ("conv1", "conv2"):
        kernel = p[f"{layer}_w"].permute(3, 2, 0, 1)
        x = torch.nn.functional.conv2d(x, kernel, p[f"{layer}_b"]).clamp_min(0.0)
        x = torch.nn.functional.max_pool2d(x, 2)
    features = x.permute(0, 2, 3, 1).flatten(1)  # height, width, channel
    hidden = features @ p["dense1_w"] + p["dense1_b"]
    return hidden.clamp_min(0.0) @ p["dense2_w"] + p["dense2_b"], features, hidden


def sigmoid_loss(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    y = torch.eye(10, dtype=z.dtype)[labels]
    return (z.clamp_min(0.0) - z * y + torch.log1p(torch.exp(-z.abs()))).mean()


def softmax_loss(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    own = z.gather(1, labels[:, None])[:, 0]
    return (torch.logsumexp(z, dim=1) - own).mean()


LOSSES = {"sigmoid": sigmoid_loss, "softmax": softmax_loss}


class RMSprop:
    """v <- 0.9 v + 0.1 g^2; w <- w - 1e-4 g / (sqrt(v) + 1e-7): epsilon outside the root."""

    def __init__(self, p: Tensors):
        self.v = {name: torch.zeros_like(w) for name, w in p.items()}

    def update(self, name: str, w: torch.Tensor, g: torch.Tensor, step: int) -> torch.Tensor:
        v = self.v[name] = 0.9 * self.v[name] + 0.1 * g * g
        return w - 1e-4 * g / (v.sqrt() + 1e-7)


class Adam:
    """Kingma and Ba, algorithm 1, with 0.9, 0.999, 1e-8 and learning rate 1e-3."""

    def __init__(self, p: Tensors):
        self.m = {name: torch.zeros_like(w) for name, w in p.items()}
        self.v = {name: torch.zeros_like(w) for name, w in p.items()}

    def update(self, name: str, w: torch.Tensor, g: torch.Tensor, step: int) -> torch.Tensor:
        m = self.m[name] = 0.9 * self.m[name] + 0.1 * g
        v = self.v[name] = 0.999 * self.v[name] + 0.001 * g * g
        m_hat = m / (1.0 - 0.9**step)
        v_hat = v / (1.0 - 0.999**step)
        return w - 1e-3 * m_hat / (v_hat.sqrt() + 1e-8)


class Nesterov:
    """v <- 0.9 v - 0.01 g; w <- w + 0.9 v - 0.01 g."""

    def __init__(self, p: Tensors):
        self.v = {name: torch.zeros_like(w) for name, w in p.items()}

    def update(self, name: str, w: torch.Tensor, g: torch.Tensor, step: int) -> torch.Tensor:
        v = self.v[name] = 0.9 * self.v[name] - 0.01 * g
        return w + 0.9 * v - 0.01 * g


CURVES = {
    "rmsprop_sigmoid": (RMSprop, sigmoid_loss),
    "adam_softmax": (Adam, softmax_loss),
    "nesterov_softmax": (Nesterov, softmax_loss),
}


def parameters(dtype: torch.dtype) -> Tensors:
    return {
        name: torch.from_numpy(w).to(dtype).requires_grad_()
        for name, w in reference.weights().items()
    }


def gradients(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    dtype: torch.dtype,
    images: torch.Tensor,
    labels: torch.Tensor,
) -> dict[str, np.ndarray]:
    p = parameters(dtype)
    z, features, hidden = forward(p, images)
    value = loss(z, labels)
    wanted = [*p.values(), hidden]
    grads = torch.autograd.grad(value, wanted)
    out = dict(zip([*p, "dense1_output"], (g.numpy() for g in grads), strict=True))
    return out | {
        "loss": value.detach().numpy(),
        "logits": z.detach().numpy(),
        "dense1_input": features.detach().numpy(),
    }


def curve(
    optimizer_class: type[RMSprop | Adam | Nesterov],
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    labels: torch.Tensor,
) -> np.ndarray:
    """Ten losses, each before its update, and the first batch's loss after all of them."""
    p = parameters(images.dtype)
    optimizer = optimizer_class(p)
    losses = []
    for step in range(reference.STEPS):
        value = loss(forward(p, images[step])[0], labels[step])
        losses.append(value.item())
        grads = torch.autograd.grad(value, list(p.values()))
        p = {
            name: optimizer.update(name, w.detach(), g, step + 1).requires_grad_()
            for (name, w), g in zip(p.items(), grads, strict=True)
        }
    losses.append(loss(forward(p, images[0])[0], labels[0]).item())
    return np.array(losses)


def main() -> None:
    torch.set_num_threads(1)
    raw_images, raw_labels = reference.batches()
    # The float32 quotient is the network's input in both precisions.
    pixels = raw_images.astype(np.float32) / np.float32(255)
    images = {d: torch.from_numpy(pixels).to(d) for d in (torch.float64, torch.float32)}
    labels = torch.from_numpy(raw_labels)

    out: dict[str, np.ndarray] = {
        "inputs_sha256": np.frombuffer(bytes.fromhex(reference.inputs_digest()), np.uint8)
    }
    for name, loss in LOSSES.items():
        exact = gradients(loss, torch.float64, images[torch.float64][0], labels[0])
        single = gradients(loss, torch.float32, images[torch.float32][0], labels[0])
        worst = max(reference.relative_error(single[k], exact[k]) for k in exact)
        print(f"{name}: loss {exact['loss']:.9f}, float32 is off by at most {worst:.1e}")
        assert worst < 1e-5, "an input sits on a tie or a kink: choose another seed"
        out["logits"] = exact.pop("logits")
        out["dense1_input"] = exact.pop("dense1_input").astype(np.float32)
        out[f"{name}_loss"] = exact.pop("loss")
        # dense1_w (1600 x 256) is the product of two thin matrices; keep those.
        product = out["dense1_input"].astype(np.float64).T @ exact["dense1_output"]
        assert reference.relative_error(product, exact.pop("dense1_w")) < 1e-6
        for tensor, g in exact.items():
            out[f"{name}/{tensor}"] = g.astype(np.float32)
    for name, (optimizer, loss) in CURVES.items():
        exact_curve = curve(optimizer, loss, images[torch.float64], labels)
        single_curve = curve(optimizer, loss, images[torch.float32], labels)
        worst = np.abs(single_curve / exact_curve - 1.0).max()
        print(f"{name}: {exact_curve[0]:.6f} -> {exact_curve[-1]:.6f}, float32 off by {worst:.1e}")
        assert worst < 5e-6, "rounding grows along this curve: choose another seed"
        out[name] = exact_curve[:-1]
        out[f"{name}_after"] = exact_curve[-1:]
        out[f"{name}_float32"] = single_curve[:-1]
    path = reference.REFERENCE_FILE
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **out)
    parameters_stored = sum(np.prod(s) for s in reference.ARTICLE_SHAPES.values())
    print(f"{path.name}: {path.stat().st_size} bytes, gradients of {parameters_stored} parameters")


if __name__ == "__main__":
    main()
