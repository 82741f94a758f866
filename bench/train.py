"""Training the article's network beside PyTorch, alternating in one process.

    python bench/train.py [--quick] [--threads 2]

Two recipes: the article's (batch 256, dropout 0.5, sigmoid loss, RMSprop: preset "seed") and the
preset "fast" (batch 64, no dropout, softmax, Adam). One epoch over the same images counts, the
short last batch and the shuffling included.
"""

import time
from collections.abc import Callable

import _common
import numpy as np

RECIPES = {
    "seed": "batch 256, dropout 0.5, RMSprop",
    "fast": "batch 64, no dropout, Adam",
}
NO_DROPOUT = [
    ("conv", 32, 3),
    "relu",
    ("maxpool", 2),
    ("conv", 64, 3),
    "relu",
    ("maxpool", 2),
    "flatten",
    ("dense", 256),
    "relu",
    ("dense", 10),
]


def main() -> None:
    options = _common.arguments(__doc__.splitlines()[0])
    import torch
    from torch.nn import functional

    import ambigmnist as am

    machine = _common.setup(options.threads)
    n = 2_560 if options.quick else 12_800
    images, labels = _common.load_data(n)
    x, y = _common.torch_images(images), torch.from_numpy(labels)
    one_hot = torch.eye(10)[y]

    def torch_loss(preset: str, z: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        if preset == "seed":
            return functional.binary_cross_entropy_with_logits(z, one_hot[rows])
        return functional.cross_entropy(z, y[rows])

    def torch_epoch(preset: str, batch: int, dropout: float) -> Callable[[], float]:
        net = _common.torch_network(dropout=dropout).train()
        optimizer = (
            torch.optim.RMSprop(net.parameters(), lr=1e-4, alpha=0.9, eps=1e-7, foreach=True)
            if preset == "seed"
            else torch.optim.Adam(net.parameters(), lr=3e-4, fused=True)
        )

        def epoch() -> float:
            start = time.perf_counter()
            order = torch.randperm(n)
            total = torch.zeros(())
            for first in range(0, n, batch):
                rows = order[first : first + batch]
                loss = torch_loss(preset, net(x[rows]), rows)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.detach()
            float(total)
            return time.perf_counter() - start

        return epoch

    def our_epoch(preset: str) -> Callable[[], float]:
        def epoch() -> float:
            model = am.CNN(preset=preset, epochs=1, validation_split=0.0, threads=options.threads)
            model.fit(images, labels, verbose=False)
            return float(np.sum(model.history["seconds"]))

        return epoch

    def check(preset: str, batch: int) -> None:
        """The loss of one step from trained weights, and the logits of the same weights."""
        model = am.CNN(
            preset=preset, layers=NO_DROPOUT, batch_size=batch, epochs=1, validation_split=0.0
        )
        model.fit(images[:1024], labels[:1024], verbose=False)
        net = _common.torch_network(_common.weights_of(model)).eval()
        rows = torch.arange(batch)
        with torch.inference_mode():
            z = net(x[rows])
            theirs = float(torch_loss(preset, z, rows))
        _common.check_equal(f"{preset}, logits", model.logits(images[:batch]), z.numpy(), 1e-4)
        model.fit(images[:batch], labels[:batch], epochs=1, warm_start=True, verbose=False)
        ours = np.asarray(model.history["loss"])[-1:]
        _common.check_equal(f"{preset}, loss of a step", ours, np.array([theirs]), 1e-4)

    results = []
    for preset, batch, dropout in (("seed", 256, 0.5), ("fast", 64, 0.0)):
        check(preset, batch)
        contestants = {
            "ambigmnist": our_epoch(preset),
            "PyTorch": torch_epoch(preset, batch, dropout),
        }
        case = f"training, {RECIPES[preset]}"
        seconds = _common.alternate(contestants, options.rounds)
        results.append(_common.summarise(case, n, seconds))
    _common.write(options, "train", machine, results)


if __name__ == "__main__":
    main()
