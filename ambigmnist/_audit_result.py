"""What the runs of an audit found out, put together as evidence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ambigmnist import _ambigcore
from ambigmnist._audit_plan import Plan, Run
from ambigmnist._audit_run import RunResult
from ambigmnist.evidence import DYNAMICS, NEAREST, Evidence

__all__ = ["Gathered"]

Floats = NDArray[np.float32]


class Gathered:
    """Results so far. They are added in the order of `Plan.runs`, so that sums have fixed bits."""

    def __init__(self, plan: Plan) -> None:
        n, k = len(plan.fold), len(plan.classes)
        self._plan = plan
        self._logits = np.zeros((plan.members, n, k), np.float32)
        self._mc = np.zeros((plan.members * plan.mc, n, k), np.float32) if plan.mc else None
        self._views = np.zeros((plan.augment, n, k), np.float32) if plan.augment else None
        self._views_sum: NDArray[np.float64] | float = 0.0
        self._dynamics = (
            None if plan.history == "none" else np.zeros((n, len(DYNAMICS.fields or ())))
        )
        self._nearest: NDArray[np.void] | None = None
        self._embeddings: Floats | None = None
        self._facts: list[dict[str, Any]] = []
        self.finished: list[int] = []  # folds

    def add(self, run: Run, result: RunResult) -> None:
        plan, tables = self._plan, result.tables
        train, _, held = plan.parts(run)
        self._logits[run.member, held] = tables["logits"]
        if self._mc is not None:
            first = run.member * plan.mc
            self._mc[first : first + plan.mc, held] = tables["mc"]
        if self._views is not None:
            self._views_sum = self._views_sum + tables["views"].astype(np.float64)
        if self._dynamics is not None:
            self._dynamics[train] += tables["dynamics"]
        if "nearest_index" in tables:
            self._add_nearest(held, tables["nearest_index"], tables["nearest_distance"])
        if "embeddings" in tables:
            self._embeddings = tables["embeddings"]
        self._facts.append(
            {**run._asdict(), "seed": plan.training_seed(run), **result.facts},
        )
        if run.member == plan.members - 1:
            if self._views is not None:
                self._views[:, held] = self._views_sum / plan.members
                self._views_sum = 0.0
            self.finished.append(run.fold)

    def _add_nearest(
        self, held: NDArray[np.intp], index: NDArray[np.intp], distance: NDArray[np.float64]
    ) -> None:
        if self._nearest is None:
            self._nearest = np.zeros((len(self._plan.fold), index.shape[1]), NEAREST)
        records = np.empty(index.shape, NEAREST)
        records["index"], records["distance"] = index, distance
        records["label"] = self._plan.columns[index]
        self._nearest[held] = records

    def evidence(
        self,
        images: NDArray[Any],
        split: NDArray[Any] | None,
        provenance: dict[str, Any],
        threads: int,
    ) -> Evidence:
        """Of the images whose fold is finished."""
        plan = self._plan
        rows = np.flatnonzero(np.isin(plan.fold, self.finished))
        every = len(rows) == len(plan.fold)

        def of(array: Any, axis: int = 0) -> Any:
            return array if every or array is None else np.take(array, rows, axis=axis)

        logits = of(self._logits, 1)
        members = None
        if plan.members > 1:
            flat = logits.reshape(-1, logits.shape[2])
            members = _ambigcore.softmax(flat, threads).reshape(logits.shape)
            logits = _ambigcore.mean_logits(logits, threads)
        else:
            logits = logits[0]
        return Evidence(
            _ambigcore.softmax(logits, threads),
            plan.classes[of(plan.columns)],
            classes=plan.classes,
            images=of(images),
            logits=logits,
            members=members,
            mc=of(self._mc, 1),
            augmented=of(self._views, 1),
            dynamics=of(self._mean_dynamics()),
            embeddings=of(self._embeddings),
            nearest=of(self._nearest),
            fold=of(plan.fold),
            split=of(split),
            in_sample=False,
            provenance={
                **provenance,
                "complete": every,
                "finished folds": self.finished,
                "runs": self._facts,
            },
        )

    def _mean_dynamics(self) -> NDArray[np.void] | None:
        """Means over the runs that trained on an image; NaN for one that none has."""
        if self._dynamics is None:
            return None
        runs = self._dynamics[:, :1]
        with np.errstate(invalid="ignore"):
            means = self._dynamics / runs
        means[:, :1] = runs
        records: NDArray[np.void] = means.view(DYNAMICS)[:, 0]
        if self._plan.history == "full":
            records["vog"] = _standardised(records["vog"], self._plan.columns)
        return records


def _standardised(values: NDArray[np.float64], columns: NDArray[np.int32]) -> NDArray[np.float64]:
    """(v - mean) / standard deviation within each class; 0 where a class has no spread.

    Exact sums, so that the bits do not depend on how a machine adds.
    """
    result = np.full_like(values, np.nan)
    known = ~np.isnan(values)
    for column in np.unique(columns):
        rows = np.flatnonzero(known & (columns == column))
        if len(rows) == 0:
            continue
        own = values[rows]
        off = own - math.fsum(own) / len(own)
        spread = math.sqrt(math.fsum(off * off) / len(own))
        result[rows] = off / spread if spread > 0 else 0.0
    return result
