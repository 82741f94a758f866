"""This package, through its public names."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import ambigmnist as am

from . import SHAPES, Recipe, Weights, steps_of


def read_weights(path: Path) -> Weights:
    """The parameters in a file that a model was saved to (safetensors)."""
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
    """Starts from the images as they are, uint8, and converts inside the clock.

    All epochs are one `fit`, which waits after each of them: its optimizer goes on where it was, as
    those of the others do. `weights` names a file.
    """

    def __init__(self, recipe: Recipe, weights: Path, rates: np.ndarray, threads: int):
        self.model = am.CNN.load(weights)
        self.model.preset, self.model.threads = recipe.preset, threads
        self.model.validation_split = 0.0
        self.steps, self.batch = len(rates), recipe.batch
        self.fit: threading.Thread | None = None
        self.failure: Exception | None = None
        self.turn, self.done = threading.Semaphore(0), threading.Semaphore(0)

    def load(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self.epochs = max(1, self.steps // steps_of(images, self.batch))

    def epoch(self) -> float:
        if self.fit is None:
            self.fit = threading.Thread(target=self._run, daemon=True)
            self.fit.start()
        else:
            self.turn.release()
        self.done.acquire()
        if self.failure is not None:
            raise RuntimeError("ambigmnist could not be trained") from self.failure
        return self.loss

    def _run(self) -> None:
        try:
            self.model.fit(
                self.images,
                self.labels,
                epochs=self.epochs,
                warm_start=True,
                verbose=0,
                callback=self._after_epoch,
            )
        except Exception as error:
            self.failure = error
        self.done.release()

    def _after_epoch(self, row: dict[str, float]) -> None:
        self.loss = row["loss"]
        if row["epoch"] < self.epochs:
            self.done.release()
            self.turn.acquire()

    def weights(self) -> Weights:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            self.model.save(path)
            return read_weights(path)

    def predictor(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        return lambda: self.model.predict_proba(images)
