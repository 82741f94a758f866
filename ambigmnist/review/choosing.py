"""Which images a report shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

from ambigmnist.evidence import Evidence, Indices

__all__ = ["chosen_images"]

PER_CELL = 12  # images of every square of the heatmap


def chosen_images(
    ev: Evidence,
    candidates: Indices,
    orders: Sequence[Indices],
    first: Indices,
    coloured: NDArray[np.bool_],
    top: int,
) -> Indices:
    """At most `top` of the candidates, in the order of the first of `orders`.

    Those of the map of counts come first, then up to half of what is left goes to the squares of
    the map of probabilities, and the rest to the orders in turn.

    Parameters
    ----------
    orders : sequence of (n,) intp
        All images, most ambiguous first.
    first : (m,) intp
        Which images the map of counts looks at.
    coloured : (k, k) bool
        Which squares of the map of probabilities show something.
    """
    wanted = np.zeros(ev.n, bool)
    wanted[candidates] = True
    taken: dict[int, None] = {}

    def take(images: Iterator[int], most: int) -> None:
        for i in images:
            if len(taken) >= most:
                return
            if wanted[i]:
                taken[i] = None

    top = min(top, len(candidates))
    take(iter(first.tolist()), top)
    take(_of_cells(ev, candidates, coloured), (len(taken) + top + 1) // 2)
    take(_in_turn(order.tolist() for order in orders), top)
    place = np.empty(ev.n, np.intp)
    place[orders[0]] = np.arange(ev.n)
    found = np.fromiter(taken, np.intp, len(taken))
    return found[np.argsort(place[found])]


def _of_cells(ev: Evidence, candidates: Indices, coloured: NDArray[np.bool_]) -> Iterator[int]:
    """The likeliest images of each square: all the likeliest, then all the second, ..."""
    given = ev.given_index[candidates]
    lists = []
    for t, j in np.argwhere(coloured).tolist():
        rows = candidates[given == t]
        lists.append(rows[np.argsort(-ev.probs[rows, j], kind="stable")[:PER_CELL]].tolist())
    return _in_turn(lists)


def _in_turn(lists: Iterator[list[int]] | list[list[int]]) -> Iterator[int]:
    turns = zip_longest(*lists)
    return (i for i in chain.from_iterable(turns) if i is not None)
