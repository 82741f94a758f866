"""Definitions of ambiguity: named functions from Evidence to one score per image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore
from ambigmnist._built_in import BUILT_IN
from ambigmnist._names import suggest
from ambigmnist._tables import html_table, text_table
from ambigmnist.config import resolve_threads
from ambigmnist.errors import AmbigError, ArgumentError, DTypeError, ShapeError
from ambigmnist.evidence import AXES, Evidence, Indices, as_evidence

__all__ = [
    "Definition",
    "check",
    "definition",
    "definitions",
    "find",
    "is_row_score",
    "scores",
    "top",
]

ScoreFunction = Callable[[Evidence], ArrayLike]
F = TypeVar("F", bound=Callable[[Evidence], Any])

_FIELDS = (*AXES, "draws")

# How an evidence comes by a field; of others: by an argument of that name.
_HOW = {
    "draws": "pass mc= or members= to Evidence, or take audit(mc=20) or audit(members=3)",
    "mc": "pass mc= to Evidence, or take audit(mc=20)",
    "members": "pass members= to Evidence, or take audit(members=3)",
    "augmented": "pass augmented= to Evidence, or take audit(augment=8)",
    "dynamics": "pass history= and labels= to Evidence, or take audit(history=True)",
    "nearest": "pass nearest= or embeddings= to Evidence, or take audit()",
    "fold": "pass fold= to Evidence, or take audit(folds=5)",
}


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition of ambiguity; called with an Evidence it returns the scores, (n,) float64.

    Attributes
    ----------
    name : str
    formula : str
        p1 >= p2: the two largest probabilities; g: the given label; j: any class.
    range : str
    needs : tuple of str
        Fields of the evidence without which it cannot be computed.
    source : str
        The paper that it comes from.
    function : callable
        Evidence -> (n,) scores.
    wrong_only : bool
        Whether a top list shows nothing but wrong predictions.
    in_sample : bool
        Whether it looks at images that the network was fitted to, as training dynamics do.

    Examples
    --------
    >>> import ambigmnist as am
    >>> least_confident = am.definitions()[0]
    >>> least_confident(am.Evidence([[0.75, 0.25], [0.5, 0.5]]))
    array([0.25, 0.5 ])
    """

    name: str
    formula: str
    range: str
    needs: tuple[str, ...]
    source: str
    function: ScoreFunction
    wrong_only: bool = False
    in_sample: bool = False

    def __call__(self, ev: Evidence) -> NDArray[np.float64]:
        return scores(ev, self)


@dataclass(frozen=True, slots=True)
class _CoreScore:
    """Evidence -> scores, in the core, row by row; not a closure: a Ranking can be pickled."""

    name: str

    def __call__(self, ev: Evidence) -> NDArray[np.float64]:
        labels = ev.given_index if "labels" in _registry[self.name].needs else None
        return _ambigcore.scores(*ev._source, self.name, labels, resolve_threads(None))


_BUILT_IN_NAMES = frozenset(row.name for row in BUILT_IN)

_registry: dict[str, Definition] = {
    row.name: Definition(
        row.name,
        row.formula,
        row.range,
        tuple(row.needs.split()),
        row.source,
        _CoreScore(row.name) if row.function is None else row.function,
        wrong_only=row.name == "confident_wrong",
        in_sample=row.in_sample,
    )
    for row in BUILT_IN
}


@overload
def definition(function: F, /) -> F: ...


@overload
def definition(
    *,
    name: str | None = None,
    formula: str | None = None,
    range: str | None = None,
    needs: Iterable[str] | None = None,
    source: str | None = None,
    in_sample: bool | None = None,
) -> Callable[[F], F]: ...


def definition(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    formula: str | None = None,
    range: str | None = None,
    needs: Iterable[str] | None = None,
    source: str | None = None,
    in_sample: bool | None = None,
) -> Any:
    """Names a function Evidence -> (n,) scores, so that `rank` and `definitions` know it.

    The function itself is returned unchanged. Defining a name again replaces it (run a notebook
    cell twice); the names of built-in definitions are taken. A record, such as `weighted_sum` and
    `borda` make, gets the name and is returned with it; what is not said otherwise stays.

    Parameters
    ----------
    name : str, optional
        The name of the function by default.
    formula : str, optional
        For the table; the first line of the docstring by default.
    range : str, optional
        Where the scores lie, for the table.
    needs : iterable of str, optional
        Fields of the evidence that the function reads, "probs" by default: "probs", "labels",
        "logits", "images", "members", "mc", "draws" (either of these two), "augmented", "history",
        "dynamics", "embeddings", "nearest", "fold", "split", "in_sample". A missing one is reported
        before the function is called.
    source : str, optional
        Where the idea comes from.
    in_sample : bool, optional
        Whether it looks at images that the network was fitted to, as training dynamics do.

    Examples
    --------
    >>> import ambigmnist as am
    >>> @am.definition(needs=("probs",), formula="p of the second")
    ... def second_guess(ev):
    ...     return np.sort(ev.probs, axis=1)[:, -2]
    >>> ev = am.Evidence([[0.9, 0.1], [0.6, 0.4]])
    >>> am.rank(ev, by="second_guess").indices
    array([1, 0])
    """
    given = {
        "name": name,
        "formula": formula,
        "range": range,
        "needs": needs,
        "source": source,
        "in_sample": in_sample,
    }
    if function is not None:
        return _register(function, given)
    return lambda function: _register(function, given)


