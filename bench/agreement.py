"""How far two audits with other seeds agree, and what three networks per fold give over one.

    python bench/agreement.py [--quick] [--threads 2]

Folds and first weights differ. Kendall's tau-b (exact ties count as ties) over all images, and how
many of the 100 most ambiguous images are the same, for each definition; accuracy and log loss out
of fold of one and of three networks, their difference with a bootstrap interval over the images.
tau is the core's, checked against SciPy's. The audits are kept in build/bench/agreement/ and taken
up again.
"""

import json
import time
from typing import Any

import _common
import numpy as np

SEEDS = (0, 1)
MEMBERS = (1, 3)
TOP = 100
DRAWS, VIEWS = 10, 8
BOOTSTRAP = 10_000


def main() -> None:
    options = _common.arguments(__doc__.splitlines()[0])
    machine = _common.setup(options.threads)
    images, labels = _common.load_data(2_000 if options.quick else 70_000)
    audits = {(m, s): audit(options, images, labels, m, s) for m in MEMBERS for s in SEEDS}
    results = [agreement(audits), gain(audits)]
    _common.write(options, "agreement", machine, results)


def audit(options: Any, images: np.ndarray, labels: np.ndarray, members: int, seed: int) -> Any:
    import ambigmnist as am

    folder = _common.RESULTS / "agreement" / f"{len(images)}-{members}-{seed}"
    start = time.perf_counter()
    ev = am.audit(
        images, labels, members=members, seed=seed, mc=DRAWS, augment=VIEWS, history="full",
        threads=options.threads, checkpoint=folder, verbose=2,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    print(f"audit of {ev.n:,}, 5 folds x {members}, seed {seed}: {seconds:.1f} s", flush=True)
    return ev


def agreement(audits: dict[tuple[int, int], Any]) -> dict[str, Any]:
    from scipy.stats import kendalltau

    import ambigmnist as am
    from ambigmnist import _ambigcore

    rows = []
    print(f"{'definition':28s}" + "".join(f"  tau x{m}  top {TOP} x{m}" for m in MEMBERS))
    for record in am.definitions():
        row: dict[str, Any] = {"definition": record.name}
        for members in MEMBERS:
            pair = [audits[members, seed] for seed in SEEDS]
            scores = [ev.score(record.name) for ev in pair]
            tops = [set(am.rank(ev, record.name, TOP).indices.tolist()) for ev in pair]
            tau = _ambigcore.kendall_tau(*scores)
            if abs(tau - kendalltau(*scores).statistic) > 1e-12:
                raise SystemExit(f"{record.name}: tau {tau} is not SciPy's")
            row[f"tau x{members}"] = tau
            row[f"top x{members}"] = len(tops[0] & tops[1])
        rows.append(row)
        print(
            f"{record.name:28s}"
            + "".join(f"  {row[f'tau x{m}']:6.3f}  {row[f'top x{m}']:10d}" for m in MEMBERS),
            flush=True,
        )
    return {"case": "agreement of two seeds", "rows": rows}


def gain(audits: dict[tuple[int, int], Any]) -> dict[str, Any]:
    """Of three networks over one, means over both seeds."""
    n = next(iter(audits.values())).n
    right, loss = {}, {}
    for members in MEMBERS:
        pair = [audits[members, seed] for seed in SEEDS]
        right[members] = np.mean([ev.predicted_index == ev.given_index for ev in pair], axis=0)
        loss[members] = np.mean(
            [-np.log(np.maximum(ev.probs[np.arange(n), ev.given_index], 1e-45)) for ev in pair],
            axis=0,
        )
    rng = np.random.default_rng(0)
    results = {}
    for name, of in (("accuracy", right), ("log loss", loss)):
        difference = of[3] - of[1]
        means = [difference[rng.integers(0, n, n)].mean() for _ in range(BOOTSTRAP)]
        low, high = np.quantile(means, [0.025, 0.975])
        results[name] = {
            "one": float(of[1].mean()),
            "three": float(of[3].mean()),
            "difference": float(difference.mean()),
            "interval": [float(low), float(high)],
        }
        print(name, json.dumps(results[name]), flush=True)
    return {"case": "three networks per fold over one", **results}


if __name__ == "__main__":
    main()
