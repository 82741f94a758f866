"""Whether intervals of ranks hold the rank by other networks, and foretold overlaps come true.

    python bench/stability.py [--quick] [--threads 2]

Two audits of the test images, with two folds: one of 24 networks per fold, and one of 12 with other
folds. What 3 (and 6) of the 24 foretell is compared with what disjoint groups of the others show;
then what 70,000 images cost. The audits are kept in build/bench/stability/ and taken up again.
"""

import itertools
import time
from typing import Any

import _common
import numpy as np

MEMBERS = (24, 12)  # of the seeds 0 and 1
DEFINITIONS = ("least_confident", "entropy", "margin", "confident_wrong", "self_confidence", "bald")
FROM = (3, 6)
TOPS = (12, 50, 100)
GROUPS = 8  # random ones for each figure
SIZES = (1, 3, 6, 12)


def main() -> None:
    options = _common.arguments(__doc__.splitlines()[0])
    machine = _common.setup(options.threads)
    images, labels = _common.load_data(70_000)
    images, labels = images[60_000:], labels[60_000:]
    if options.quick:
        images, labels = images[:500], labels[:500]
    audits = [audit(options, images, labels, seed, m) for seed, m in enumerate(MEMBERS)]
    results = [
        coverage(audits[0]),
        coverage_of_audits(audits[0]),
        overlaps(audits[0]),
        other_folds(*audits),
        cost(7_000 if options.quick else 70_000),
    ]
    _common.write(options, "stability", machine, results)


def audit(options: Any, images: np.ndarray, labels: np.ndarray, seed: int, members: int) -> Any:
    import ambigmnist as am

    folder = _common.RESULTS / "stability" / f"{len(images)}-2-{members}-{seed}"
    return am.audit(
        images, labels, folds=2, members=members, history=False, seed=seed,
        epochs=1 if options.quick else None, threads=options.threads, checkpoint=folder, verbose=2,
    )  # fmt: skip


def some(ev: Any, which: list[int]) -> Any:
    """The evidence of a few of the networks, as an audit of them would give it."""
    import ambigmnist as am

    members = ev.members[which]
    mean = members.mean(axis=0, dtype=np.float64)
    logits = np.log(np.maximum(mean, 1e-45))
    return am.Evidence(mean, ev.labels, logits=logits, members=members)


def ranks(ev: Any, by: str) -> np.ndarray:
    import ambigmnist as am

    out = np.empty(ev.n, np.intp)
    out[am.rank(ev, by).indices] = np.arange(1, ev.n + 1)
    return out


def coverage(ev: Any) -> dict[str, Any]:
    """How many 90 % intervals from a few networks hold the rank by 12 others."""
    import ambigmnist as am

    rng, rows = np.random.default_rng(0), []
    print(f"{'intervals of':18s} networks  " + "  ".join(f"top {k:4d}" for k in (*TOPS, ev.n)))
    for by, m in itertools.product(DEFINITIONS, (*FROM, 12)):
        held, widths = [], []
        for _ in range(GROUPS):
            order = rng.permutation(len(ev.members)).tolist()
            ranking = am.rank(some(ev, order[:m]), by, intervals=True)
            others = ranks(some(ev, order[m : m + 12]), by)[ranking.indices]
            low, high = ranking.rank_low, ranking.rank_high
            inside = (low <= others) & (others <= high)
            held.append([inside[:k].mean() for k in (*TOPS, ev.n)])
            widths.append([float(np.median(high[:k])) for k in TOPS])
        row = {"definition": by, "networks": m, "held": np.mean(held, axis=0).tolist()}
        rows.append(row | {"median rank_high": np.mean(widths, axis=0).tolist()})
        print(f"{by:18s} {m:8d}  " + "  ".join(f"{v:8.2f}" for v in row["held"]), flush=True)
    return {"case": "coverage of 90 % intervals", "tops": TOPS, "rows": rows}


def coverage_of_audits(ev: Any) -> dict[str, Any]:
    """The same of a list of audits: groups of 3 networks, and where one more group puts it."""
    import ambigmnist as am

    rng, rows = np.random.default_rng(1), []
    for by, a in itertools.product(DEFINITIONS, (3, 6)):
        held = []
        for _ in range(GROUPS):
            order = rng.permutation(len(ev.members)).tolist()
            groups = [some(ev, order[3 * i : 3 * i + 3]) for i in range(a + 1)]
            ranking = am.rank(groups[0], by, intervals=groups[1:a])
            another = ranks(groups[a], by)[ranking.indices]
            inside = (ranking.rank_low <= another) & (another <= ranking.rank_high)
            held.append([inside[:k].mean() for k in (*TOPS, ev.n)])
        rows.append({"definition": by, "audits": a, "held": np.mean(held, axis=0).tolist()})
        print(f"{by:18s} {a} audits  {np.round(rows[-1]['held'], 2)}", flush=True)
    return {"case": "coverage of intervals over audits", "tops": TOPS, "rows": rows}


