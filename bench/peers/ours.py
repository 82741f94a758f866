"""This package, through its public names."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import ambigmnist as am

from . import SHAPES, Recipe, Weights


def layers(dropout: float) -> list:
    """The article's network; without dropout, for comparing one step."""
    drop = [("dropout", dropout)] if dropout else []
    conv = [("conv", 32, 3), "relu", ("maxpool", 2), ("conv", 64, 3), "relu", ("maxpool", 2)]
    return [*conv, "flatten", *drop, ("dense", 256), "relu", ("dense", 10)]


def read_weights(model: am.CNN) -> Weights:
    """The parameters, from the file that the model saves (safetensors)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    by_shape = {}
    for name, entry in json.loads(raw[8:start]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            first, last = (start + offset for offset in entry["data_offsets"])
            shape = tuple(entry["shape"])
            by_shape[shape] = np.frombuffer(raw[first:last], "<f4").reshape(shape)
    return {name: by_shape[shape] for name, shape in SHAPES.items()}  # no two shapes are equal


class Ours:
    """Starts from the images as they are, uint8, and converts inside the clock."""

    def __init__(self, recipe: Recipe, weights: Weights | None, rates: np.ndarray, threads: int):
        """`weights` are the seed's: what this trains first is carried over to the others."""
        self.model = am.CNN(
            preset=recipe.preset,
            layers=layers(recipe.dropout),
            epochs=1,
            validation_split=0.0,
            threads=threads,
        )

    def load(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        if not hasattr(self.model, "classes_"):
            self.model.fit(images[:2048], labels[:2048], verbose=0)

    def epoch(self) -> float:
        self.model.fit(self.images, self.labels, warm_start=True, verbose=0)
        return float(self.model.history["loss"][-1])

    def weights(self) -> Weights:
        return read_weights(self.model)

    def predictor(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        return lambda: self.model.predict_proba(images)
