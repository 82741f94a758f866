"""Images made unclear on purpose: two in one, hidden strokes, noise.

Everything here works on float64 images (m, h, w, c) in 0..1 and is vectorised over the m images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["elastic_blend", "hide", "pixel_blend", "scatter", "sharp_blend"]

Floats = NDArray[np.float64]

# Registration from coarse to fine: the blur of both images, in pixels of 28, and how many steps.
LEVELS = ((3.0, 30), (1.5, 30), (0.75, 20))
SMOOTHING = 2.0  # of the displacement, likewise
HIDDEN = (0.6, 0.8)  # share of the ink that a bar covers
SCATTERED = (0.7, 0.9)  # share of the pixels that change places


def pixel_blend(a: Floats, b: Floats, weight: Floats) -> Floats:
    """weight a + (1 - weight) b: both strokes are there, in grey. `weight` (m,)."""
    w = weight[:, None, None, None]
    return w * a + (1 - w) * b


def elastic_blend(a: Floats, b: Floats, weight: Floats) -> Floats:
    """A shape on the way from a to b: a's strokes are moved towards b's, and b's towards a's.

    The displacement u with b(x + u(x)) ~ a(x) is found by Thirion's demons (1998, Medical Image
    Analysis 2); the image is weight a(y - (1 - weight) u) + (1 - weight) b(y + weight u).
    """
    u = _register(a.mean(axis=3), b.mean(axis=3))
    w = weight[:, None, None, None]
    return pixel_blend(_sample(a, -(1 - w) * u), _sample(b, w * u), weight)


def sharp_blend(a: Floats, b: Floats, weight: Floats) -> Floats:
    """The elastic blend in the ink of both: its n-th darkest pixel is as dark as theirs on average.

    Where strokes do not meet, the elastic blend is grey; this one has one pen's strokes.
    """
    m, h, w, c = a.shape
    ink = pixel_blend(_sorted_pixels(a), _sorted_pixels(b), weight)
    between = elastic_blend(a, b, weight).reshape(m, h * w, c)
    places = between.argsort(axis=1, kind="stable")
    result = np.empty_like(ink)
    np.put_along_axis(result, places[:, :, None, :], ink, axis=1)
    return result.reshape(a.shape)


def _sorted_pixels(a: Floats) -> Floats:
    """(m, h w, 1, c), each channel from the least to the largest value."""
    m, h, w, c = a.shape
    return np.sort(a.reshape(m, h * w, 1, c), axis=1)


def hide(a: Floats, random: np.random.Generator) -> Floats:
    """A bar of one grey over the whole width or height hides 60 to 80 % of the ink."""
    m = len(a)
    share = _between(HIDDEN, m, random)
    start = random.random(m) * (1 - share)
    grey = random.random(m)
    flat = random.random(m) < 0.5
    result = a.copy()
    for chosen, image in ((flat, result), (~flat, result.swapaxes(1, 2))):
        ink = image[chosen].sum(axis=(2, 3)) + 1e-9  # of every line
        until = np.cumsum(ink, axis=1) / ink.sum(axis=1, keepdims=True)
        first, last = start[chosen, None], (start + share)[chosen, None]
        bar = (until > first) & (until - ink / ink.sum(axis=1, keepdims=True) < last)
        covered = np.where(bar[..., None, None], grey[chosen, None, None, None], image[chosen])
        image[chosen] = covered
    return result


def scatter(a: Floats, random: np.random.Generator) -> Floats:
    """70 to 90 % of the pixels of each image change places among themselves."""
    m, h, w, c = a.shape
    result = a.reshape(m, h * w, c).copy()
    taken = random.random((m, h * w)) < _between(SCATTERED, m, random)[:, None]
    places = random.random((m, h * w))
    for i in range(m):
        chosen = np.flatnonzero(taken[i])
        result[i, chosen] = result[i, chosen[np.argsort(places[i, chosen])]]
    return result.reshape(a.shape)


def _between(limits: tuple[float, float], m: int, random: np.random.Generator) -> Floats:
    return limits[0] + (limits[1] - limits[0]) * random.random(m)


def _register(a: Floats, b: Floats) -> Floats:
    """The displacement (m, h, w, 2), along rows and columns, that makes b look like a."""
    m, h, w = a.shape
    unit = max(h, w) / 28
    u = np.zeros((m, h, w, 2))
    for blur, steps in LEVELS:
        fixed, moving = _blurred(a, blur * unit), _blurred(b, blur * unit)
        slope = np.zeros_like(u)
        for axis in (1, 2):
            if a.shape[axis] > 1:
                slope[..., axis - 1] = np.gradient(fixed, axis=axis)
        for _ in range(steps):
            off = fixed - _sample(moving[..., None], u)[..., 0]
            size = (slope**2).sum(axis=3) + off**2
            u = u + (off / np.maximum(size, 1e-9))[..., None] * slope
            u = _blurred(np.moveaxis(u, 3, 1).reshape(2 * m, h, w), SMOOTHING * unit)
            u = np.moveaxis(u.reshape(m, 2, h, w), 1, 3)
    return u


def _blurred(a: Floats, sigma: float) -> Floats:
    """A Gaussian along rows and columns of (m, h, w); edges repeat."""
    result = a
    for axis in (1, 2):
        size = a.shape[axis]
        x = np.arange(size)
        kernel = np.exp(-((x[:, None] - x[None, :]) ** 2) / (2 * sigma**2))
        kernel /= kernel.sum(axis=1, keepdims=True)
        result = np.moveaxis(np.moveaxis(result, axis, -1) @ kernel.T, -1, axis)
    return result


def _sample(a: Floats, u: Floats) -> Floats:
    """a (m, h, w, c) at x + u(x), bilinear; outside the edge goes on."""
    m, h, w, _ = a.shape
    rows = np.clip(np.arange(h)[:, None] + u[..., 0], 0, h - 1)
    cols = np.clip(np.arange(w)[None, :] + u[..., 1], 0, w - 1)
    top, left = np.floor(rows).astype(np.intp), np.floor(cols).astype(np.intp)
    below, right = np.minimum(top + 1, h - 1), np.minimum(left + 1, w - 1)
    down, over = (rows - top)[..., None], (cols - left)[..., None]
    i = np.arange(m)[:, None, None]
    upper = (1 - over) * a[i, top, left] + over * a[i, top, right]
    lower = (1 - over) * a[i, below, left] + over * a[i, below, right]
    result: Floats = (1 - down) * upper + down * lower
    return result
