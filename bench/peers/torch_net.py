"""PyTorch: channels_last, the flattening free of copies, fused Adam, inference_mode."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from . import Recipe, Weights, as_float


class Flatten(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)  # of channels_last memory: a view


def network(weights: Weights, dropout: float) -> nn.Sequential:
    """Flattens height, width, channel, as our weights want it."""
    conv1, conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
    dense1, dense2 = nn.Linear(1600, 256), nn.Linear(256, 10)
    named = {"conv1": conv1, "conv2": conv2, "dense1": dense1, "dense2": dense2}
    with torch.no_grad():
        for name, layer in named.items():
            w = torch.from_numpy(weights[f"{name}_w"].copy())
            layer.weight.copy_(w.permute(3, 2, 0, 1) if w.ndim == 4 else w.T)
            layer.bias.copy_(torch.from_numpy(weights[f"{name}_b"].copy()))
    steps = [conv1, nn.ReLU(), nn.MaxPool2d(2), conv2, nn.ReLU(), nn.MaxPool2d(2), Flatten()]
    steps += [nn.Dropout(dropout)] if dropout else []
    steps += [dense1, nn.ReLU(), dense2]
    return nn.Sequential(*steps).to(memory_format=torch.channels_last)


def prepared(images: np.ndarray) -> torch.Tensor:
    """Float32 (n, 1, 28, 28) in channels_last memory."""
    return torch.from_numpy(as_float(images))[:, None].contiguous(memory_format=torch.channels_last)


class Torch:
    compiled = False

    def __init__(self, recipe: Recipe, weights: Weights, rates: np.ndarray, threads: int):
        torch.set_num_threads(threads)
        self.recipe, self.rates, self.step = recipe, rates.tolist(), 0
        self.net = network(weights, recipe.dropout)
        params = self.net.parameters()
        if recipe.optimizer == "rmsprop":
            self.optimizer = torch.optim.RMSprop(params, lr=0.0, alpha=0.9, eps=1e-7, foreach=True)
        else:
            self.optimizer = torch.optim.Adam(params, lr=0.0, fused=True)
        self.call = torch.compile(self.net, dynamic=False) if self.compiled else self.net

    def load(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.x, self.y = prepared(images), torch.from_numpy(labels.astype(np.int64))
        if self.recipe.loss == "sigmoid":
            self.y = torch.eye(10)[self.y]

    def epoch(self) -> float:
        self.net.train()
        loss_of = (
            functional.binary_cross_entropy_with_logits
            if self.recipe.loss == "sigmoid"
            else functional.cross_entropy
        )
        total = torch.zeros(())
        for rows in torch.randperm(len(self.x)).split(self.recipe.batch):
            self.optimizer.param_groups[0]["lr"] = self.rates[min(self.step, len(self.rates) - 1)]
            loss = loss_of(self.call(self.x[rows]), self.y[rows])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(rows)
            self.step += 1
        return float(total) / len(self.x)

    def weights(self) -> Weights:
        found = {}
        layers = [layer for layer in self.net if isinstance(layer, nn.Conv2d | nn.Linear)]
        for name, layer in zip(("conv1", "conv2", "dense1", "dense2"), layers, strict=True):
            w = layer.weight.detach()
            found[f"{name}_w"] = (w.permute(2, 3, 1, 0) if w.ndim == 4 else w.T).numpy().copy()
            found[f"{name}_b"] = layer.bias.detach().numpy().copy()
        return found

    def predictor(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        self.net.eval()
        x = prepared(images)

        def predict() -> np.ndarray:
            with torch.inference_mode():
                return torch.softmax(self.call(x), dim=1).numpy()

        return predict


class Compiled(Torch):
    """torch.compile: needs a C++ compiler, and half a minute for each shape."""

    compiled = True
