"""JAX: one jitted step with donated arguments, NHWC, images kept as uint8 and gathered inside."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import Recipe, Weights


def pool(x: jax.Array, train: bool) -> jax.Array:
    """2x2. What is fastest forwards has a gradient that takes half of a training step on a CPU."""
    if not train:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    _, h, w, _ = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2]
    left, right = (
        jnp.maximum(x[:, ::2, ::2], x[:, 1::2, ::2]),
        jnp.maximum(x[:, ::2, 1::2], x[:, 1::2, 1::2]),
    )
    return jnp.maximum(left, right)


def logits(params: Weights, images: jax.Array, train: bool, dropout=0.0, key=None) -> jax.Array:
    x = images[..., None].astype(jnp.float32) / 255
    for name in ("conv1", "conv2"):
        x = lax.conv_general_dilated(
            x, params[f"{name}_w"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = pool(jax.nn.relu(x + params[f"{name}_b"]), train)
    x = x.reshape(len(x), -1)
    if dropout:
        x = jnp.where(jax.random.bernoulli(key, 1 - dropout, x.shape), x / (1 - dropout), 0)
    x = jax.nn.relu(x @ params["dense1_w"] + params["dense1_b"])
    return x @ params["dense2_w"] + params["dense2_b"]


def loss_of(recipe: Recipe, z: jax.Array, labels: jax.Array) -> jax.Array:
    y = jax.nn.one_hot(labels, 10)
    if recipe.loss == "sigmoid":
        return jnp.mean(jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z))))
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(z) * y, axis=1))


def update(recipe: Recipe, rate, t, w, g, m, v):
    """One weight tensor; the optimizers as the recipe states them."""
    if recipe.optimizer == "rmsprop":
        v = 0.9 * v + 0.1 * g * g
        return w - rate * g / (jnp.sqrt(v) + 1e-7), m, v
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return w - rate * m / (1 - 0.9**t) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v


@partial(jax.jit, static_argnums=0, donate_argnums=(1, 2, 3))
def train_step(recipe, params, m, v, images, labels, rows, rate, t, key):
    def loss(p):
        z = logits(p, images[rows], True, recipe.dropout, jax.random.fold_in(key, t))
        return loss_of(recipe, z, labels[rows])

    value, grads = jax.value_and_grad(loss)(params)
    t = t.astype(jnp.float32)
    new = {k: update(recipe, rate, t, params[k], grads[k], m[k], v[k]) for k in params}
    params, m, v = ({k: tensors[i] for k, tensors in new.items()} for i in range(3))
    return params, m, v, value


@jax.jit
def probabilities(params: Weights, images: jax.Array) -> jax.Array:
    return jax.nn.softmax(logits(params, images, False))


class Jax:
    def __init__(self, recipe: Recipe, weights: Weights, rates: np.ndarray, threads: int):
        self.recipe, self.rates, self.step = recipe, rates, 0
        self.params = {name: jnp.array(w) for name, w in weights.items()}
        self.m = {name: jnp.zeros_like(w) for name, w in self.params.items()}
        self.v = {name: jnp.zeros_like(w) for name, w in self.params.items()}
        self.key, self.random = jax.random.key(0, impl="rbg"), np.random.default_rng(0)

    def load(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = jnp.array(images), jnp.array(labels.astype(np.int32))

    def epoch(self) -> float:
        n, losses = len(self.images), []
        order = self.random.permutation(n).astype(np.int32)
        for first in range(0, n, self.recipe.batch):
            rows = order[first : first + self.recipe.batch]
            rate = self.rates[min(self.step, len(self.rates) - 1)]
            self.step += 1
            *state, value = train_step(
                self.recipe, self.params, self.m, self.v, self.images, self.labels, rows, rate,
                np.int32(self.step), self.key,
            )  # fmt: skip
            self.params, self.m, self.v = state
            losses.append(value * len(rows))
        return float(sum(losses)) / n

    def weights(self) -> Weights:
        return {name: np.asarray(w) for name, w in self.params.items()}

    def predictor(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        x = jnp.array(images)
        return lambda: np.asarray(probabilities(self.params, x))
