"""The network: fit, predict, look inside, save."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore, _safetensors
from ambigmnist._checkpoint import Checkpoint, describe
from ambigmnist._files import PathLike
from ambigmnist._fit_lock import FitLock
from ambigmnist._fitted import NOTHING, fitted_hashes, in_sample
from ambigmnist._keras import read_keras
from ambigmnist._network import (
    LOSSES,
    OPTIMIZERS,
    PRESETS,
    SCHEDULES,
    Layer,
    LayerLike,
    Recipe,
    Summary,
    build,
    choice,
    number,
    optimizer_settings,
    parse_layers,
    places,
    plain,
    written,
)
from ambigmnist._progress import Quiet, check_verbose, progress
from ambigmnist._training_data import TrainingData
from ambigmnist._validate import as_classes, as_images, as_int, as_labels, check_kind
from ambigmnist.config import resolve_threads
from ambigmnist.errors import ArgumentError, DataError, DTypeError
from ambigmnist.evidence import Evidence

__all__ = ["CNN"]

Floats = NDArray[np.float32]
Callback = Callable[[dict[str, float]], Any]
Show = Callable[[int, _ambigcore.Network], AbstractContextManager[Quiet]]

_FORMAT = "ambigmnist.cnn"
_FORMAT_VERSION = 1
_HISTORY = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")


class CNN:
    """A small convolutional network, trained by the C core.

    The constructor only keeps its arguments. What is None comes from the preset.

    Parameters
    ----------
    preset : {"fast", "seed"}
        "fast": softmax cross-entropy, Adam, one cycle, 3 epochs or 1,000 steps, whichever is
        more. "seed": the recipe of the article to the letter: sigmoid cross-entropy on the
        logits, RMSprop, dropout, early stopping on the last fifth of the images.
    layers : list, optional
        For example ``[("conv", 32, 3), "relu", ("maxpool", 2), "flatten", ("dropout", 0.5),
        ("dense", 256), "relu"]``; a conv takes a third argument "valid" or "same". The output
        layer is added when it is missing.
    loss : {"softmax", "sigmoid"}, optional
        Cross-entropy of the softmax, or of a sigmoid per class (mean over the classes).
    optimizer : {"adam", "rmsprop", "sgd"} or (name, settings), optional
        Settings: beta1, beta2, epsilon; rho, epsilon; momentum (Nesterov's).
    learning_rate : float, optional
        The rate, or the peak of the cycle.
    schedule : {"constant", "one_cycle"}, optional
    batch_size, epochs : int, optional
    validation_split : float, optional
        Share of the images held out, drawn by class with the seed (preset "seed": the last ones).
    patience : int, optional
        Stop after so many epochs without a better validation loss; 0 never stops. The best
        weights are put back.
    seed : int
        Of the first weights, the order of the images and dropout: the same seed gives the same
        network, for any number of threads.
    threads : int, optional
        See `set_num_threads`.

    Attributes
    ----------
    classes_ : ndarray (k,)
        The class values in the order of the columns of every (n, k).
    history : dict of ndarray (epochs,)
        loss, accuracy (with dropout, while training), val_loss, val_accuracy (NaN without
        validation images), learning_rate (of the last step), seconds.
    train_index_ : ndarray (m,) of intp
        Which images the last fit learned from: all but those held out. Not kept by `save`.
    metadata_ : dict of str
        Texts of the file that the model was loaded from.

    Examples
    --------
    >>> import ambigmnist as am
    >>> train, test = am.load_digits()
    >>> model = am.CNN(layers=["flatten", ("dense", 32), "relu"], epochs=3)
    >>> model.fit(train.images, train.labels).predict(test.images[:3]).shape
    (3,)
    """

    _fitted_hashes: NDArray[np.uint64] | None = None  # of which images; None: nobody knows

    def __init__(
        self,
        preset: str = "fast",
        *,
        layers: Sequence[LayerLike] | None = None,
        loss: str | None = None,
        optimizer: str | tuple[str, Mapping[str, float]] | None = None,
        learning_rate: float | None = None,
        schedule: str | None = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        validation_split: float | None = None,
        patience: int | None = None,
        seed: int = 0,
        threads: int | None = None,
    ) -> None:
        self.preset = preset
        self.layers = layers
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.epochs = epochs
        self.validation_split = validation_split
        self.patience = patience
        self.seed = seed
        self.threads = threads
        self._fit_lock = FitLock()

    # --- training ----------------------------------------------------------------------------

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        epochs: int | None = None,
        validation_split: float | None = None,
        verbose: int | None = None,
        callback: Callback | None = None,
        warm_start: bool = False,
        checkpoint: PathLike | None = None,
    ) -> Self:
        """Train from the seed on, or go on from the present weights with `warm_start`.

        Ctrl-C ends training early, raises KeyboardInterrupt and leaves a usable model: the best
        weights so far where images were held out, the latest ones otherwise.

        Parameters
        ----------
        X : array_like (n, h, w), (n, h, w, c) or (n, h * w)
            uint8 0..255, or float 0..1.
        y : array_like (n,) or (n, k)
            Class values; or soft labels, rows of probabilities that sum to 1 (the classes are
            then 0..k-1).
        sample_weight : array_like (n,), optional
            Not negative. The loss of a batch is (1/n) sum_i w_i l_i.
        validation_data : (X, y), optional
            Instead of a validation split.
        epochs, validation_split : optional
            Instead of the constructor's.
        verbose : {None, 0, 1, 2}
            0 silent, 1 a progress bar, 2 a line per epoch (both on stderr); None a bar where
            somebody watches.
        callback : callable, optional
            Called after each epoch with a dict: epoch and the entries of `history`. A true
            result ends training.
        warm_start : bool
            Start from the present weights instead of the seed's.
        checkpoint : str or PathLike, optional
            A file that holds the state of training after every epoch, however the process ends.
            When it is there already, training goes on from it, and ends with the same weights and
            history (but for the seconds), to the bit, as if it had never stopped, on any number of
            threads. The file stays when training is complete; then the same call gives the
            finished model at once. An epoch counts once its `callback` has returned.

        Raises
        ------
        ArgumentError, ShapeError, DTypeError
            Arguments that make no sense, fewer than two classes, a class that only appears in
            the validation part, a loss that is no longer finite; a checkpoint of another run.
        DataError, FileError
            A checkpoint that is damaged, or that cannot be read or written.
        BusyError
            The model is being trained in another thread.
        """
        check_verbose(verbose)
        if callback is not None and not callable(callback):
            raise DTypeError(f"callback: expected a function of a dict, got {callback!r}")
        with self._fit_lock:
            recipe = self._recipe(epochs=epochs, validation_split=validation_split)
            data = TrainingData(
                X,
                y,
                sample_weight,
                validation_data,
                recipe.validation_split,
                recipe.split_last,
                self._checked_seed(),
            )
            self._train(recipe, data, partial(progress, verbose), callback, warm_start, checkpoint)
        return self

    def _recipe(self, **changes: Any) -> Recipe:
        choice(self.preset, "preset", tuple(PRESETS))
        mine = {
            "layers": self.layers,
            "loss": self.loss,
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "schedule": self.schedule,
            "batch_size": self.batch_size,
            "epochs": self.epochs,
            "validation_split": self.validation_split,
            "patience": self.patience,
        }
        return PRESETS[self.preset].replaced(mine).replaced(changes)

    def _checked_seed(self) -> int:
        return as_int(self.seed, "seed", least=0)

    def _train(
        self,
        recipe: Recipe,
        data: TrainingData,
        show: Show,
        callback: Callback | None = None,
        warm_start: bool = False,
        checkpoint: PathLike | None = None,
    ) -> None:
        layers = parse_layers(recipe.layers, len(data.classes))
        network = build(layers, data.image_shape)
        first = None
        if warm_start:
            self._check_warm_start(layers, data)
            first = self._network.get_params()
            network.set_params(first)
        else:
            network.init(self._checked_seed())
        epochs = self._count_epochs(recipe, len(data.train_index))
        optimizer, *moments = optimizer_settings(recipe.optimizer)
        settings: dict[str, Any] = {
            "loss": choice(recipe.loss, "loss", LOSSES),
            "optimizer": optimizer,
            **dict(zip(("momentum", "decay", "epsilon"), moments, strict=True)),
            "schedule": choice(recipe.schedule, "schedule", SCHEDULES),
            "learning_rate": number(recipe.learning_rate, "learning_rate"),
            "batch_size": as_int(recipe.batch_size, "batch_size", least=1),
            "epochs": epochs,
            "patience": as_int(recipe.patience, "patience", least=0),
            "seed": self._checked_seed(),
        }
        size = [len(data.train_index), resolve_threads(self.threads)]
        network.train_begin(*[*settings.values(), *size])
        history: dict[str, list[float]] = {name: [] for name in _HISTORY}
        file = None
        if checkpoint is not None:
            names = {"loss": recipe.loss, "schedule": recipe.schedule}
            described = {"layers": layers, **settings, **names, "optimizer": OPTIMIZERS[optimizer]}
            file = Checkpoint(checkpoint, describe(described, data, first))
            file.resume(network, history)
        complete = file is not None and file.complete
        diverged = False
        try:
            with show(epochs, network) as shown:
                train = (*data.train, shown.seen, shown.early)
                while not complete:
                    start = time.perf_counter()
                    epoch, *values, _, stop = network.train_epoch(train, data.held, shown.tick)
                    row = dict(zip(_HISTORY, [*values, time.perf_counter() - start], strict=True))
                    if not np.isfinite(row["loss"]):
                        diverged = True
                        raise ArgumentError(
                            f"the loss is {row['loss']} after epoch {epoch}: training diverged; "
                            "try a lower learning_rate"
                        )
                    for name in _HISTORY:
                        history[name].append(row[name])
                    shown.epoch(epoch, row)
                    complete = bool(stop) or epoch >= epochs
                    if callback is not None and callback({"epoch": epoch, **row}):
                        complete = True
                    if file is not None:
                        file.save(network, history, complete)
        except BaseException:
            if not diverged:  # interrupted, or a callback failed: what was learned is usable
                self._adopt(network, layers, data, history, warm_start)
            raise
        self._adopt(network, layers, data, history, warm_start)

    def _adopt(
        self,
        network: _ambigcore.Network,
        layers: list[Layer],
        data: TrainingData,
        history: Mapping[str, list[float]],
        warm_start: bool,
    ) -> None:
        network.train_end(True)
        self._network = network
        self._layers = layers
        self._image_shape = data.image_shape
        self.classes_ = data.classes
        self.history = {name: np.array(values) for name, values in history.items()}
        self.train_index_ = data.train_index
        self.metadata_: dict[str, str] = {}
        before = self._fitted_hashes if warm_start else NOTHING
        self._fitted_hashes = fitted_hashes(data.train[0], data.train_index, before)

    def _check_warm_start(self, layers: list[Layer], data: TrainingData) -> None:
        self._require_fitted()
        if layers != self._layers or data.image_shape != self._image_shape:
            raise ArgumentError("warm_start: expected the same layers and image size as before")
        if not np.array_equal(data.classes, self.classes_):
            raise ArgumentError("warm_start: expected the same classes as before")

    @staticmethod
    def _count_epochs(recipe: Recipe, n_train: int) -> int:
        if recipe.epochs is not None:
            return as_int(recipe.epochs, "epochs", least=1)
        steps = -(-n_train // min(as_int(recipe.batch_size, "batch_size", least=1), n_train))
        return max(3, -(-1000 // steps))

    # --- prediction --------------------------------------------------------------------------

    def _require_fitted(self) -> None:
        if not hasattr(self, "_network"):
            raise ArgumentError(
                "this model has no weights yet: call fit, CNN.load or CNN.from_keras"
            )

    def _forward(self, X: ArrayLike, last: int) -> Floats:
        """Output of layer `last` - 1 for each image, flat."""
        return self._network.forward(as_images(X), last, resolve_threads(self.threads))

    def logits(self, X: ArrayLike) -> Floats:
        """What the softmax is taken of, (n, k): unlike probabilities they never round to 1."""
        self._require_fitted()
        return self._forward(X, len(self._layers))

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probabilities (n, k), columns in the order of `classes_`: the softmax of the logits.

        The same bits for any number of threads and any split of the images into calls.
        """
        self._require_fitted()
        return self._network.probabilities(as_images(X), resolve_threads(self.threads))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable class value of each image, (n,)."""
        columns = self.logits(X).argmax(axis=1)
        best: NDArray[Any] = self.classes_[columns]
        return best

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Accuracy: the share of images whose label is predicted."""
        self._require_fitted()
        labels = as_labels(y, len(np.asarray(X)), "y")
        check_kind(labels, self.classes_, "y")
        if len(labels) == 0:
            raise ArgumentError("score: expected at least one image, got none")
        return float(np.mean(self.predict(X) == labels))

    def embed(self, X: ArrayLike) -> Floats:
        """The vector that the output layer reads, (n, d)."""
        self._require_fitted()
        return self._forward(X, len(self._layers) - 1)

    def feature_maps(self, X: ArrayLike, layer: int) -> Floats:
        """The output of layer number `layer` (0 is the first), (n, h, w, c) or (n, units)."""
        self._require_fitted()
        last = as_int(layer, "layer", least=0) + 1
        if last > len(self._layers):
            raise ArgumentError(f"layer: expected 0 to {len(self._layers) - 1}, got {layer}")
        values = self._forward(X, last)
        _, h, w, c, *_ = self._network.layers()[last - 1]
        return values.reshape(len(values), h, w, c) if h else values

    def evidence(
        self, X: ArrayLike, y: ArrayLike | None = None, *, split: str | ArrayLike | None = None
    ) -> Evidence:
        """Everything this network knows about the images, for `rank` and `heatmap`.

        `in_sample` tells which of them it was fitted to, by their pixels; a loaded model has
        forgotten that.

        Parameters
        ----------
        X : array_like
            Images.
        y : array_like (n,), optional
            The given labels.
        split : str or array_like (n,), optional
            Which part of the data they are: "train", "test".
        """
        images = as_images(X)
        logits = self.logits(images)
        return Evidence(
            _ambigcore.softmax(logits, resolve_threads(self.threads)),
            y,
            classes=self.classes_,
            images=images,
            logits=logits,
            split=split,
            in_sample=in_sample(images, self._fitted_hashes),
        )

    # --- looking at it, keeping it -----------------------------------------------------------

    def summary(self, image_shape: tuple[int, int, int] | None = None) -> Summary:
        """A table of the layers, their output shapes and parameter counts.

        Before `fit` the sizes are those of 28 x 28 grey images and ten classes, or of the
        `image_shape` (h, w, channels) given.
        """
        if hasattr(self, "_network") and image_shape is None:
            return Summary(self._layers, self._image_shape)
        layers = parse_layers(self._recipe().layers, 10)
        return Summary(layers, (28, 28, 1) if image_shape is None else image_shape)

    def __repr__(self) -> str:
        shown = [repr(self.preset)]
        for name in ("layers", "loss", "optimizer", "learning_rate", "schedule", "batch_size",
                     "epochs", "validation_split", "patience", "threads"):  # fmt: skip
            value = getattr(self, name)
            if value is not None:
                shown.append(f"{name}={value!r}")
        return f"CNN({', '.join(shown)}, seed={self.seed})"

    def _repr_html_(self) -> str:
        from ambigmnist._thumbnails import of_network

        return of_network(self)

    def save(self, path: PathLike, *, metadata: Mapping[str, str] | None = None) -> None:
        """Write weights, layers, classes and history to a safetensors file, atomically.

        The same training gives the same bytes (so the seconds of the history are left out).
        `metadata` are texts of your own; `load` gives them back as `metadata_`.
        """
        self._require_fitted()
        params = self._network.get_params()
        tensors = {
            name: params[start : start + int(np.prod(shape))].reshape(shape)
            for name, start, shape in places(self._layers, self._network)
        }
        for name, values in self.history.items():
            if name != "seconds":  # the same training must give the same file
                tensors[f"history.{name}"] = values
        config = {
            "format": _FORMAT,
            "version": _FORMAT_VERSION,
            "layers": [list(layer) for layer in self._layers],
            "image_shape": list(self._image_shape),
            "classes": self.classes_.tolist(),
            "settings": {
                name: getattr(self, name)
                for name in ("preset", "loss", "optimizer", "learning_rate", "schedule",
                             "batch_size", "epochs", "validation_split", "patience", "seed")
            },
        }  # fmt: skip
        if "ambigmnist" in (metadata or {}):
            raise ArgumentError('metadata: expected names other than "ambigmnist", which is taken')
        texts = {"ambigmnist": json.dumps(config, default=plain), **(metadata or {})}
        _safetensors.save(path, tensors, texts)

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        DataNotFoundError, DataError
            No such file, or not a sound file of this kind.
        """
        tensors, texts = _safetensors.load(path)
        try:
            return cls._from_file(tensors, dict(texts))
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{path}: not a model saved by ambigmnist: {reason}") from None

    @classmethod
    def _from_file(cls, tensors: dict[str, NDArray[Any]], texts: dict[str, str]) -> Self:
        config = json.loads(texts.pop("ambigmnist"))
        if config["format"] != _FORMAT:
            raise ValueError(f"expected {_FORMAT}, got {config['format']}")
        if config["version"] > _FORMAT_VERSION:
            raise ValueError(
                f"expected version {_FORMAT_VERSION}, got {config['version']}: a newer ambigmnist "
                "may read it"
            )
        settings = config["settings"]
        layers = [Layer(*layer) for layer in config["layers"]]
        model = cls(**settings, layers=[written(layer) for layer in layers])
        network = build(layers, tuple(config["image_shape"]))
        arrays = []
        for name, _, shape in places(layers, network):
            array = tensors[name]
            if array.dtype != np.float32 or array.shape != shape:
                raise ValueError(
                    f"{name}: expected float32 {shape}, got {array.dtype} {array.shape}"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"{name}: expected finite numbers")
            arrays.append(array)
        classes = as_classes(config["classes"])
        history = {n: tensors[f"history.{n}"] for n in _HISTORY if f"history.{n}" in tensors}
        model._take(network, layers, tuple(config["image_shape"]), arrays, classes)
        if history:  # the file leaves out how long it took
            history["seconds"] = np.full_like(history["loss"], np.nan)
        model.history = history
        model.metadata_ = texts
        return model

    @classmethod
    def from_keras(cls, path: PathLike) -> Self:
        """Read a Keras 2 HDF5 file (.h5): a Sequential model of layers that we have too.

        Needs h5py (the extra `keras`). The classes are 0..k-1, the history is not in such files.

        Raises
        ------
        DataNotFoundError, DataError
            No such file, not HDF5, or a layer that is not supported.
        MissingDependencyError
            h5py is not installed.
        """
        layers, image_shape, arrays = read_keras(path)
        model = cls("seed", layers=[written(layer) for layer in layers])
        try:
            network = build(layers, image_shape)
            for (name, _, shape), array in zip(places(layers, network), arrays, strict=True):
                if array.shape != shape:
                    raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None
        model._take(network, layers, image_shape, arrays, np.arange(layers[-1].units))
        model.history = {}
        model.metadata_ = {}
        return model

    def _take(
        self,
        network: _ambigcore.Network,
        layers: list[Layer],
        image_shape: tuple[int, int, int],
        arrays: list[NDArray[Any]],
        classes: NDArray[Any],
    ) -> None:
        if len(classes) != layers[-1].units:
            raise ValueError(f"classes: expected {layers[-1].units}, got {len(classes)}")
        network.set_params(np.concatenate([np.ravel(array) for array in arrays]))
        self._network = network
        self._layers = layers
        self._image_shape = image_shape
        self.classes_ = classes

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_fit_lock"]
        network = state.pop("_network", None)
        return state | ({} if network is None else {"_params": network.get_params()})

    def __setstate__(self, state: dict[str, Any]) -> None:
        params = state.pop("_params", None)
        self.__dict__.update(state)
        self._fit_lock = FitLock()
        if params is not None:
            self._network = build(self._layers, self._image_shape)
            self._network.set_params(params)
