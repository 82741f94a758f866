"""What the tests hold the C core against: inputs made from a seed, and slow layers in float64.

Nothing here imports ambigmnist. The layers are the definitions written down, with plain NumPy and
loops where a loop is the definition; `tests/data/article_reference.npz` holds what another
framework computed for the same inputs (`tests/tools/make_reference.py` wrote it).

Images are (n, h, w, c), kernels (kh, kw, c_in, c_out), dense weights (inputs, outputs).
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

REFERENCE_FILE = Path(__file__).parent / "data" / "article_reference.npz"
SEED = 20211  # of the stored reference

# The article's network: names and shapes in the order of the parameters.
ARTICLE_SHAPES = {
    "conv1_w": (3, 3, 1, 32),
    "conv1_b": (32,),
    "conv2_w": (3, 3, 32, 64),
    "conv2_b": (64,),
    "dense1_w": (1600, 256),
    "dense1_b": (256,),
    "dense2_w": (256, 10),
    "dense2_b": (10,),
}
STEPS, BATCH = 10, 32


# --- inputs -------------------------------------------------------------------------------------


def uniform(seed: int, stream: int, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform doubles in [0, 1), the same on every machine and NumPy.

    Only the raw 64-bit output of PCG64 is used (its top 53 bits): NumPy promises that stream for
    ever, unlike the streams of `Generator`'s methods.
    """
    raw = np.random.PCG64([seed, stream]).random_raw(int(np.prod(shape)))
    return ((raw >> np.uint64(11)) * 2.0**-53).reshape(shape)


def weights(seed: int = SEED) -> dict[str, np.ndarray]:
    """Parameters of the article's network, float32.

    Kernels are Glorot uniform: within +-sqrt(6 / (fan_in + fan_out)). Biases are uniform in
    +-0.1, not zero: a forward pass that forgets one would go unnoticed.
    """
    parameters = {}
    for stream, (name, shape) in enumerate(ARTICLE_SHAPES.items()):
        limit = 0.1
        if len(shape) > 1:
            field = int(np.prod(shape[:-2]))
            limit = np.sqrt(6.0 / (field * (shape[-2] + shape[-1])))
        values = (2.0 * uniform(seed, stream, shape) - 1.0) * limit
        parameters[name] = values.astype(np.float32)
    return parameters


