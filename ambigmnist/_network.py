"""Layer lists and presets: what a user writes, turned into what the core builds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, NamedTuple

from ambigmnist import _ambigcore
from ambigmnist._names import suggest
from ambigmnist._tables import html_table, text_table
from ambigmnist._validate import as_int
from ambigmnist.errors import ArgumentError, ShapeError

__all__ = [
    "ARTICLE_LAYERS",
    "PRESETS",
    "Layer",
    "Recipe",
    "Summary",
    "build",
    "optimizer_settings",
    "parse_layers",
    "places",
    "plain",
    "written",
]

KINDS = ("conv", "maxpool", "flatten", "dense", "relu", "dropout")  # as the core numbers them
LOSSES = ("softmax", "sigmoid")
OPTIMIZERS = ("sgd", "rmsprop", "adam")
SCHEDULES = ("constant", "one_cycle")

LayerLike = str | Sequence[Any]


class Layer(NamedTuple):
    """One layer, complete: `units` filters or units, `size` of a conv's window."""

    kind: str
    units: int = 0
    size: int = 0
    same: bool = False
    rate: float = 0.0

    def __str__(self) -> str:
        if self.kind == "conv":
            padding = ", same" if self.same else ""
            return f"conv {self.units}, {self.size}x{self.size}{padding}"
        if self.kind == "dense":
            return f"dense {self.units}"
        if self.kind == "dropout":
            return f"dropout {self.rate:g}"
        return "maxpool 2x2" if self.kind == "maxpool" else self.kind

    @property
    def spec(self) -> tuple[int, int, int, bool, float]:
        """What the core takes."""
        return KINDS.index(self.kind), self.units, self.size, self.same, self.rate


def choice(value: Any, name: str, known: Sequence[str]) -> int:
    """The place of `value` among the names it may have."""
    if not isinstance(value, str) or value not in known:
        raise ArgumentError(f"{name}: unknown {value!r}{suggest(value, known)}")
    return known.index(value)


