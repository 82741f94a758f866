"""Stability: how much of a ranking another audit would show again, and what more networks buy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ambigmnist import _ambigcore
from ambigmnist._opinions import Opinions, as_audits
from ambigmnist._tables import html_table, text_table
from ambigmnist._validate import as_int
from ambigmnist.definitions import Definition, find, scores
from ambigmnist.errors import ArgumentError
from ambigmnist.evidence import Evidence

__all__ = ["Stability", "stability"]

F64 = NDArray[np.float64]

_ENOUGH = 0.9
_LIMIT = 1000
_SPLITS = 20


@dataclass(frozen=True, eq=False, repr=False)
class Stability:
    """How stable the top of a ranking is; made by `stability`.

    Attributes
    ----------
    definition : Definition
    k, n : int
        The k most ambiguous of n images.
    members : int
        How many networks per fold the evidence is of (of several audits: each of them).
    unit : {"networks", "passes"}
        Passes with dropout where networks are not known one by one.
    other_folds : bool
        Whether what other folds change counts, too: of several audits.
    measured : float
        The share of the top k that was seen in both of two lists: of the halves of the networks, or
        of two audits.
    sizes : (s,) intp
        Numbers of networks: 1 (where a definition needs no more), 2, `members`, twice and four
        times as many.
    overlap, tau : (s,) float64
        Of two audits of so many networks each: the expected share of the top k that is in both,
        and Kendall's tau-b over all images (NaN where all have one score).
    members_needed : int or None
        The least number of networks with which the expected overlap reaches 0.9.
    reason : str
        Why there is no such number, where it is None.
    """

    definition: Definition
    k: int
    n: int
    members: int
    unit: str
    other_folds: bool
    measured: float
    sizes: NDArray[np.intp]
    overlap: F64
    tau: F64
    members_needed: int | None
    reason: str

    def _title(self) -> str:
        return (
            f"the {self.k} most ambiguous of {self.n} images by {self.definition.name}, "
            f"{self.members} {self.unit}"
        )

    def _sentence(self) -> str:
        share = self.overlap[self.sizes == self.members][0]
        needed = self.members_needed
        if needed is None:
            more = self.reason
        elif needed <= self.members:
            more = f"{needed} {self.unit} would do for {_ENOUGH:.0%}"
        else:
            more = f"{needed - self.members} more {self.unit} needed for a stable top {self.k}"
        other = "another such audit" if self.other_folds else f"as many other {self.unit}"
        return f"{other} would share {share:.0%} of them; {more}"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        header = [self.unit, f"top {self.k} in both", "Kendall's tau"]
        sizes = self.sizes.tolist()
        width = len(str(max(sizes)))
        return header, [
            [f"{size:>{width}}", f"{share:.2f}", f"{tau:.2f}"]
            for size, share, tau in zip(sizes, self.overlap, self.tau, strict=True)
        ]

    def __repr__(self) -> str:
        return f"Stability: {self._title()}\n{self._sentence()}\n{text_table(*self._table())}"

    def _repr_html_(self) -> str:
        return html_table(*self._table(), self._title()) + f"<p>{self._sentence()}</p>"


def stability(
    ev: Evidence | Sequence[Evidence],
    by: str | Callable[[Evidence], ArrayLike] | Definition = "least_confident",
    k: int = 12,
    *,
    seed: int = 0,
) -> Stability:
    """How much of the top k another audit would share, and how many networks make it stable.

    The networks are split into halves, which rank all images each for themselves. What the halves
    share is turned into the correlation of two normal variables of which as many of the top k
    coincide (of the order of all images: whose Kendall's tau is the same), and Spearman and
    Brown's formula tells what correlation m networks have: rho = 1 / (1 + noise / m), for the noise
    of a mean of m probabilities has a variance in proportion to 1 / m. Of the order of all images
    the noise goes down more slowly, as 1 / m^c: c comes from the pairs of single networks beside
    the halves.

    Parameters
    ----------
    ev : Evidence or sequence of Evidence
        With at least two `members` (or passes of `mc`, which tell of dropout alone): other
        networks on the same folds. Or several audits of the same images, with other seeds: then
        their lists are compared, which shows what other folds change, too, and no number of
        networks mends. That works for every definition.
    by : str, callable or Definition
        As for `rank`.
    k : int
        At least 1 and less than the images.
    seed : int
        Of the halves: there are at most 20 pairs of them.

    Returns
    -------
    Stability
        Prints as a sentence and a table.

    Raises
    ------
    ArgumentError, DTypeError
        A single network; a definition that does not look at what each network says; a `k` out of
        range; evidence of different images.

    Notes
    -----
    On 10,000 digits it foretells from 3 networks what 12 share of the first 100, and their tau, to
    0.03 (bench/README.md). Of short lists it is too hopeful, by about 0.1 of the first 12, by more
    where the top is crowded at a bound of the score, as that of "margin" is: take `members_needed`
    as the least that may do. Another audit, with other folds, shares less than networks on the same
    folds, much less where folds are few.

    References
    ----------
    C. Spearman, "Correlation calculated from faulty data", and W. Brown, "Some experimental results
    in the correlation of mental abilities", British Journal of Psychology 3, 1910.
    R. L. Plackett, "A reduction formula for normal multivariate integrals", Biometrika 41, 1954.

    Examples
    --------
    >>> import ambigmnist as am
    >>> rng = np.random.default_rng(0)
    >>> p = np.clip(rng.uniform(0.5, 1, 500) + rng.normal(0, 0.05, (4, 500)), 0, 1)
    >>> members = np.stack([p, 1 - p], axis=2)
    >>> am.stability(am.Evidence(members.mean(axis=0), members=members), k=25)
    Stability: the 25 most ambiguous of 500 images by least_confident, 4 networks
    as many other networks would share 57% of them; 86 more networks needed for a stable top 25
    networks  top 25 in both  Kendall's tau
     1        0.31            0.72
     2        0.44            0.79
     4        0.57            0.85
     8        0.68            0.89
    16        0.77            0.92
    """
    record = find(by)
    k = as_int(k, "k", least=1)
    rng = np.random.Generator(np.random.PCG64(as_int(seed, "seed", least=0)))
    audits = [ev] if isinstance(ev, Evidence) else as_audits(ev, "ev")
    n = audits[0].n
    if k >= n:
        raise ArgumentError(
            f"k: expected fewer than the {n} images, got {k}: all are in such lists"
        )
    opinions = _opinions_of(audits, record)
    known = audits[0].members
    members = opinions[0].count if opinions else 1 if known is None else len(known)
    top, order, measured = _within(opinions, k, n, rng) if opinions else (None, None, math.nan)
    if len(audits) > 1:
        across = _compared(_audit_pairs(audits, record), k)
        measured = across.shared / across.places
        top = _Prophecy.across(_rho_of_overlap(across.overlap, k / n), members, top)
        order = _Prophecy.across(_rho_of_tau(across.tau), members, order)
    assert top is not None
    assert order is not None
    sizes = np.array([members])
    if opinions:
        sizes = np.unique([opinions[0].fewest, 2, members, 2 * members, 4 * members])
    needed = top.least(_rho_of_overlap(_ENOUGH, k / n))
    reason = ""
    if not opinions:
        needed, reason = None, "these audits do not tell what more networks would change"
    elif needed is None:
        reason = f"{_LIMIT} {opinions[0].unit} would not do for {_ENOUGH:.0%}"
        if top.floor > 0:
            reason += ", for other folds change much: take more folds"
    return Stability(
        record,
        k,
        n,
        members,
        opinions[0].unit if opinions else "networks",
        len(audits) > 1,
        measured,
        sizes,
        np.array([_overlap(top.rho(m), k / n) for m in sizes.tolist()]),
        np.array([_tau(order.rho(m)) for m in sizes.tolist()]),
        needed,
        reason,
    )


def _opinions_of(audits: list[Evidence], record: Definition) -> list[Opinions]:
    """Of each audit; none where these are several and say nothing about single networks."""
    try:
        opinions = [Opinions(one, record, "stability", halves=True) for one in audits]
    except ArgumentError:
        if len(audits) == 1:
            raise
        return []
    counts = {(one.count, one.unit) for one in opinions}
    if len(counts) > 1:
        shown = ", ".join(f"{count} {unit}" for count, unit in sorted(counts))
        raise ArgumentError(f"ev: expected audits of as many networks each, got {shown}")
    return opinions


def _within(
    opinions: list[Opinions], k: int, n: int, rng: np.random.Generator
) -> tuple[_Prophecy, _Prophecy, float]:
    """Of the top, of the order, and the share that halves have in common."""
    m = opinions[0].count
    halves = _compared(itertools.chain(*(_halves(one, rng) for one in opinions)), k)
    singles = halves
    if m > 2 and opinions[0].fewest == 1:
        singles = _compared(itertools.chain(*(_pairs(one, rng) for one in opinions)), k)
    sizes = m // 2, m - m // 2
    top = _Prophecy.of(_rho_of_overlap(halves.overlap, k / n), sizes)
    order = _Prophecy.of_order(singles.tau, halves.tau, sizes)
    return top, order, halves.shared / halves.places


# --- what is measured ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Compared:
    """Pairs of lists: how many of `places` in the top k are shared, and the mean tau."""

    shared: int
    places: int
    tau: float

    @property
    def overlap(self) -> float:
        """Never quite nothing or all: what a few lists do not show may be there."""
        return (self.shared + 0.5) / (self.places + 1)


def _compared(pairs: Iterator[tuple[F64, F64]], k: int) -> _Compared:
    shared, places, taus = 0, 0, []
    for a, b in pairs:
        shared += len(np.intersect1d(_ambigcore.top_k(a, k), _ambigcore.top_k(b, k)))
        places += k
        taus.append(_ambigcore.kendall_tau(a, b))
    return _Compared(shared, places, math.fsum(taus) / len(taus))


def _halves(opinions: Opinions, rng: np.random.Generator) -> Iterator[tuple[F64, F64]]:
    m = opinions.count
    every = [
        half
        for half in itertools.islice(itertools.combinations(range(m), m // 2), 200)
        if m % 2 or 0 in half
    ]
    if len(every) > _SPLITS:
        every = [tuple(sorted(rng.permutation(m)[: m // 2].tolist())) for _ in range(_SPLITS)]
    for half in every:
        yield opinions.scores(half), opinions.scores([j for j in range(m) if j not in half])


def _pairs(opinions: Opinions, rng: np.random.Generator) -> Iterator[tuple[F64, F64]]:
    every = list(itertools.combinations(range(opinions.count), 2))
    if len(every) > _SPLITS:
        every = [every[i] for i in rng.permutation(len(every))[:_SPLITS].tolist()]
    for a, b in every:
        yield opinions.scores([a]), opinions.scores([b])


def _audit_pairs(audits: list[Evidence], record: Definition) -> Iterator[tuple[F64, F64]]:
    for a, b in itertools.combinations(audits, 2):
        yield scores(a, record), scores(b, record)


# --- what is foretold ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Prophecy:
    """The correlation of two means of m networks each: 1 / (1 + noise / m^decay + floor)."""

    noise: float
    decay: float = 1.0
    floor: float = 0.0

    @classmethod
    def of(cls, rho: float, sizes: tuple[int, int], decay: float = 1.0) -> _Prophecy:
        """From the correlation of two means of `sizes` networks."""
        a, b = (1 / size**decay for size in sizes)
        gap = math.inf if rho <= 0 else 1 / rho**2 - 1  # of (1 + noise a) (1 + noise b) = 1 / rho^2
        return cls((math.sqrt((a + b) ** 2 + 4 * a * b * gap) - (a + b)) / (2 * a * b), decay)

    @classmethod
    def of_order(cls, single: float, half: float, sizes: tuple[int, int]) -> _Prophecy:
        """From Kendall's tau of single networks and of halves, which tell the decay."""
        if not 0 < single < half:  # also where there are no others than halves
            return cls.of(_rho_of_tau(half), sizes)
        noise = cls.of(_rho_of_tau(single), (1, 1)).noise
        low, high = 0.0, 2.0  # the halves agree the more, the faster the noise goes down
        for _ in range(50):
            decay = (low + high) / 2
            tried = 1 / math.sqrt(math.prod(1 + noise / size**decay for size in sizes))
            low, high = (decay, high) if _tau(tried) < half else (low, decay)
        return cls.of(_rho_of_tau(half), sizes, (low + high) / 2)

    @classmethod
    def across(cls, rho: float, members: int, within: _Prophecy | None) -> _Prophecy:
        """From the correlation of two audits: what is more than the noise of networks stays."""
        all_of_it = math.inf if rho <= 0 else 1 / rho - 1
        if within is None:
            return cls(0.0, floor=all_of_it)
        own = within.noise / members**within.decay
        if math.isnan(all_of_it) or all_of_it > own:
            return cls(within.noise, within.decay, all_of_it - own)
        return cls(within.noise * all_of_it / own if own else 0.0, within.decay)

    def rho(self, members: int) -> float:
        return float(1 / (1 + self.noise / members**self.decay + self.floor))

    def least(self, rho: float) -> int | None:
        """The least number of networks of at least this correlation, where 1000 have it."""
        return next((m for m in range(1, _LIMIT + 1) if self.rho(m) >= rho), None)


def _tau(rho: float) -> float:
    return 2 / math.pi * math.asin(rho)


def _rho_of_tau(tau: float) -> float:
    return math.sin(math.pi / 2 * tau)


def _overlap(rho: float, share: float) -> float:
    """Of two normal variables: how much of the top `share` of one is in that of the other.

    Plackett's integral of the density at the threshold, over the angle asin(rho), by Simpson.
    """
    threshold = NormalDist().inv_cdf(1 - share)
    angles = np.linspace(0.0, math.asin(rho), 1001)
    heights = np.exp(-(threshold**2) / (1 + np.sin(angles)))
    simpson = np.where(np.arange(1001) % 2, 4.0, 2.0)
    simpson[[0, -1]] = 1.0
    integral = float(simpson @ heights) * angles[1] / 3
    return float(min(1.0, share + integral / (2 * math.pi * share)))


def _rho_of_overlap(overlap: float, share: float) -> float:
    """0 where the overlap is no more than chance."""
    low, high = 0.0, 1.0
    for _ in range(50):
        rho = (low + high) / 2
        low, high = (rho, high) if _overlap(rho, share) < overlap else (low, rho)
    return (low + high) / 2
