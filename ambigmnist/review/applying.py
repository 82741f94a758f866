"""Decisions, applied to the data set that they are about."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist._validate import as_number
from ambigmnist.datasets import Dataset
from ambigmnist.errors import ArgumentError, DTypeError
from ambigmnist.review.file import Pin, Review, label_numbers, labels_sha256

__all__ = ["apply_review", "sample_weight", "soft_labels"]


AMBIGUOUS = "ambiguous"  # the name of the extra class; of numbers: the one after the largest


def apply_review(
    dataset: Dataset, review: Review, *, undo: bool = False, ambiguous: str = "keep"
) -> Dataset:
    """The data set with the labels that a review decided on.

    Applying twice changes no more than applying once, and ``undo=True`` gives back the labels of
    before. Only "relabel" changes a label, and where asked for "ambiguous"; what else a review
    knows is for `soft_labels` and `sample_weight`.

    Parameters
    ----------
    dataset : Dataset
        That the review is about: the same images, and the labels as they were when it was made, or
        as this review left all or some of them.
    review : Review
        From `load_review`, or ``merge_reviews(...).review``.
    undo : bool
        Take the decisions back.
    ambiguous : {"keep", "class"}
        What becomes of images with two readings: they keep their label, or go into a class of
        their own, the last, "ambiguous" or, where classes are numbers, the next number.

    Returns
    -------
    Dataset

    Raises
    ------
    DTypeError, ArgumentError
        Something else than a data set and a review; other data than the review is about.

    Examples
    --------
    >>> import ambigmnist as am
    >>> from ambigmnist.review import Decision, Pin, Review
    >>> train, test = am.load_digits()
    >>> judged = (Decision(7, int(test.labels[7]), "relabel", (3,)),)
    >>> review = Review(Pin.of(test), "me", judged)
    >>> corrected = am.apply_review(test, review)
    >>> np.flatnonzero(corrected.labels != test.labels), corrected.labels[7]
    (array([7]), np.int64(3))
    >>> bool((am.apply_review(corrected, review, undo=True).labels == test.labels).all())
    True
    """
    if ambiguous not in ("keep", "class"):
        raise ArgumentError(f"ambiguous: expected 'keep' or 'class', got {ambiguous!r}")
    numbers = _before(dataset, review)
    assert dataset.classes is not None
    classes = dataset.classes[: len(review.dataset.classes)]
    extra = len(classes)
    if ambiguous == "class" and not undo:
        classes = np.append(classes, _extra(classes))
    if not undo:
        for decision in review.decisions:
            if decision.verdict == "ambiguous" and len(classes) > extra:
                numbers[decision.index] = extra
            else:
                numbers[decision.index] = decision.target
    return Dataset(
        dataset.images,
        classes[numbers],
        classes=classes,
        name=dataset.name,
        split=dataset.split,
    )


def _extra(classes: NDArray[Any]) -> Any:
    """The value of the class of ambiguous images."""
    if classes.dtype.kind == "i":
        return int(classes.max(initial=-1)) + 1
    if AMBIGUOUS in classes:
        raise ArgumentError(
            f"ambiguous: expected 'keep', got 'class', and there is a class {AMBIGUOUS!r} already"
        )
    return AMBIGUOUS


def soft_labels(dataset: Dataset, review: Review) -> NDArray[np.float64]:
    """Labels as shares of the classes, (n, k), rows summing to 1, for `CNN.fit`.

    An ambiguous image has the weights of its readings, an unreadable one the same share of every
    class, every other image all of its label. See `apply_review` for what is accepted.

    Examples
    --------
    >>> import ambigmnist as am
    >>> from ambigmnist.review import Decision, Pin, Review, soft_labels
    >>> train, test = am.load_digits()
    >>> judged = (Decision(7, int(test.labels[7]), "ambiguous", (4, 9), (0.75, 0.25)),)
    >>> soft_labels(test, Review(Pin.of(test), "me", judged))[7]
    array([0.  , 0.  , 0.  , 0.  , 0.75, 0.  , 0.  , 0.  , 0.  , 0.25])
    """
    numbers = _before(dataset, review)
    k = len(review.dataset.classes)
    soft = np.eye(k)[numbers]
    for decision in review.decisions:
        row = np.zeros(k)
        if decision.verdict == "ambiguous":
            weights = decision.weights or (1 / len(decision.labels),) * len(decision.labels)
            row[list(decision.labels)] = weights
        elif decision.verdict == "unreadable":
            row[:] = 1 / k
        else:
            row[decision.target] = 1
        soft[decision.index] = row
    return soft


def sample_weight(
    dataset: Dataset, review: Review, *, ambiguous: float = 1.0, unreadable: float = 0.0
) -> NDArray[np.float64]:
    """How much each image counts in training, (n,): 1, or what is given for these verdicts.

    See `apply_review` for what is accepted.

    Examples
    --------
    >>> import ambigmnist as am
    >>> from ambigmnist.review import Decision, Pin, Review, sample_weight
    >>> train, test = am.load_digits()
    >>> judged = (Decision(7, int(test.labels[7]), "unreadable"),)
    >>> np.flatnonzero(sample_weight(test, Review(Pin.of(test), "me", judged)) == 0)
    array([7])
    """
    _before(dataset, review)
    given = {
        "ambiguous": as_number(ambiguous, "ambiguous"),
        "unreadable": as_number(unreadable, "unreadable"),
    }
    for name, value in given.items():
        if not 0 <= value < np.inf:
            raise ArgumentError(f"{name}: expected a weight of at least 0, got {value}")
    weights = np.ones(len(dataset))
    for decision in review.decisions:
        weights[decision.index] = given.get(decision.verdict, 1.0)
    return weights


def _before(dataset: Dataset, review: Review) -> NDArray[np.int64]:
    """The labels as numbers of classes, as they were before the review; other data are refused."""
    if not isinstance(review, Review):
        raise DTypeError(
            f"review: expected a Review, got {type(review).__name__}: "
            "am.load_review(path) gives one"
        )
    pin, found = review.dataset, Pin.of(dataset)
    names, more = found.classes[: len(pin.classes)], found.classes[len(pin.classes) :]
    assert dataset.classes is not None
    extended = len(more) == 1 and more[0] == str(_extra(dataset.classes[:-1]))
    facts = (
        ("the number of images", found.n, pin.n),
        ("the classes", " ".join(names if extended else found.classes), " ".join(pin.classes)),
        ("the SHA-256 of the images", found.images_sha256, pin.images_sha256),
    )
    for what, got, expected in facts:
        if got != expected:
            raise ArgumentError(
                f"dataset: expected the data that were reviewed ({pin.name or 'no name'}), got "
                f"others: {what} is {got[:80] if isinstance(got, str) else got}, not "
                f"{expected[:80] if isinstance(expected, str) else expected}"
            )
    numbers = label_numbers(dataset)
    for decision in review.decisions:
        own_class = decision.verdict == "ambiguous" and numbers[decision.index] == len(names)
        if own_class or numbers[decision.index] == decision.target:
            numbers[decision.index] = decision.given
        if numbers[decision.index] != decision.given:
            raise ArgumentError(
                f"dataset: image {decision.index}: expected label {pin.classes[decision.given]}, "
                f"as it was reviewed, got {found.classes[numbers[decision.index]]}"
            )
    if labels_sha256(numbers) != pin.labels_sha256:
        raise ArgumentError(
            "dataset: expected the labels that were reviewed, or what this review makes of them, "
            "got others: take the labels of then, and apply reviews in the order they were made"
        )
    return numbers