def _register(function: Any, given: dict[str, Any]) -> Any:
    if not callable(function):
        raise DTypeError(
            f"definition: expected a function Evidence -> (n,), got {type(function).__name__}: "
            "keywords such as name= go by name"
        )
    record = _describe(function, given)
    if record.name in _BUILT_IN_NAMES:
        raise ArgumentError(
            f"definition: expected a new name, got {record.name!r}, a built-in one: pass name="
        )
    _registry[record.name] = record
    return record if isinstance(function, Definition) else function


def _describe(function: Any, given: dict[str, Any]) -> Definition:
    """The record of a function, or another record, with what is given (None: not given)."""
    if isinstance(function, Definition):
        record = function
    else:
        name = getattr(function, "__name__", type(function).__name__)
        lines = (getattr(function, "__doc__", None) or "").strip().splitlines()
        record = Definition(name, lines[0] if lines else "", "", ("probs",), "", function)
    record = replace(record, **{key: value for key, value in given.items() if value is not None})
    needs = (record.needs,) if isinstance(record.needs, str) else tuple(record.needs)
    for need in needs:
        if need not in _FIELDS:
            raise ArgumentError(
                f"needs: expected fields of an Evidence, got {need!r}" + suggest(need, _FIELDS)
            )
    if not isinstance(record.name, str) or not record.name:
        raise ArgumentError(f"name: expected a name, got {record.name!r}")
    return replace(record, needs=needs)


def find(by: str | ScoreFunction | Definition) -> Definition:
    """The record of a name, or of any callable Evidence -> (n,).

    Raises
    ------
    ArgumentError
        An unknown name; the message suggests the nearest.
    """
    if isinstance(by, Definition):
        return by
    if isinstance(by, str):
        if by not in _registry:
            raise ArgumentError(f"by: unknown definition {by!r}" + suggest(by, _registry))
        return _registry[by]
    if not callable(by):
        raise DTypeError(
            f"by: expected a name or a function Evidence -> (n,), got {type(by).__name__}"
        )
    for record in _registry.values():
        if record.function is by:
            return record
    return _describe(by, {"needs": ()})


def check(ev: Evidence, record: Definition) -> None:
    """ArgumentError where the evidence lacks what the definition needs."""
    as_evidence(ev)
    for need in record.needs:
        if not ev.has(need):
            raise ArgumentError(
                f"definition {record.name!r} needs {need}, which this evidence does not have: "
                + _HOW.get(need, f"pass {need}= to Evidence")
            )


def is_row_score(record: Definition) -> bool:
    """Whether the core computes it, row by row, under its name."""
    return record.function == _CoreScore(record.name)


def top(
    ev: Evidence, record: Definition, k: int, *, wrong_only: bool = False
) -> tuple[Indices, NDArray[np.float64]]:
    """(indices, scores) of the k highest by a built-in definition, in memory for k.

    With `wrong_only` (of "confident_wrong") fewer than k if fewer predictions are wrong.
    """
    check(ev, record)
    labels = ev.given_index if "labels" in record.needs else None
    lists = ((record.name, min(k, ev.n), wrong_only),)
    return _ambigcore.top_lists(*ev._source, labels, lists, resolve_threads(None))[0]


def scores(ev: Evidence, record: Definition) -> NDArray[np.float64]:
    """The checked scores of a definition: float64 (n,), no NaN."""
    check(ev, record)
    if isinstance(record.function, _CoreScore):
        return record.function(ev)  # nothing to check
    try:
        result = np.asarray(record.function(ev))
    except MemoryError:  # not the function's fault
        raise
    except Exception as error:
        if isinstance(error, AmbigError) and record.name in _BUILT_IN_NAMES:
            raise  # it names the definition and says what to do
        raise ArgumentError(
            f"definition {record.name!r} raised {type(error).__name__}: {error}"
        ) from error
    if result.dtype.kind not in "buif":
        raise DTypeError(
            f"definition {record.name!r}: expected one number per image, got dtype {result.dtype}"
        )
    if result.shape != (ev.n,):
        raise ShapeError(
            f"definition {record.name!r}: expected one score per image, shape ({ev.n},), "
            f"got {result.shape}"
        )
    values = np.array(result, np.float64, order="C")  # a copy: the function may keep its own
    bad = np.isnan(values)
    if bad.any():
        raise ArgumentError(
            f"definition {record.name!r}: expected numbers, got NaN for {int(bad.sum())} images, "
            f"the first at index {int(np.argmax(bad))}"
        )
    return values


class Definitions(Sequence[Definition]):
    """The known definitions in the order they were made; prints as a table."""

    _HEADER = ("name", "formula", "range", "needs", "in sample", "source")

    def __init__(self, records: Iterable[Definition]) -> None:
        self._records = tuple(records)

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Definition: ...

    @overload
    def __getitem__(self, index: slice) -> Definitions: ...

    def __getitem__(self, index: int | slice) -> Definition | Definitions:
        if isinstance(index, slice):
            return Definitions(self._records[index])
        return self._records[index]

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (d.name, d.formula, d.range, ", ".join(d.needs), "yes" if d.in_sample else "", d.source)
            for d in self
        ]

    def __repr__(self) -> str:
        return text_table(self._HEADER, self._rows())

    def _repr_html_(self) -> str:
        return html_table(self._HEADER, self._rows())


def definitions() -> Definitions:
    """The known definitions: a sequence of records, printed as a table.

    Examples
    --------
    >>> import ambigmnist as am
    >>> [d.name for d in am.definitions()][:3]
    ['least_confident', 'margin', 'entropy']
    """
    return Definitions(_registry.values())
