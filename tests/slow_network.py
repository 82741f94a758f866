"""Whole networks in float64, forward and backward, made of the slow layers of `reference`.

A layer has `kind`, `units`, `size`, `same` and `rate`, as `ambigmnist._network.Layer` does; nothing
here imports ambigmnist.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import reference

Weights = list[tuple[np.ndarray, np.ndarray] | None]  # of each layer


def weights_of(layers: Sequence[Any], shape: tuple[int, int, int], params: np.ndarray) -> Weights:
    """The parameters, layer by layer, weights then bias, in float64."""
    found: Weights = []
    x, start = np.zeros((1, *shape)), 0
    for layer in layers:
        own = None
        if layer.kind in ("conv", "dense"):
            window = (layer.size, layer.size) if layer.kind == "conv" else ()
            w_shape = (*window, x.shape[-1], layer.units)
            end = start + int(np.prod(w_shape))
            w, b = params[start:end].reshape(w_shape), params[end : end + layer.units]
            own, start = (w.astype(np.float64), b.astype(np.float64)), end + layer.units
        x = _apply(layer, own, x, None)
        found.append(own)
    assert start == len(params)
    return found


def _apply(layer: Any, own: Any, x: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    match layer.kind:
        case "conv":
            return reference.conv2d(x, *own, "same" if layer.same else "valid")
        case "dense":
            return reference.dense(x, *own)
        case "maxpool":
            return reference.maxpool2d(x)[0]
        case "relu":
            return reference.relu(x)
        case "flatten":
            return x.reshape(len(x), -1)
        case "dropout":
            return x if mask is None else reference.dropout(x, mask.reshape(x.shape), layer.rate)
    raise AssertionError(layer.kind)


def forward(
    layers: Sequence[Any],
    weights: Weights,
    x: np.ndarray,
    masks: Mapping[int, np.ndarray] | None = None,
) -> list[np.ndarray]:
    """[x, the output of layer 0, ...]; `masks` of dropout layers by position: without, all pass."""
    values = [np.asarray(x, np.float64)]
    for i, (layer, own) in enumerate(zip(layers, weights, strict=True)):
        values.append(_apply(layer, own, values[-1], (masks or {}).get(i)))
    return values


def backward(
    layers: Sequence[Any], weights: Weights, values: list[np.ndarray], dy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The gradients by x and, summed over the images, by the parameters, without dropout."""
    parts: list[np.ndarray] = []
    for layer, own, x in reversed(list(zip(layers, weights, values[:-1], strict=True))):
        match layer.kind:
            case "conv":
                dy, *both = _conv_backward(dy, x, own[0], layer.same)
                parts = [*(part.ravel() for part in both), *parts]
            case "dense":
                parts = [(x.T @ dy).ravel(), dy.sum(axis=0), *parts]
                dy = dy @ own[0].T
            case "maxpool":
                dy = reference.maxpool2d_backward(dy, reference.maxpool2d(x)[1], x.shape)
            case "relu":
                dy = np.where(x > 0, dy, 0)
            case "flatten":
                dy = dy.reshape(x.shape)
    return dy, np.concatenate(parts) if parts else np.zeros(0)


def _conv_backward(
    dy: np.ndarray, x: np.ndarray, w: np.ndarray, same: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pad = w.shape[0] // 2 if same else 0
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    rows, columns = dy.shape[1:3]
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            place = np.s_[:, i : i + rows, j : j + columns]
            dw[i, j] = np.einsum("nrsk,nrso->ko", x[place], dy)
            dx[place] += dy @ w[i, j].T
    inner = np.s_[:, pad : x.shape[1] - pad, pad : x.shape[2] - pad]
    return dx[inner], dw, dy.sum(axis=(0, 1, 2))
