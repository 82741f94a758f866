"""The article's network in other frameworks, one file each, all with the same small interface.

A contestant (`Contestant` below) is built from a recipe, weights in our layout and the rate of
every step. `load` gets the images outside the clock and may bring them into whatever form suits
the framework; `epoch` trains once over them, shuffled, the short last batch included; `predictor`
returns a call that is timed, its input prepared as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np

Weights = dict[str, np.ndarray]

SHAPES = {
    "conv1_w": (3, 3, 1, 32),
    "conv1_b": (32,),
    "conv2_w": (3, 3, 32, 64),
    "conv2_b": (64,),
    "dense1_w": (1600, 256),
    "dense1_b": (256,),
    "dense2_w": (256, 10),
    "dense2_b": (10,),
}


@dataclass(frozen=True)
class Recipe:
    """How the network is trained; the presets of `ambigmnist.CNN` in numbers."""

    preset: str
    batch: int
    dropout: float
    loss: str  # "sigmoid": mean over the classes of a cross-entropy each; "softmax"
    optimizer: str  # "rmsprop": 0.9, 1e-7 outside the root; "adam": 0.9, 0.999, 1e-8
    rate: float  # constant, or the peak of one cycle
    cycle: bool

    def rates(self, steps: int) -> np.ndarray:
        """Of every step: by cosine from a tenth of the peak, to a thousandth of it."""
        if not self.cycle:
            return np.full(steps, self.rate, np.float32)
        last = max(steps - 1, 1)
        t, warm = np.arange(steps), last / 4
        up = (1 - np.cos(np.pi * t / warm)) / 2
        down = (1 + np.cos(np.pi * (t - warm) / (last - warm))) / 2
        rising = self.rate * (0.1 + 0.9 * up)
        return np.where(t < warm, rising, self.rate * (1e-3 + 0.999 * down)).astype(np.float32)


RECIPES = {
    "seed": Recipe("seed", 256, 0.5, "sigmoid", "rmsprop", 1e-4, False),
    "fast": Recipe("fast", 64, 0.0, "softmax", "adam", 3e-3, True),
}


class Contestant(Protocol):
    def __init__(self, recipe: Recipe, weights: Weights, rates: np.ndarray, threads: int): ...
    def load(self, images: np.ndarray, labels: np.ndarray) -> None: ...
    def epoch(self) -> float: ...  # the mean loss
    def weights(self) -> Weights: ...
    def predictor(self, images: np.ndarray) -> Callable[[], np.ndarray]: ...  # probabilities


# Name: module and class. What comes first is imported first.
KNOWN = {
    "ambigmnist": ("ours", "Ours"),
    "PyTorch": ("torch_net", "Torch"),
    "torch.compile": ("torch_net", "Compiled"),
    "Keras": ("keras_net", "Keras"),
    "Keras, XLA": ("keras_net", "KerasXLA"),
    "JAX": ("jax_net", "Jax"),
    "ONNX Runtime": ("onnx_net", "Onnx"),  # predicts only
}


def contestant(name: str) -> Any:
    """The class of that name."""
    module, cls = KNOWN[name]
    return getattr(import_module(f"{__name__}.{module}"), cls)


def steps_of(images: np.ndarray, batch: int) -> int:
    return -(-len(images) // batch)


def as_float(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) / np.float32(255)
