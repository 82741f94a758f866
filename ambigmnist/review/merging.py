"""Several people's decisions about the same data: what they agree on, and how well they agree."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ambigmnist._tables import Listing, few
from ambigmnist.errors import ArgumentError, DTypeError
from ambigmnist.review.file import Decision, Review

__all__ = ["MergedReviews", "merge_reviews", "said"]


@dataclass(frozen=True, repr=False)
class MergedReviews(Listing):
    """What several reviews come to; made by `merge_reviews`. Prints the conflicts.

    Attributes
    ----------
    review : Review
        Every image on which all agree who judged it; what one person alone judged is agreed on.
    conflicts : (m,) intp
        Images that were judged differently, by index; they are not in `review`.
    opinions : dict of int to tuple of (str, Decision)
        Of each conflict: who decided what.
    reviewers : tuple of str
    both : int
        How many images all of them judged.
    agreement : float
        The share of these that all judged alike; NaN without such images.
    kappa : float
        Agreement beyond chance: Cohen's kappa of two people, Fleiss's of more, over the images
        that all judged; NaN where chance alone would agree, and without such images.
    """

    review: Review
    conflicts: NDArray[np.intp]
    opinions: dict[int, tuple[tuple[str, Decision], ...]]
    reviewers: tuple[str, ...]
    both: int
    agreement: float
    kappa: float

    def __len__(self) -> int:
        return len(self.conflicts)

    def _title(self) -> str:
        who = ", ".join(self.reviewers)
        return (
            f"{who}: agree on {len(self.review)} images, {len(self)} in conflict; of {self.both} "
            f"judged by all {self.agreement:.1%} alike, kappa {self.kappa:.3f}"
        )

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        names = self.review.dataset.classes
        return ("index", "label", *self.reviewers), [
            (
                f"{index:>5}",
                names[self.opinions[index][0][1].given],
                *(said(dict(self.opinions[index]).get(who), names) for who in self.reviewers),
            )
            for index in self.conflicts[: few(len(self))].tolist()
        ]


def merge_reviews(reviews: Iterable[Review]) -> MergedReviews:
    """Puts the decisions of several people about the same data together.

    Two decisions are alike if they come to the same: a label, the same readings of an ambiguous
    image (their weights are averaged), or that it is unreadable. Skipped images count as not
    judged. Of several reviews by one person the later decision counts.

    Parameters
    ----------
    reviews : iterable of Review
        At least one, all of the same data.

    Returns
    -------
    MergedReviews

    Raises
    ------
    DTypeError, ArgumentError
        Something else than reviews, none, or reviews of different data.

    References
    ----------
    Cohen 1960, A coefficient of agreement for nominal scales; Fleiss 1971, Measuring nominal scale
    agreement among many raters.

    Examples
    --------
    >>> import ambigmnist as am
    >>> from ambigmnist.review import Decision, Pin, Review
    >>> train, test = am.load_digits()
    >>> given = test.labels.tolist()
    >>> a = Review(Pin.of(test), "a", tuple(Decision(i, given[i], "unreadable") for i in (1, 2)))
    >>> b = Review(Pin.of(test), "b", (Decision(2, given[2], "keep", (given[2],)),))
    >>> merged = am.merge_reviews([a, b])
    >>> len(merged.review), merged.conflicts
    (1, array([2]))
    """
    reviews = list(reviews) if isinstance(reviews, Iterable) else [reviews]
    for i, review in enumerate(reviews):
        if not isinstance(review, Review):
            raise DTypeError(
                f"reviews[{i}]: expected a Review, got {type(review).__name__}: "
                "am.load_review(path) gives one"
            )
    if not reviews:
        raise ArgumentError("reviews: expected at least one, got none")
    pin = reviews[0].dataset
    for i, review in enumerate(reviews):
        if replace(review.dataset, name=pin.name) != pin:
            raise ArgumentError(
                f"reviews[{i}]: expected a review of the data of the first, got other images, "
                "labels or classes"
            )
    people = _by_person(reviews)
    agreed: list[Decision] = []
    opinions: dict[int, tuple[tuple[str, Decision], ...]] = {}
    for index in sorted(set().union(*people.values())):
        judged = tuple((who, one[index]) for who, one in people.items() if index in one)
        if len({_category(decision) for _, decision in judged}) == 1:
            agreed.append(_averaged([decision for _, decision in judged]))
        else:
            opinions[index] = judged
    shared = sorted(set.intersection(*(set(judged) for judged in people.values())))
    table = [[_category(judged[index]) for judged in people.values()] for index in shared]
    alike = [len(set(row)) == 1 for row in table]
    return MergedReviews(
        Review(pin, ", ".join(people), tuple(agreed)),
        np.array(list(opinions), np.intp),
        opinions,
        tuple(people),
        len(shared),
        float(np.mean(alike)) if alike else float("nan"),
        _kappa(table) if len(people) > 1 else float("nan"),
    )


def _by_person(reviews: list[Review]) -> dict[str, dict[int, Decision]]:
    """The judged images of each reviewer; the later decision of two."""
    people: dict[str, dict[int, Decision]] = {}
    for review in reviews:
        judged = people.setdefault(review.reviewer, {})
        for decision in review.decisions:
            before = judged.get(decision.index)
            if decision.verdict != "skip" and (before is None or _when(before) <= _when(decision)):
                judged[decision.index] = decision
    return people


def _when(decision: Decision) -> float:
    return datetime.fromisoformat(decision.at).timestamp() if decision.at else 0.0


def _category(decision: Decision) -> Hashable:
    """What a decision comes to."""
    match decision.verdict:
        case "ambiguous":
            return ("ambiguous", frozenset(decision.labels))
        case "unreadable":
            return "unreadable"
        case _:
            return decision.target


def _averaged(decisions: list[Decision]) -> Decision:
    """One for decisions that come to the same: readings weigh what they weigh on average."""
    first = decisions[0]
    notes = dict.fromkeys(d.note for d in decisions if d.note)
    note = "\n".join(notes)[:2000]
    if first.verdict != "ambiguous" or len(decisions) == 1:
        return replace(first, note=note)
    weights = dict.fromkeys(first.labels, 0.0)
    for d in decisions:
        for label, weight in zip(
            d.labels, d.weights or (1 / len(d.labels),) * len(d.labels), strict=True
        ):
            weights[label] += weight / len(decisions)
    ordered = sorted(weights, key=lambda label: -weights[label])
    return replace(
        first, note=note, labels=tuple(ordered), weights=tuple(weights[label] for label in ordered)
    )


def _kappa(table: list[list[Hashable]]) -> float:
    """Of rows of judgements, one per person: Cohen's of two people, Fleiss's of more."""
    if not table:
        return float("nan")
    places = {
        category: i for i, category in enumerate(dict.fromkeys(c for row in table for c in row))
    }
    judged = np.array([[places[c] for c in row] for row in table])
    n, people = judged.shape
    shares = (
        np.stack([np.bincount(judged[:, j], minlength=len(places)) for j in range(people)]) / n
    )  # (people, categories)
    if people == 2:
        observed = float((judged[:, 0] == judged[:, 1]).mean())
        chance = float(shares[0] @ shares[1])
    else:
        counts = np.stack([np.bincount(row, minlength=len(places)) for row in judged])
        pairs = people * (people - 1)
        observed = float(((counts * (counts - 1)).sum(axis=1) / pairs).mean())
        chance = float((shares.mean(axis=0) ** 2).sum())
    return (observed - chance) / (1 - chance) if chance < 1 else float("nan")


def said(decision: Decision | None, names: tuple[str, ...]) -> str:
    """A decision in words."""
    if decision is None:
        return ""
    labels = " or ".join(names[label] for label in decision.labels)
    return f"{decision.verdict} {labels}".strip()