def batches(seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """Ten batches of 32 images, uint8 (10, 32, 28, 28, 1), and labels 0..9, int64 (10, 32).

    Every class is three strokes; every image jitters their ends. The background is textured, so
    that no two pixels of a pooling window are equal by accident of a blank page: which one wins a
    tie has a test of its own.
    """
    n = STEPS * BATCH
    labels = (uniform(seed, 100, (n,)) * 10).astype(np.int64)
    strokes = 5.0 + 18.0 * uniform(seed, 101, (10, 3, 2, 2))  # class, stroke, end, (row, column)
    jitter = 4.0 * uniform(seed, 102, (n, 3, 2, 2)) - 2.0
    start, end = np.moveaxis(strokes[labels] + jitter, 2, 0)[..., None, None]  # (n, 3, 2, 1, 1)
    pixel = np.stack(np.mgrid[0:28, 0:28]).astype(np.float64)  # (2, 28, 28)
    along = end - start
    length2 = (along * along).sum(axis=2, keepdims=True) + 1e-9
    t = np.clip(((pixel - start) * along).sum(axis=2, keepdims=True) / length2, 0.0, 1.0)
    distance2 = ((pixel - start - t * along) ** 2).sum(axis=2)  # (n, 3, 28, 28)
    ink = np.clip(1.5 - distance2.min(axis=1) / 3.0, 0.0, 1.0)
    texture = uniform(seed, 103, (n, 28, 28))
    images = np.floor(30.0 * texture + 225.0 * ink * (0.8 + 0.2 * texture)).astype(np.uint8)
    return images.reshape(STEPS, BATCH, 28, 28, 1), labels.reshape(STEPS, BATCH)


def inputs_digest(seed: int = SEED) -> str:
    """SHA-256 over all weights, images and labels: the stored numbers belong to these inputs."""
    digest = hashlib.sha256()
    for array in [*weights(seed).values(), *batches(seed)]:
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def load_reference() -> dict[str, np.ndarray]:
    """What the other framework computed, float64, by name:

    - ``logits`` (32, 10): of the first batch, from `weights()`, dropout off
    - ``sigmoid_loss``, ``softmax_loss`` and ``sigmoid/conv1_w``, ``softmax/conv1_w``, ...: the
      loss of the first batch and its gradient for every parameter
    - ``rmsprop_sigmoid``, ``adam_softmax``, ``nesterov_softmax`` (10,): the loss of batch i before
      update i; ``..._after``: that of the first batch after all ten updates
    - ``rmsprop_sigmoid_float32``, ...: the same curve by the same framework in float32, which shows
      what rounding alone does
    """
    with np.load(REFERENCE_FILE, allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}
    digest = bytes(stored.pop("inputs_sha256")).hex()
    if digest != inputs_digest():
        raise AssertionError("the stored reference belongs to other inputs: run make_reference.py")
    features = stored.pop("dense1_input").astype(np.float64)
    out = {name: values.astype(np.float64) for name, values in stored.items()}
    for loss in ("sigmoid", "softmax"):
        # A dense layer's weight gradient over 32 images has rank 32: stored as its two factors.
        out[f"{loss}/dense1_w"] = features.T @ out.pop(f"{loss}/dense1_output")
    return out


# --- comparing ----------------------------------------------------------------------------------


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    """max |got - expected| / max |expected|, the measure of every tolerance in these tests."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    if expected.size == 0:
        return 0.0
    difference = np.abs(got.astype(np.float64) - expected.astype(np.float64)).max()
    largest = np.abs(expected.astype(np.float64)).max()
    if largest == 0.0:
        return 0.0 if difference == 0.0 else float("inf")
    return float(difference / largest)


def numeric_gradient(
    function: Callable[[np.ndarray], float], x: np.ndarray, step: float = 1e-5
) -> np.ndarray:
    """Central differences of a scalar function, one entry at a time, in float64."""
    x = np.array(x, dtype=np.float64)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        kept = x[index]
        x[index] = kept + step
        above = function(x)
        x[index] = kept - step
        below = function(x)
        x[index] = kept
        gradient[index] = (above - below) / (2.0 * step)
    return gradient


# --- slow layers --------------------------------------------------------------------------------


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray, padding: str = "valid") -> np.ndarray:
    """y[n, r, s, o] = b[o] + sum over i, j, k of x[n, r + i, s + j, k] w[i, j, k, o].

    A correlation with stride 1. "same" puts (kernel - 1) / 2 zeros around the image first.
    """
    x, w, b = (np.asarray(a, dtype=np.float64) for a in (x, w, b))
    kh, kw, _, _ = w.shape
    if padding == "same":
        x = np.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    rows, columns = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    y = np.zeros((x.shape[0], rows, columns, w.shape[3])) + b
    for i in range(kh):
        for j in range(kw):
            y += np.einsum("nrsk,ko->nrso", x[:, i : i + rows, j : j + columns], w[i, j])
    return y


def maxpool2d(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest of each 2x2 window, and which of its four (0..3, row by row).

    Of equals the first counts. A last odd row or column belongs to no window.
    """
    x = np.asarray(x, dtype=np.float64)
    n, h, w, c = x.shape
    windows = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
    windows = windows.transpose(0, 1, 3, 5, 2, 4).reshape(n, h // 2, w // 2, c, 4)
    return windows.max(axis=-1), windows.argmax(axis=-1)


def maxpool2d_backward(
    dy: np.ndarray, argmax: np.ndarray, shape: tuple[int, int, int, int]
) -> np.ndarray:
    """Each dy goes to the winner of its window, as `maxpool2d` numbers them."""
    dx = np.zeros(shape)
    for n, r, s, c in np.ndindex(dy.shape):
        row, column = divmod(int(argmax[n, r, s, c]), 2)
        dx[n, 2 * r + row, 2 * s + column, c] += dy[n, r, s, c]
    return dx


def dense(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """y[n, o] = b[o] + sum over i of x[n, i] w[i, o]."""
    x, w, b = (np.asarray(a, dtype=np.float64) for a in (x, w, b))
    return x @ w + b


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(np.asarray(x, dtype=np.float64), 0.0)


def dropout(x: np.ndarray, mask: np.ndarray, rate: float) -> np.ndarray:
    """What is kept is divided by the chance of being kept; the rest is 0."""
    return np.where(mask, np.asarray(x, dtype=np.float64) / (1.0 - rate), 0.0)


def softmax(z: np.ndarray) -> np.ndarray:
    z = np.asarray(z, dtype=np.float64)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def sigmoid(z: np.ndarray) -> np.ndarray:
    z = np.asarray(z, dtype=np.float64)
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def one_hot(labels: np.ndarray, k: int) -> np.ndarray:
    return np.eye(k)[np.asarray(labels)]


def _weighted_mean(losses: np.ndarray, sample_weight: np.ndarray | None) -> float:
    """(1 / n) sum of w_i l_i: the weights are not normalised; without them every one is 1."""
    if sample_weight is not None:
        losses = losses * np.asarray(sample_weight, dtype=np.float64)
    return float(losses.mean())


def softmax_cross_entropy(
    z: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None
) -> float:
    """l_i = - sum over j of y_ij log softmax(z_i)_j, for soft labels y (n, k)."""
    z, y = np.asarray(z, dtype=np.float64), np.asarray(y, dtype=np.float64)
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return _weighted_mean(-(y * log_p).sum(axis=1), sample_weight)


def sigmoid_cross_entropy(
    z: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None
) -> float:
    """l_i = mean over j of max(z_ij, 0) - z_ij y_ij + log(1 + exp(-|z_ij|)), y (n, k)."""
    z, y = np.asarray(z, dtype=np.float64), np.asarray(y, dtype=np.float64)
    losses = np.maximum(z, 0.0) - z * y + np.log1p(np.exp(-np.abs(z)))
    return _weighted_mean(losses.mean(axis=1), sample_weight)