def number(value: Any, name: str) -> float:
    """`value` as a float."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(f"{name}: expected a number, got {value!r:.80}") from None


def _parse_layer(item: LayerLike, position: int) -> Layer:
    where = f"layers[{position}]"
    parts = (item,) if isinstance(item, str) else item
    if not isinstance(parts, (tuple, list)) or not parts or not isinstance(parts[0], str):
        raise ArgumentError(
            f'{where}: expected a name or a tuple like ("conv", 32, 3), got {item!r}'
        )
    kind, arguments = parts[0], list(parts[1:])
    choice(kind, where, KINDS)
    if kind == "conv":
        padding = "valid"
        if len(arguments) == 3 and isinstance(arguments[2], Mapping):
            padding = dict(arguments.pop()).get("padding", "valid")
        elif len(arguments) == 3:
            padding = arguments.pop()
        if len(arguments) == 2:
            same = choice(padding, f"{where}: padding", ("valid", "same")) == 1
            units = as_int(arguments[0], f"{where}: filters", least=1)
            return Layer(kind, units, as_int(arguments[1], f"{where}: window", least=1), same)
        raise ArgumentError(f'{where}: expected ("conv", filters, window[, padding]), got {item!r}')
    if kind == "maxpool":
        if arguments not in ([], [2]):
            raise ArgumentError(f'{where}: expected "maxpool" or ("maxpool", 2), got {item!r}')
        return Layer(kind)
    if kind == "dense":
        if len(arguments) != 1:
            raise ArgumentError(f'{where}: expected ("dense", units), got {item!r}')
        return Layer(kind, as_int(arguments[0], f"{where}: units", least=1))
    if kind == "dropout":
        if len(arguments) != 1 or not isinstance(arguments[0], Real):
            raise ArgumentError(f'{where}: expected ("dropout", rate), got {item!r}')
        return Layer(kind, rate=float(arguments[0]))
    if arguments:
        raise ArgumentError(f"{where}: {kind} takes no argument, got {item!r}")
    return Layer(kind)


def parse_layers(layers: Sequence[LayerLike], classes: int) -> list[Layer]:
    """The layers in full; a dense output layer for the classes is added when it is missing.

    A list that ends in `("dense", classes)` has its output layer; any other end gets one, after a
    flatten where an image is left.
    """
    if not isinstance(layers, (list, tuple)):  # a generator would be empty the second time
        raise ArgumentError(f"layers: expected a list of layers, got {layers!r}")
    parsed = [_parse_layer(item, i) for i, item in enumerate(layers)]
    if parsed and parsed[-1].kind == "dense" and parsed[-1].units == classes:
        return parsed
    if not any(layer.kind in ("flatten", "dense") for layer in parsed):
        parsed.append(Layer("flatten"))
    return [*parsed, Layer("dense", classes)]


def build(
    layers: Sequence[Layer], image_shape: tuple[int, int, int], *, fuse: bool = True
) -> _ambigcore.Network:
    """The network in the core; ShapeError where the layers do not fit each other or the image.

    Without `fuse` every layer is computed by itself, as the gradients by the pixels need it.
    """
    try:
        return _ambigcore.Network([layer.spec for layer in layers], *image_shape, fuse)
    except ShapeError as error:
        h, w, c = image_shape
        raise ShapeError(
            f"{error} (images are {h} x {w} x {c}, height x width x channels)"
        ) from None


ARTICLE_LAYERS: tuple[LayerLike, ...] = (
    ("conv", 32, 3),
    "relu",
    ("maxpool", 2),
    ("conv", 64, 3),
    "relu",
    ("maxpool", 2),
    "flatten",
    ("dropout", 0.5),
    ("dense", 256),
    "relu",
)


@dataclass(frozen=True)
class Recipe:
    """How a network is built and trained; every setting of `CNN` but the seed and the threads."""

    layers: Sequence[LayerLike]
    loss: str
    optimizer: str | tuple[str, Mapping[str, float]]
    learning_rate: float
    schedule: str
    batch_size: int
    epochs: int | None  # None: 3, or as many as make 1,000 steps
    validation_split: float
    patience: int
    split_last: bool = False  # validation is the last part as given, not a stratified draw

    def replaced(self, changes: Mapping[str, Any]) -> Recipe:
        """This recipe with every setting of `changes` that is not None."""
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        return Recipe(**(mine | {k: v for k, v in changes.items() if v is not None}))


PRESETS: dict[str, Recipe] = {
    "seed": Recipe(
        layers=ARTICLE_LAYERS,
        loss="sigmoid",
        optimizer="rmsprop",
        learning_rate=1e-4,
        schedule="constant",
        batch_size=256,
        epochs=100,
        validation_split=0.2,
        patience=5,
        split_last=True,
    ),
    "fast": Recipe(
        layers=tuple(layer for layer in ARTICLE_LAYERS if layer != ("dropout", 0.5)),
        loss="softmax",
        optimizer="adam",
        learning_rate=3e-3,
        schedule="one_cycle",
        batch_size=64,
        epochs=None,
        validation_split=0.0,
        patience=0,
    ),
}

# name: (what the core calls momentum, decay and epsilon, with their defaults)
_OPTIMIZER_SETTINGS: dict[str, dict[str, float]] = {
    "sgd": {"momentum": 0.9},
    "rmsprop": {"rho": 0.9, "epsilon": 1e-7},
    "adam": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
}


def optimizer_settings(optimizer: Any) -> tuple[int, float, float, float]:
    """(number, momentum, decay, epsilon) for the core, from a name or (name, settings)."""
    name, given = optimizer, {}
    if not isinstance(optimizer, str):
        try:
            name, given = optimizer
            given = dict(given)
        except (TypeError, ValueError):
            raise ArgumentError(
                f'optimizer: expected a name or ("sgd", {{"momentum": 0.9}}), got {optimizer!r}'
            ) from None
    number = choice(name, "optimizer", OPTIMIZERS)
    settings = _OPTIMIZER_SETTINGS[name]
    for key, value in given.items():
        choice(key, f"optimizer {name}", tuple(settings))
        if not isinstance(value, Real) or not math.isfinite(value):
            raise ArgumentError(f"optimizer {name}: {key}: expected a number, got {value!r}")
    used = settings | given
    momentum = used.get("momentum", used.get("beta1", 0.0))
    decay = used.get("rho", used.get("beta2", 0.0))
    return number, momentum, decay, used.get("epsilon", 0.0)


def plain(value: Any) -> Any:
    """A setting that JSON does not know: a NumPy number, or a mapping."""
    return value.item() if hasattr(value, "item") else dict(value)


class Summary:
    """The layers of a network as a table: outputs, parameter counts, and how each is computed.

    "fused" layers are computed together, so that what lies between them is never stored: a 3 x 3
    convolution with the ReLU and the max-pooling that follow. The results are the same within
    rounding.
    """

    def __init__(self, layers: Sequence[Layer], image_shape: tuple[int, int, int]) -> None:
        shapes = build(layers, image_shape).layers()
        self.rows: list[tuple[str, tuple[int, ...], int, str]] = [("image", image_shape, 0, "")]
        for layer, (_, h, w, c, weights, biases, path) in zip(layers, shapes, strict=True):
            self.rows.append((str(layer), (h, w, c) if h else (c,), weights + biases, path))
        self.parameters = sum(row[2] for row in self.rows)

    def _cells(self) -> list[list[str]]:
        body = [
            [name, " x ".join(map(str, shape)), f"{count:>10,}" if count else f"{'':10}", path]
            for name, shape, count, path in self.rows
        ]
        return [*body, ["total", "", f"{self.parameters:>10,}", ""]]

    _header = ("layer", "output", "parameters", "computed")

    def __repr__(self) -> str:
        return text_table(self._header, self._cells())

    def _repr_html_(self) -> str:
        return html_table(self._header, self._cells())


def written(layer: Layer) -> LayerLike:
    """The layer as a user would write it."""
    if layer.kind == "conv":
        return ("conv", layer.units, layer.size, "same" if layer.same else "valid")
    if layer.kind == "dense":
        return ("dense", layer.units)
    return ("dropout", layer.rate) if layer.kind == "dropout" else layer.kind


def places(
    layers: list[Layer], network: _ambigcore.Network
) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Name, start and shape of each parameter tensor, in the core's order."""
    start = 0
    shapes = network.layers()
    for i, (layer, (*_, weights, biases, _)) in enumerate(zip(layers, shapes, strict=True)):
        if weights == 0:
            continue
        if layer.kind == "conv":
            inputs = weights // (layer.size * layer.size * layer.units)
            shape: tuple[int, ...] = (layer.size, layer.size, inputs, layer.units)
        else:
            shape = (weights // layer.units, layer.units)
        yield f"layers.{i}.weight", start, shape
        yield f"layers.{i}.bias", start + weights, (biases,)
        start += weights + biases
