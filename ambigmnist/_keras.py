"""Reads the HDF5 file of a Keras 2 Sequential model, as far as our layers go."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist._files import PathLike, as_path, read_start
from ambigmnist._network import Layer
from ambigmnist.errors import DataError, MissingDependencyError

__all__ = ["is_hdf5", "read_keras"]

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: PathLike) -> bool:
    """Whether the first bytes of the file are those of HDF5; raises like `read_bytes`."""
    return read_start(path, len(_HDF5_MAGIC)) == _HDF5_MAGIC


def read_keras(
    path: PathLike,
) -> tuple[list[Layer], tuple[int, int, int], list[NDArray[np.float32]]]:
    """Layers, image shape (h, w, c), and the weights in the order that Keras keeps them."""
    file_path = as_path(path)
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError(
            "reading a Keras file needs h5py: pip install 'ambigmnist[keras]'"
        ) from error
    if not is_hdf5(file_path):
        raise DataError(f"{file_path}: expected an HDF5 file (.h5) saved by Keras 2")
    try:
        with h5py.File(file_path, "r") as file:
            return _read(file)
    except _Unsupported as error:
        raise DataError(f"{file_path}: {error}") from None
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"{file_path}: this HDF5 file is damaged or no Keras model: {error}"
        ) from error


class _Unsupported(Exception):
    """The model has a layer or a setting that we do not have."""


def _read(file: Any) -> tuple[list[Layer], tuple[int, int, int], list[NDArray[np.float32]]]:
    if "model_config" not in file.attrs or "model_weights" not in file:
        raise _Unsupported("expected a whole model (model.save), found no model_config in it")
    config = json.loads(file.attrs["model_config"])
    if config.get("class_name") != "Sequential":
        raise _Unsupported(f"expected a Sequential model, got {config.get('class_name')}")
    layers: list[Layer] = []
    weights: list[NDArray[np.float32]] = []
    image_shape: tuple[int, int, int] | None = None
    items = config["config"]["layers"]
    for position, item in enumerate(items):
        kind, settings = item["class_name"], item["config"]
        if position < len(items) - 1 and "softmax" in (settings.get("activation"), kind.lower()):
            raise _Unsupported(f"{settings['name']}: a softmax is supported at the end only")
        shape = settings.get("batch_input_shape")
        if shape is not None and image_shape is None:
            if len(shape) != 4 or None in shape[1:]:
                raise _Unsupported(f"expected images (h, w, channels) as input, got {shape[1:]}")
            image_shape = (shape[1], shape[2], shape[3])
        added = _translate(kind, settings)
        layers += added
        if added and added[0].kind in ("conv", "dense"):
            weights += _weights(file["model_weights"], settings["name"], settings)
    if image_shape is None:
        raise _Unsupported("the model does not say the shape of its images")
    if not layers or layers[-1].kind != "dense":
        raise _Unsupported("expected a Dense output layer at the end")
    return layers, image_shape, weights


def _weights(group: Any, name: str, settings: dict[str, Any]) -> list[NDArray[np.float32]]:
    names = [n.decode() if isinstance(n, bytes) else n for n in group[name].attrs["weight_names"]]
    arrays = [np.asarray(group[name][n], dtype=np.float32) for n in names]
    if not settings.get("use_bias", True):
        arrays.append(np.zeros(arrays[0].shape[-1], np.float32))
    return arrays


def _activation(name: str, where: str) -> list[Layer]:
    if name in ("linear", "softmax"):  # our networks end in logits
        return []
    if name == "relu":
        return [Layer("relu")]
    raise _Unsupported(f"{where}: activation {name!r} is not among linear, relu and softmax")


def _translate(kind: str, settings: dict[str, Any]) -> list[Layer]:
    name = settings.get("name", kind)
    if kind == "InputLayer":
        return []
    if kind == "Conv2D":
        h, w = settings["kernel_size"]
        plain = (
            h == w
            and h % 2 == 1
            and list(settings["strides"]) == [1, 1]
            and list(settings.get("dilation_rate", [1, 1])) == [1, 1]
            and settings.get("groups", 1) == 1
            and settings.get("data_format", "channels_last") == "channels_last"
        )
        if not plain:
            raise _Unsupported(f"{name}: only odd square windows with stride 1, channels last")
        conv = Layer("conv", settings["filters"], h, settings["padding"] == "same")
        return [conv, *_activation(settings["activation"], name)]
    if kind == "MaxPooling2D":
        sizes = [list(settings["pool_size"]), list(settings.get("strides") or [2, 2])]
        if sizes != [[2, 2], [2, 2]] or settings.get("padding", "valid") != "valid":
            raise _Unsupported(f"{name}: only 2 x 2 max-pooling with stride 2, valid padding")
        return [Layer("maxpool")]
    if kind == "Flatten":
        return [Layer("flatten")]
    if kind == "Dropout":
        return [Layer("dropout", rate=float(settings["rate"]))]
    if kind == "Dense":
        return [Layer("dense", settings["units"]), *_activation(settings["activation"], name)]
    if kind in ("Activation", "ReLU", "Softmax"):
        return _activation(settings.get("activation", kind.lower()), name)
    raise _Unsupported(f"{name}: layer {kind} is not supported")
