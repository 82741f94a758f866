"""Ranking beside NumPy, pandas, scikit-learn and cleanlab, and beside a plain read of the memory.

    python bench/rank.py [--quick] [--threads 2]

NumPy's best blocked expression was sought among row maxima, maxima over columns, over pairs of
columns and over transposed blocks, in blocks of 1,024 to 65,536 rows: transposed blocks of 16,384
won.
"""

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import _common
import numpy as np

TOP = 12
BLOCK = 16_384
UNIT = "rows/s"


def plain_read() -> Callable[[np.ndarray, int], float]:
    """The C function of read.c, compiled for this machine."""
    source = Path(__file__).with_name("read.c")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "read.so"
        command = [os.environ.get("CC", "cc"), "-O3", "-march=native", "-pthread", "-shared"]
        subprocess.run([*command, "-fPIC", source, "-o", library], check=True)
        read = ctypes.CDLL(str(library)).plain_read
    read.restype = ctypes.c_float
    read.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int]
    return lambda array, threads: read(array.ctypes.data, array.size, threads)


def make(n: int, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a network that is mostly sure, and labels that are mostly its own."""
    rng = np.random.default_rng(0)
    probs = np.empty((n, k), np.float32)
    for start in range(0, n, 1_000_000):
        part = probs[start : start + 1_000_000]
        rng.random(out=part, dtype=np.float32)
        part **= 12
        part += 1e-4  # scikit-learn's log loss clips below 1.2e-7
        part /= part.sum(axis=1, keepdims=True)
    labels = np.where(rng.random(n) < 0.95, probs.argmax(axis=1), rng.integers(0, k, n))
    return probs, labels


def lowest(values: np.ndarray) -> np.ndarray:
    """The indices of the TOP lowest, in order, ties by index."""
    chosen = np.argpartition(values, TOP)[:TOP]
    return chosen[np.lexsort((chosen, values[chosen]))]


def blocked(probs: np.ndarray) -> np.ndarray:
    """The TOP least confident in NumPy: maxima over transposed blocks, and a limit to enter."""
    rows, values, limit = np.empty(0, np.intp), np.empty(0, probs.dtype), np.inf
    for start in range(0, len(probs), BLOCK):
        largest = np.ascontiguousarray(probs[start : start + BLOCK].T).max(axis=0)
        hits = np.flatnonzero(largest < limit)
        if len(hits):
            rows = np.concatenate((rows, hits + start))
            values = np.concatenate((values, largest[hits]))
            if len(values) > TOP:
                keep = np.lexsort((rows, values))[:TOP]
                rows, values = rows[keep], values[keep]
                limit = values[-1]
    return rows


def blocked_in_threads(probs: np.ndarray, pool: ThreadPoolExecutor, threads: int) -> np.ndarray:
    edges = [len(probs) * t // threads for t in range(threads + 1)]
    parts = pool.map(lambda t: blocked(probs[edges[t] : edges[t + 1]]) + edges[t], range(threads))
    rows = np.concatenate(list(parts))
    values = probs[rows].max(axis=1)
    return rows[np.lexsort((rows, values))[:TOP]]


def least_confident(options: Any, n: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    import pandas as pd

    import ambigmnist as am

    probs, labels = make(n)
    read, threads = plain_read(), options.threads
    ev, frame, pool = am.Evidence(probs), pd.DataFrame(probs), ThreadPoolExecutor(threads)
    calls: dict[str, Callable[[], Any]] = {
        "ambigmnist": lambda: am.rank(ev, k=TOP).indices,
        "with its checks": lambda: am.rank(am.Evidence(probs), k=TOP).indices,
        "NumPy": lambda: lowest(probs.max(1)),
        "NumPy, blocks": lambda: blocked(probs),
        "NumPy in threads": lambda: blocked_in_threads(probs, pool, threads),
        "pandas": lambda: frame.max(axis=1).nsmallest(TOP).index.to_numpy(),
    }
    expected = np.sort(1 - probs[calls["NumPy"]()].max(axis=1).astype(np.float64))
    for name, call in calls.items():
        found = np.sort(1 - probs[call()].max(axis=1).astype(np.float64))
        _common.check_equal(f"least confident, {name}", found, expected, 0.0)
    clocks = {name: _common.repeated(call) for name, call in calls.items()}
    clocks["ambigmnist"] = _common.repeated(calls["ambigmnist"], 3)
    clocks["plain read"] = _common.repeated(lambda: read(probs, threads), 3)
    seconds = _common.alternate(clocks, options.rounds)
    result = _common.summarise(
        f"least confident, top {TOP} of {n:,} x 10 float32", n, seconds, UNIT
    )
    result["peers"] = ["NumPy", "NumPy, blocks", "NumPy in threads", "pandas"]
    rates = {
        name: probs.nbytes / float(np.median(seconds[name]))
        for name in ("ambigmnist", "plain read")
    }
    result["bytes per second"] = rates
    shown = ", ".join(f"{name} {rate / 1e9:.1f} GB/s" for name, rate in rates.items())
    print(f"  {shown}: {100 * result['ratio']['plain read']:.0f} % of a plain read")
    return result, probs, labels


def self_confidence(options: Any, probs: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    from cleanlab.rank import get_label_quality_scores, get_self_confidence_for_each_label

    import ambigmnist as am

    ev = am.Evidence(probs, labels)
    n = len(probs)
    calls = {
        "ambigmnist": lambda: am.rank(ev, "self_confidence", TOP).indices,
        # As its documentation shows it; then the quickest way to the same with its functions.
        "cleanlab": lambda: np.argsort(get_label_quality_scores(labels, probs))[:TOP],
        "cleanlab, NumPy": lambda: lowest(get_self_confidence_for_each_label(labels, probs)),
        "NumPy": lambda: lowest(probs[np.arange(n), labels]),
    }
    scores = 1 - probs[np.arange(n), labels].astype(np.float64)
    expected = scores[calls["NumPy"]()]
    for name, call in calls.items():
        _common.check_equal(f"self-confidence, {name}", scores[call()], expected, 0.0)
    rounds = min(options.rounds, 3)
    seconds = _common.alternate(
        {name: _common.repeated(call) for name, call in calls.items()}, rounds
    )
    return _common.summarise(f"self-confidence, top {TOP} of {n:,}", n, seconds, UNIT)


def summary(options: Any, probs: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Two top lists, both heatmaps, log loss and accuracy."""
    from sklearn.metrics import confusion_matrix, log_loss

    import ambigmnist as am

    ev = am.Evidence(probs, labels)
    n, k = probs.shape
    classes = np.arange(k)

    def theirs() -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        predicted = probs.argmax(axis=1)
        confusion = confusion_matrix(labels, predicted, labels=classes)
        heat = np.stack([probs[labels == t].sum(axis=0, dtype=np.float64) for t in classes])
        np.fill_diagonal(heat, 0)
        largest = probs.max(axis=1)
        wrong = np.flatnonzero(predicted != labels)
        tops = np.stack((lowest(largest), wrong[lowest(-largest[wrong])]))
        return log_loss(labels, probs, labels=classes), confusion, heat, tops

    found, expected = ev.summary(), theirs()
    _common.check_equal("log loss", np.array(found.log_loss), np.array(expected[0]), 1e-5)
    _common.check_equal("confusion matrix", found.confusion, expected[1], 0.0)
    _common.check_equal("heatmap", found.probability.counts, expected[2], 1e-6)
    ours = np.stack([r.indices for r in found.rankings.values()])
    _common.check_equal("top lists", ours, expected[3], 0.0)
    calls = {"ambigmnist": ev.summary, "scikit-learn": theirs}
    rounds = min(options.rounds, 3)
    seconds = _common.alternate(
        {name: _common.repeated(call) for name, call in calls.items()}, rounds
    )
    return _common.summarise(f"top lists, heatmaps, log loss, accuracy of {n:,}", n, seconds, UNIT)


def neighbours(options: Any, n: int, d: int = 256, k: int = 10) -> dict[str, Any]:
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    import ambigmnist as am

    x = np.maximum(np.random.default_rng(0).normal(size=(n, d)), 0).astype(np.float32)
    ev = am.Evidence(np.ones((n, 1), np.float32), embeddings=x)

    def theirs() -> tuple[np.ndarray, np.ndarray]:
        with threadpool_limits(options.threads):
            fitted = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x)
            distances, indices = fitted.kneighbors()
        return indices, distances

    _common.check_equal("distances", ev.neighbours(k)[1], theirs()[1], 1e-5)
    calls = {"ambigmnist": lambda: ev.neighbours(k), "scikit-learn": theirs}
    rounds = min(options.rounds, 3)
    seconds = _common.alternate(
        {name: _common.repeated(call) for name, call in calls.items()}, rounds
    )
    result = _common.summarise(f"{k} nearest of {n:,} x {d} float32", n, seconds, UNIT)
    rate = 2 * n * n * d / float(np.median(seconds["ambigmnist"]))
    print(f"  {rate / 1e9:.0f} GFLOP/s of the matrix product alone")
    return result


