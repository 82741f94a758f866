"""What is known of images as columns and as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist._files import PathLike, as_path, atomic_write
from ambigmnist.definitions import find, scores
from ambigmnist.errors import ArgumentError, DTypeError, ShapeError
from ambigmnist.evidence import Evidence, as_evidence
from ambigmnist.labels import label_issues
from ambigmnist.review.file import Review
from ambigmnist.verdict import Verdicts

__all__ = ["cleanlab_columns", "review_columns", "to_jsonl"]

Columns = dict[str, NDArray[Any]]


def cleanlab_columns(ev: Evidence, *, method: str = "prune_by_noise_rate") -> Columns:
    """The columns that cleanlab's ``find_label_issues`` has, under its names and by its rules.

    ``pandas.DataFrame(cleanlab_columns(ev))`` is a table for what takes cleanlab's.

    Parameters
    ----------
    ev : Evidence
        With labels; out of sample, see `ambigmnist.label_issues`.
    method : str
        As of `ambigmnist.label_issues`; cleanlab's own default is this one.

    Returns
    -------
    dict
        is_label_issue (n,) bool; label_quality (n,) float64, the probability of the label, low
        where it is likely wrong; given_label and predicted_label (n,).

    Examples
    --------
    >>> import ambigmnist as am
    >>> ev = am.Evidence([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.8, 0.2]], labels=[0, 1, 0, 0])
    >>> columns = am.interop.cleanlab_columns(ev)
    >>> list(columns)
    ['is_label_issue', 'label_quality', 'given_label', 'predicted_label']
    >>> columns["is_label_issue"].tolist()
    [False, False, True, False]
    """
    as_evidence(ev)
    issue = np.zeros(ev.n, bool)
    issue[label_issues(ev, method=method, compat="cleanlab").indices] = True
    quality = np.asarray(ev.probs[np.arange(ev.n), ev.given_index], np.float64)
    return {
        "is_label_issue": issue,
        "label_quality": quality,
        "given_label": ev.given,
        "predicted_label": ev.predicted,
    }


def review_columns(review: Review) -> Columns:
    """The decisions of a review as columns, one row per decision, for pandas and the like.

    Returns
    -------
    dict
        index, given, verdict, label (the label after it), labels (readings, separated by spaces),
        note, reviewer, blind, control, ms (NaN: not known), at.

    Examples
    --------
    >>> import ambigmnist as am
    >>> from ambigmnist.review import Decision, Pin, Review
    >>> train, test = am.load_digits()
    >>> review = Review(Pin.of(test), "me", (Decision(7, int(test.labels[7]), "relabel", (3,)),))
    >>> am.interop.review_columns(review)["label"].tolist()
    ['3']
    """
    if not isinstance(review, Review):
        raise DTypeError(f"review: expected a Review, got {type(review).__name__}")
    names, decisions = review.dataset.classes, review.decisions
    return {
        "index": np.array([d.index for d in decisions], np.intp),
        "given": np.array([names[d.given] for d in decisions], np.str_),
        "verdict": np.array([d.verdict for d in decisions], np.str_),
        "label": np.array([names[d.target] for d in decisions], np.str_),
        "labels": np.array([" ".join(names[i] for i in d.labels) for d in decisions], np.str_),
        "note": np.array([d.note for d in decisions], np.str_),
        "reviewer": np.array([review.reviewer] * len(decisions), np.str_),
        "blind": np.array([d.blind for d in decisions], bool),
        "control": np.array([d.control for d in decisions], bool),
        "ms": np.array([np.nan if d.ms is None else d.ms for d in decisions], np.float64),
        "at": np.array([d.at for d in decisions], np.str_),
    }


def to_jsonl(
    what: Evidence | Verdicts | Review | Mapping[str, Any],
    path: PathLike,
    *,
    by: tuple[str, ...] = ("least_confident",),
) -> None:
    """Writes one JSON object per image and line, complete or not at all.

    Parameters
    ----------
    what : Evidence, Verdicts, Review or mapping of columns
        Of an Evidence: index, split, given, predicted, p_given, p_predicted and the scores of `by`;
        of the others the columns of `Verdicts.to_frame` and of `review_columns`. NaN is null.
    path : str or os.PathLike
    by : tuple of str
        Definitions, of an Evidence.

    Raises
    ------
    DTypeError, ShapeError, FileError
        Something else; columns of different lengths; the file cannot be written.

    Examples
    --------
    >>> import ambigmnist as am, pathlib, tempfile
    >>> ev = am.Evidence([[0.75, 0.25]], labels=[1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     am.interop.to_jsonl(ev, f"{folder}/ev.jsonl", by=("margin",))
    ...     print(pathlib.Path(f"{folder}/ev.jsonl").read_text(), end="")
    {"index": 0, "given": 1, "predicted": 0, "p_given": 0.25, "p_predicted": 0.75, "margin": 0.5}
    """
    columns = {name: np.asarray(values).tolist() for name, values in _columns(what, by).items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ShapeError(f"what: expected columns of one length, got {lengths}")
    lines = (
        json.dumps(
            {name: _plain(value) for name, value in zip(columns, row, strict=True)},
            ensure_ascii=False,
            allow_nan=False,
        )
        for row in zip(*columns.values(), strict=True)
    )
    text = "".join(f"{line}\n" for line in lines)
    # What some readers take for the end of a line.
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")
    atomic_write(as_path(path), text.encode())


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        if np.isnan(value):
            return None
        raise ArgumentError(f"what: expected numbers that JSON can hold, got {value}")
    return value


def _columns(what: Any, by: tuple[str, ...]) -> Mapping[str, Any]:
    if isinstance(what, Verdicts):
        return what._columns()
    if isinstance(what, Review):
        return review_columns(what)
    if isinstance(what, Mapping):
        return what
    if not isinstance(what, Evidence):
        raise DTypeError(
            f"what: expected an Evidence, Verdicts, a Review or columns, got {type(what).__name__}"
        )
    n = np.arange(what.n)
    columns: Columns = {"index": n}
    if what.split is not None:
        columns["split"] = what.split
    if what.labels is not None:
        columns["given"] = what.given
    columns["predicted"] = what.predicted
    if what.labels is not None:
        columns["p_given"] = what.probs[n, what.given_index]
    columns["p_predicted"] = what.probs[n, what.predicted_index]
    return columns | {name: scores(what, find(name)) for name in by}
