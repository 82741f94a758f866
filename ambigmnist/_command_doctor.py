"""``ambigmnist doctor``: what this installation can do, where data was found, a self-test."""

import argparse
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from ambigmnist._command_io import put

__all__ = ["doctor"]


def doctor(args: argparse.Namespace) -> int:
    """What this installation can do; 1 if it does not work."""
    from ambigmnist._mnist import find_mnist
    from ambigmnist.config import show_config

    config = show_config(mode="object")
    assert config is not None
    location = find_mnist()
    checks = list(_self_test())
    good = all(problem is None for _, problem in checks)
    if args.json:
        found = {
            "version": config.version,
            "python": config.python,
            "numpy": config.numpy,
            "machine": config.machine,
            "isa": config.instruction_set,
            "isa_available": list(config.available),
            "strict": config.strict,
            "threads": config.threads,
            "threads_from": config.threads_from,
            "mnist": None if location is None else str(location.path),
            "mnist_from": None if location is None else location.source,
            "self_test": {name: problem or "ok" for name, problem in checks},
        }
        put(json.dumps(found, indent=1))
    else:
        data = "not found: the embedded digits are used" if location is None else str(location)
        lines = [repr(config), f"MNIST            {data}", "", "self-test"]
        lines += [f"  {name:<48} {problem or 'ok'}" for name, problem in checks]
        put("\n".join(lines))
    return 0 if good else 1


def _self_test() -> Iterator[tuple[str, str | None]]:
    """(what was tried, what went wrong or None): the core at work, in about a second."""
    from ambigmnist import _ambigcore
    from ambigmnist.datasets import load_digits
    from ambigmnist.layers import conv2d_forward
    from ambigmnist.model import CNN
    from ambigmnist.ranking import rank

    # Random123's known answer for Philox4x32-10, all bits of counter and key set.
    expected = (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    got = _ambigcore.philox4x32((2**32 - 1,) * 4, (2**32 - 1,) * 2)
    yield "random numbers", None if got == expected else f"expected {expected}, got {got}"

    train, test = load_digits()
    assert train.labels is not None
    x = train.images[:4, :, :, None] / np.float32(255)
    w = (np.arange(9 * 5, dtype=np.float32).reshape(3, 3, 1, 5) - 22) / 22
    windows = np.lib.stride_tricks.sliding_window_view(x[..., 0].astype(np.float64), (3, 3), (1, 2))
    exact = np.einsum("nhwij,ijc->nhwc", windows, w[:, :, 0].astype(np.float64))
    off = float(np.abs(conv2d_forward(x, w, np.zeros(5, np.float32)) - exact).max())
    limit = 1e-5 * float(np.abs(exact).max())
    yield "convolution", None if off <= limit else f"off by {off:.3g}, expected at most {limit:.3g}"

    layers: list[Any] = [("conv", 4, 3), "relu", ("maxpool", 2), "flatten", ("dense", 10)]
    scores = []
    losses = []
    for threads in (1, 2):
        model = CNN(layers=layers, epochs=2, seed=0, threads=threads)
        model.fit(train.images[:256], train.labels[:256], verbose=0)
        losses.append(model.history["loss"])
        scores.append(rank(model.evidence(test.images, test.labels)).scores)
    first, last = float(losses[0][0]), float(losses[0][-1])
    yield "training", None if last < first else f"the loss went from {first:.4g} to {last:.4g}"
    same = np.array_equal(scores[0], scores[1])
    yield "same bits with one thread and two", None if same else "they differ"