def overlaps(ev: Any) -> dict[str, Any]:
    """What 3 and 6 networks foretell, and what disjoint groups of 1 to 12 share."""
    import ambigmnist as am

    rng, rows = np.random.default_rng(2), []
    for by in DEFINITIONS:
        seen: dict[int, list[list[float]]] = {m: [] for m in SIZES}
        for m in SIZES if by != "bald" else SIZES[1:]:
            for _ in range(2 * GROUPS):
                order = rng.permutation(len(ev.members)).tolist()
                pair = [am.rank(some(ev, order[i * m : i * m + m]), by) for i in range(2)]
                found = [am.compare_rankings(*pair, k) for k in TOPS]
                seen[m].append([*(c.overlap for c in found), found[0].tau])
        for m in FROM:
            told: dict[int, list[list[float]]] = {size: [] for size in SIZES}
            for _ in range(GROUPS):
                part = some(ev, rng.permutation(len(ev.members))[:m].tolist())
                try:
                    found_k = [am.stability(part, by, k) for k in TOPS]
                except am.ArgumentError:
                    continue  # bald has no halves of three
                for size in SIZES:
                    told[size].append([*(at(s, size) for s in found_k), at(found_k[0], size, True)])
            for size in SIZES:
                if told[size] and seen[size]:
                    row = {"definition": by, "from": m, "networks": size}
                    row |= {"told": np.mean(told[size], 0).tolist()}
                    row |= {"spread": np.std(told[size], 0).tolist()}
                    row |= {"seen": np.mean(seen[size], 0).tolist()}
                    rows.append(row)
                    print(
                        f"{by:18s} from {m} for {size:2d}: told {np.round(row['told'], 2)} "
                        f"(sd {np.round(row['spread'], 2)}) seen {np.round(row['seen'], 2)}",
                        flush=True,
                    )
    return {"case": "overlaps foretold", "tops": TOPS, "rows": rows}


def at(found: Any, size: int, tau: bool = False) -> float:
    """A foretold figure for any number of networks."""
    known = found.tau if tau else found.overlap
    if size in found.sizes:
        return float(known[found.sizes == size][0])
    return float(np.interp(np.log(size), np.log(found.sizes), known))


def other_folds(first: Any, second: Any) -> dict[str, Any]:
    """Two audits of 3 networks each on the same folds, and on other folds; what two foretell."""
    import ambigmnist as am

    rng, rows = np.random.default_rng(3), []
    for by in DEFINITIONS:
        same, other, told = [], [], []
        for _ in range(GROUPS):
            order = rng.permutation(24).tolist()
            a, b = some(first, order[:3]), some(first, order[3:6])
            c = some(second, rng.permutation(12)[:3].tolist())
            listed = [am.rank(one, by) for one in (a, b, c)]
            same.append([am.compare_rankings(listed[0], listed[1], k).overlap for k in TOPS])
            other.append([am.compare_rankings(listed[0], listed[2], k).overlap for k in TOPS])
            if by != "bald":
                told.append([at(am.stability([a, c], by, k), 12) for k in TOPS])
        row = {
            "definition": by,
            "same": np.mean(same, 0).tolist(),
            "other": np.mean(other, 0).tolist(),
        }
        if told:
            twelve = am.rank(some(first, list(range(12))), by), am.rank(second, by)
            row["told for 12"] = np.mean(told, 0).tolist()
            row["seen of 12"] = [am.compare_rankings(*twelve, k).overlap for k in TOPS]
        rows.append(row)
        print(by, {key: np.round(v, 2).tolist() for key, v in row.items() if key != "definition"})
    return {"case": "other folds", "tops": TOPS, "rows": rows}


def cost(n: int) -> dict[str, Any]:
    import ambigmnist as am

    rng = np.random.default_rng(0)
    z = rng.normal(0, 4, (n, 10)) + rng.normal(0, 1, (20, n, 10))
    stack = np.exp(z - z.max(axis=2, keepdims=True)).astype(np.float32)
    stack /= stack.sum(axis=2, keepdims=True)
    seconds = {}
    for m in (3, 20):
        ev = am.Evidence(stack[:m].mean(axis=0), members=stack[:m])
        for name, call in (
            (f"intervals of all, {m}", lambda ev=ev: am.rank(ev, intervals=True)),
            (f"stability, {m}", lambda ev=ev: am.stability(ev)),
        ):
            start = time.perf_counter()
            call()
            seconds[name] = time.perf_counter() - start
    start = time.perf_counter()
    am.compare_rankings(am.rank(ev), am.rank(ev, "entropy"))
    seconds["two rankings compared"] = time.perf_counter() - start
    print(f"{n:,} images:", {name: round(value, 3) for name, value in seconds.items()})
    return {"case": "cost", "n": n, "seconds": seconds}


if __name__ == "__main__":
    main()
