"""Single layers on NumPy arrays: a forward and a backward pass each, by the C core.

For teaching, for tests, and for networks of your own. Images are (n, h, w, channels), weights of a
convolution (size, size, channels, filters), everything float32; other real arrays are converted. A
backward function takes the gradient of the loss with respect to the layer's output, and what
the forward pass saw, and returns the gradients with respect to what went in.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore
from ambigmnist._network import choice
from ambigmnist._validate import as_array, as_floats, as_int, contiguous
from ambigmnist.config import resolve_threads
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError

__all__ = [
    "conv2d_backward",
    "conv2d_forward",
    "dense_backward",
    "dense_forward",
    "dropout_backward",
    "dropout_forward",
    "flatten_backward",
    "flatten_forward",
    "maxpool2d_backward",
    "maxpool2d_forward",
    "relu_backward",
    "relu_forward",
    "sigmoid_cross_entropy_backward",
    "sigmoid_cross_entropy_forward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
]

Floats = NDArray[np.float32]
_SOFTMAX, _SIGMOID = 0, 1


def _floats(value: ArrayLike, name: str, ndim: int | None = None) -> Floats:
    array = as_array(value, name)
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"{name}: expected real numbers, got dtype {array.dtype}")
    if ndim is not None and array.ndim != ndim:
        raise ShapeError(f"{name}: expected {ndim} dimensions, got shape {array.shape}")
    return contiguous(array, np.float32)


def _same(padding: str) -> bool:
    return choice(padding, "padding", ("valid", "same")) == 1


def conv2d_forward(x: ArrayLike, w: ArrayLike, b: ArrayLike, *, padding: str = "valid") -> Floats:
    """Convolution, stride 1: y[i, r, s, f] = b[f] + sum x[i, r+u, s+v, c] w[u, v, c, f].

    Parameters
    ----------
    x : array_like (n, h, w, c)
    w : array_like (k, k, c, f)
        k odd. The window is not flipped.
    b : array_like (f,)
    padding : {"valid", "same"}
        "valid": y is (n, h - k + 1, w - k + 1, f). "same": zeros around x, y is (n, h, w, f).

    Returns
    -------
    y : ndarray of float32

    Raises
    ------
    ShapeError, ArgumentError
        Shapes that do not fit each other, an even or too large window.

    Examples
    --------
    >>> import numpy as np
    >>> from ambigmnist.layers import conv2d_forward
    >>> x, w = np.ones((1, 4, 4, 1)), np.ones((3, 3, 1, 1))
    >>> conv2d_forward(x, w, [0], padding="same")[0, :, :, 0]
    array([[4., 6., 6., 4.],
           [6., 9., 9., 6.],
           [6., 9., 9., 6.],
           [4., 6., 6., 4.]], dtype=float32)
    """
    return _ambigcore.conv2d_forward(
        _floats(x, "x", 4), _floats(w, "w", 4), _floats(b, "b", 1), _same(padding),
        resolve_threads(None),
    )  # fmt: skip


def conv2d_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, padding: str = "valid"
) -> tuple[Floats, Floats, Floats]:
    """Gradients (dx, dw, db) of `conv2d_forward`, shaped like x, w and b.

    Examples
    --------
    >>> import numpy as np
    >>> from ambigmnist.layers import conv2d_backward
    >>> x, w, dy = np.ones((2, 4, 4, 1)), np.ones((3, 3, 1, 5)), np.ones((2, 2, 2, 5))
    >>> dx, dw, db = conv2d_backward(dy, x, w)
    >>> dx.shape, dw.shape, db  # db sums dy over images and pixels
    ((2, 4, 4, 1), (3, 3, 1, 5), array([8., 8., 8., 8., 8.], dtype=float32))
    """
    return _ambigcore.conv2d_backward(
        _floats(dy, "dy", 4), _floats(x, "x", 4), _floats(w, "w", 4), _same(padding),
        resolve_threads(None),
    )  # fmt: skip


def maxpool2d_forward(x: ArrayLike) -> tuple[Floats, NDArray[np.uint8]]:
    """Maximum of each 2 x 2 window, stride 2; a last odd row or column is left out.

    Returns
    -------
    y : ndarray (n, h // 2, w // 2, c) of float32
    argmax : ndarray of uint8, shaped like y
        Place in the window, row by row: 0 1 above, 2 3 below; the first of equal values.

    Examples
    --------
    >>> import numpy as np
    >>> from ambigmnist.layers import maxpool2d_forward
    >>> y, argmax = maxpool2d_forward(np.array([[1, 7], [3, 5]]).reshape(1, 2, 2, 1))
    >>> float(y[0, 0, 0, 0]), int(argmax[0, 0, 0, 0])
    (7.0, 1)
    """
    return _ambigcore.maxpool2d_forward(_floats(x, "x", 4))


def maxpool2d_backward(dy: ArrayLike, argmax: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """Gradient with respect to x, of the given `shape` (n, h, w, c) or (h, w).

    Examples
    --------
    >>> import numpy as np
    >>> from ambigmnist.layers import maxpool2d_backward, maxpool2d_forward
    >>> x = np.array([[1, 7], [3, 5]]).reshape(1, 2, 2, 1)
    >>> y, argmax = maxpool2d_forward(x)
    >>> maxpool2d_backward(np.full_like(y, 2), argmax, x.shape)[0, :, :, 0]
    array([[0., 2.],
           [0., 0.]], dtype=float32)
    """
    sizes = _sizes(shape)
    gradient = _floats(dy, "dy", 4)
    if len(sizes) == 4 and (sizes[0], sizes[3]) != (gradient.shape[0], gradient.shape[3]):
        raise ShapeError(f"shape: expected {gradient.shape[0]} images of {gradient.shape[3]} "
                         f"channels as in dy, got {sizes}")  # fmt: skip
    if len(sizes) not in (2, 4):
        raise ShapeError(f"shape: expected (n, h, w, c) or (h, w), got {sizes}")
    h, w = sizes[1:3] if len(sizes) == 4 else sizes
    places = as_array(argmax, "argmax")
    if places.dtype != np.uint8:
        raise DTypeError(
            f"argmax: expected uint8, as maxpool2d_forward returns it, got {places.dtype}"
        )
    if places.size and places.max() > 3:
        raise ArgumentError(f"argmax: expected places 0..3 in a window, got {places.max()}")
    return _ambigcore.maxpool2d_backward(gradient, contiguous(places, np.uint8), h, w)


def dense_forward(x: ArrayLike, w: ArrayLike, b: ArrayLike) -> Floats:
    """y (n, f) = x (n, d) @ w (d, f) + b (f,).

    Examples
    --------
    >>> from ambigmnist.layers import dense_forward
    >>> dense_forward([[1, 2]], [[1, 0, 1], [0, 1, 1]], [10, 20, 30])
    array([[11., 22., 33.]], dtype=float32)
    """
    return _ambigcore.dense_forward(
        _floats(x, "x", 2), _floats(w, "w", 2), _floats(b, "b", 1), resolve_threads(None)
    )


def dense_backward(dy: ArrayLike, x: ArrayLike, w: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Gradients (dx, dw, db) of `dense_forward`: dy @ w.T, x.T @ dy, the sum of dy's rows.

    Examples
    --------
    >>> from ambigmnist.layers import dense_backward
    >>> dx, dw, db = dense_backward([[1, 0, 2]], [[1, 2]], [[1, 0, 1], [0, 1, 1]])
    >>> dx, db
    (array([[3., 2.]], dtype=float32), array([1., 0., 2.], dtype=float32))
    >>> dw
    array([[1., 0., 2.],
           [2., 0., 4.]], dtype=float32)
    """
    return _ambigcore.dense_backward(
        _floats(dy, "dy", 2), _floats(x, "x", 2), _floats(w, "w", 2), resolve_threads(None)
    )


def relu_forward(x: ArrayLike) -> Floats:
    """max(x, 0); NaN stays NaN.

    Examples
    --------
    >>> from ambigmnist.layers import relu_forward
    >>> relu_forward([-1, 0, 2.5])
    array([0. , 0. , 2.5], dtype=float32)
    """
    return _ambigcore.relu_forward(_floats(x, "x"))


def relu_backward(dy: ArrayLike, x: ArrayLike) -> Floats:
    """dy where x > 0, else 0. The output of the forward pass may stand for x.

    Examples
    --------
    >>> from ambigmnist.layers import relu_backward
    >>> relu_backward([7, 7, 7], [-1, 0, 2.5])
    array([0., 0., 7.], dtype=float32)
    """
    return _ambigcore.relu_backward(_floats(dy, "dy"), _floats(x, "x"))


def dropout_forward(
    x: ArrayLike, rate: float, *, seed: int = 0, step: int = 0
) -> tuple[Floats, NDArray[np.bool_]]:
    """Set a share `rate` of the numbers to 0 and divide the others by 1 - rate.

    Which ones is a function of (seed, step, row, place in the row) alone.

    Returns
    -------
    y : ndarray of float32, shaped like x
    mask : ndarray of bool
        True where x was kept.

    References
    ----------
    Srivastava et al.: Dropout: a simple way to prevent neural networks from overfitting, JMLR
    2014.

    Examples
    --------
    >>> import numpy as np
    >>> from ambigmnist.layers import dropout_forward
    >>> y, mask = dropout_forward(np.ones((100, 100)), 0.5, seed=1)
    >>> bool(np.all(y == 2 * mask)), round(float(mask.mean()), 1)
    (True, 0.5)
    """
    array = _floats(x, "x")
    if array.ndim == 0:
        raise ShapeError("x: expected at least one dimension")
    share = _rate(rate)
    rows = array.shape[0]
    size = array.size // rows if rows else 0
    mask = _ambigcore.dropout_mask(
        rows, size, share, as_int(seed, "seed", least=0), _step(step)
    ).reshape(array.shape)
    return _ambigcore.dropout_apply(array, mask, share), mask


def dropout_backward(dy: ArrayLike, mask: ArrayLike, rate: float) -> Floats:
    """dy / (1 - rate) where the mask is True, else 0.

    Examples
    --------
    >>> from ambigmnist.layers import dropout_backward
    >>> dropout_backward([3, 3], [True, False], 0.5)
    array([6., 0.], dtype=float32)
    """
    given = as_array(mask, "mask")
    if given.dtype.kind not in "bui":
        raise DTypeError(f"mask: expected bool, got dtype {given.dtype}")
    kept = contiguous(given, np.bool_)
    return _ambigcore.dropout_apply(_floats(dy, "dy"), kept, _rate(rate))


def _step(step: Any) -> int:
    number = as_int(step, "step", least=0)
    if number >= 2**32:
        raise ArgumentError(f"step: expected a number below 2**32, got {number}")
    return number


def _rate(rate: Any) -> float:
    if not isinstance(rate, (int, float, np.floating)) or not 0 <= rate < 1:
        raise ArgumentError(f"rate: expected a number of at least 0 and below 1, got {rate!r}")
    return float(rate)


def flatten_forward(x: ArrayLike) -> Floats:
    """(n, h, w, c) as (n, h * w * c), in that order.

    Examples
    --------
    >>> import numpy as np
    >>> from ambigmnist.layers import flatten_forward
    >>> flatten_forward(np.arange(8).reshape(2, 2, 1, 2))
    array([[0., 1., 2., 3.],
           [4., 5., 6., 7.]], dtype=float32)
    """
    array = _floats(x, "x", 4)
    return array.reshape(len(array), array.shape[1] * array.shape[2] * array.shape[3])


def flatten_backward(dy: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """dy in the `shape` of x.

    Examples
    --------
    >>> import numpy as np
    >>> from ambigmnist.layers import flatten_backward
    >>> flatten_backward(np.ones((2, 12)), (2, 2, 2, 3)).shape
    (2, 2, 2, 3)
    """
    gradient = _floats(dy, "dy", 2)
    sizes = _sizes(shape)
    if math.prod(sizes) != gradient.size:
        raise ShapeError(f"shape: expected {gradient.size} numbers, got {sizes}")
    return gradient.reshape(sizes)


def _sizes(shape: Any) -> tuple[int, ...]:
    try:
        sizes = tuple(shape)
    except TypeError:
        raise ArgumentError(f"shape: expected a tuple of integers, got {shape!r}") from None
    return tuple(as_int(size, "shape", least=0) for size in sizes)


def softmax_cross_entropy_forward(
    z: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> tuple[float, Floats]:
    """(1/n) sum_i w_i sum_j y_ij (log sum_k exp z_ik - z_ij).

    Parameters
    ----------
    z : array_like (n, k)
        Logits.
    y : array_like (n,) of int, or (n, k)
        Columns, or target probabilities.
    sample_weight : array_like (n,), optional

    Returns
    -------
    loss : float
    probs : ndarray (n, k) of float32
        The softmax, which the backward pass takes.

    Examples
    --------
    >>> from ambigmnist.layers import softmax_cross_entropy_forward
    >>> loss, probs = softmax_cross_entropy_forward([[0, 0, 0, 0]], [2])
    >>> round(loss, 4), probs  # log 4
    (1.3863, array([[0.25, 0.25, 0.25, 0.25]], dtype=float32))
    """
    return _ambigcore.loss_forward(_SOFTMAX, *_loss_arguments(z, y, sample_weight, "z"))


def softmax_cross_entropy_backward(
    probs: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> Floats:
    """Gradient with respect to z: w_i (probs_ij sum_k y_ik - y_ij) / n.

    Examples
    --------
    >>> from ambigmnist.layers import softmax_cross_entropy_backward
    >>> softmax_cross_entropy_backward([[0.25, 0.25, 0.5]], [2])
    array([[ 0.25,  0.25, -0.5 ]], dtype=float32)
    """
    return _ambigcore.loss_backward(_SOFTMAX, *_loss_arguments(probs, y, sample_weight, "probs"))


def sigmoid_cross_entropy_forward(
    z: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> tuple[float, Floats]:
    """(1/n) sum_i w_i (1/k) sum_j max(z, 0) - z y + log(1 + exp(-|z|)): the article's loss.

    Arguments as in `softmax_cross_entropy_forward`; the second result are the sigmoids (n, k).

    Examples
    --------
    >>> from ambigmnist.layers import sigmoid_cross_entropy_forward
    >>> loss, sigmoids = sigmoid_cross_entropy_forward([[0, 0]], [1])
    >>> round(loss, 4), sigmoids  # log 2
    (0.6931, array([[0.5, 0.5]], dtype=float32))
    """
    return _ambigcore.loss_forward(_SIGMOID, *_loss_arguments(z, y, sample_weight, "z"))


def sigmoid_cross_entropy_backward(
    sigmoids: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> Floats:
    """Gradient with respect to z: w_i (sigmoids_ij - y_ij) / (n k).

    Examples
    --------
    >>> from ambigmnist.layers import sigmoid_cross_entropy_backward
    >>> sigmoid_cross_entropy_backward([[0.5, 0.5]], [1])
    array([[ 0.25, -0.25]], dtype=float32)
    """
    return _ambigcore.loss_backward(
        _SIGMOID, *_loss_arguments(sigmoids, y, sample_weight, "sigmoids")
    )


def _loss_arguments(
    z: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, name: str
) -> tuple[Floats, Floats, NDArray[np.float64]]:
    values = _floats(z, name, 2)
    n, k = values.shape
    given = as_array(y, "y")
    if given.ndim == 1:
        if given.dtype.kind not in "iu":
            raise DTypeError(
                f"y: expected integers (n,) or probabilities (n, k), got {given.dtype}"
            )
        if len(given) != n:
            raise ShapeError(f"y: expected {n} labels, got {len(given)}")
        if n and not (given.min() >= 0 and given.max() < k):
            raise ArgumentError(
                f"y: expected labels in 0..{k - 1}, got values from {given.min()} to {given.max()}"
            )
        targets = np.zeros((n, k), np.float32)
        targets[np.arange(n), given] = 1
    else:
        targets = _floats(given, "y", 2)
    if sample_weight is None:
        weights = np.ones(n)
    else:
        weights = as_floats(sample_weight, "sample_weight", (n,)).astype(np.float64)
    return values, targets, weights