def mapped(options: Any, probs: np.ndarray) -> dict[str, Any]:
    """From a file that the system has in its cache, against the same array."""
    import ambigmnist as am

    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "probs.npy", probs)
        file = np.load(Path(folder) / "probs.npy", mmap_mode="r")
        evidence = {"ambigmnist": am.Evidence(file), "in memory": am.Evidence(probs)}
        lists = [am.rank(ev, k=TOP).indices for ev in evidence.values()]
        _common.check_equal("mapped file", lists[0], lists[1], 0.0)
        clocks = {
            name: _common.repeated(lambda ev=ev: am.rank(ev, k=TOP))
            for name, ev in evidence.items()
        }
        seconds = _common.alternate(clocks, options.rounds)
        case = f"from a mapped file, {len(probs):,}"
        result = _common.summarise(case, len(probs), seconds, UNIT)
        return result | {"partial": "both are ours"}


def main() -> None:
    options = _common.arguments(__doc__.splitlines()[0])
    found = _common.setup(options.threads)
    n = 1_000_000 if options.quick else 10_000_000
    first, probs, labels = least_confident(options, n)
    few = slice(0, n // 10)
    results = [
        first,
        mapped(options, probs),
        self_confidence(options, probs, labels),
        summary(options, probs[few], labels[few]),
        neighbours(options, 2_000 if options.quick else 20_000),
    ]
    _common.write(options, "rank", found, results)


if __name__ == "__main__":
    main()
