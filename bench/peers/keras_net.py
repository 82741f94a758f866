"""Keras on TensorFlow, with and without XLA: fit with many steps a call, compiled prediction."""

import os
from collections.abc import Callable

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from . import SHAPES, Recipe, Weights, as_float


class Rates(keras.optimizers.schedules.LearningRateSchedule):
    """A list of them."""

    def __init__(self, rates: np.ndarray):
        self.rates = ops.convert_to_tensor(rates)

    def __call__(self, step):
        return ops.take(self.rates, ops.minimum(ops.cast(step, "int32"), len(self.rates) - 1))


class RMSprop(keras.optimizers.RMSprop):
    """Epsilon outside the root, as Keras 2 had it; Keras 3 puts it inside."""

    def update_step(self, gradient, variable, learning_rate):
        v = self._velocities[self._get_variable_index(variable)]
        self.assign(v, self.rho * v + (1 - self.rho) * ops.square(gradient))
        step = learning_rate * gradient / (ops.sqrt(v) + self.epsilon)
        self.assign_sub(variable, step)


class Keras:
    xla = False
    steps_per_call = 32

    def __init__(self, recipe: Recipe, weights: Weights, rates: np.ndarray, threads: int):
        if not tf.config.threading.get_intra_op_parallelism_threads():
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        self.recipe = recipe
        dropout = [layers.Dropout(recipe.dropout)] if recipe.dropout else []
        self.net = keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(32, 3, activation="relu"),
                layers.MaxPooling2D(2),
                layers.Conv2D(64, 3, activation="relu"),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                *dropout,
                layers.Dense(256, activation="relu"),
                layers.Dense(10),
            ]
        )
        self.net.set_weights(list(weights.values()))
        losses, rate = keras.losses, Rates(rates)
        if recipe.optimizer == "rmsprop":
            optimizer = RMSprop(rate, rho=0.9, epsilon=1e-7)
        else:
            # Its epsilon is added before the bias correction: this makes the first step equal,
            # and is nothing beside the roots of the later ones.
            optimizer = keras.optimizers.Adam(rate, epsilon=1e-8 * (1 - 0.999) ** 0.5)
        self.net.compile(
            optimizer=optimizer,
            loss=losses.BinaryCrossentropy(from_logits=True)
            if recipe.loss == "sigmoid"
            else losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=self.xla,
            steps_per_execution=self.steps_per_call,
        )
        self.predict = tf.function(
            lambda x: tf.nn.softmax(self.net(x, training=False)), jit_compile=self.xla
        )

    def load(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.x = as_float(images)[..., None]
        self.y = labels.astype(np.int64)
        if self.recipe.loss == "sigmoid":
            self.y = np.eye(10, dtype=np.float32)[self.y]

    def epoch(self) -> float:
        history = self.net.fit(
            self.x, self.y, batch_size=self.recipe.batch, shuffle=True, verbose=0
        ).history
        return float(history["loss"][-1])

    def weights(self) -> Weights:
        return dict(zip(SHAPES, self.net.get_weights(), strict=True))

    def predictor(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        x = tf.constant(as_float(images)[..., None])
        return lambda: self.predict(x).numpy()


class KerasXLA(Keras):
    xla = True
