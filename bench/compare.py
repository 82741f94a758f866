"""Training and prediction beside PyTorch, Keras, JAX and ONNX Runtime, alternating in one process.

    python bench/compare.py [--quick | --full] [--only CASE ...] [--peers NAME ...] [--threads 2]

Every case first shows that the contestants compute the same, then times them. See README.md.
"""

import argparse
import atexit
import dataclasses
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common
import numpy as np
import peers
from peers import RECIPES

TITLES = {
    "train-seed": "training, batch 256, dropout, RMSprop",
    "train-fast": "training, batch 64, Adam",
    "predict-256": "prediction, 256 images a call",
    "predict-1000": "prediction, 1,000 images a call",
    "predict-1": "prediction, one image a call",
    "threads-train": "training, all threads over one",
    "threads-predict": "prediction, all threads over one",
    "memory": "peak memory, training on all of MNIST",
    "whole": 'preset "fast", process start to evaluated',
    "out-of-fold": "out-of-fold probabilities, 5 folds",
}
# These take minutes: with --quick a small piece of them, in full by --full or by their name.
LONG = ("whole", "out-of-fold")
# These need a while to compile, or have been slower than their plain form; not with --quick.
EXTRA = ("torch.compile", "Keras, XLA")
STEP_TOLERANCE = 1e-2  # of the norm: Adam divides by the root of gradients that are mere rounding


class Bench:
    """The options, the data, and what was measured so far."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.threads, self.quick = options, options.threads, options.quick
        self.machine = _common.setup(options.threads)
        self.train_images = 1_280 if self.quick else 12_800
        self.images, self.labels = _common.load_data(70_000)
        self.folder = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, self.folder)
        self.results: list[dict[str, Any]] = []

    def names(self, method: str) -> list[str]:
        """Ours, and the chosen peers that can do this."""
        chosen = ["ambigmnist", *self.options.peers]
        return [name for name in chosen if hasattr(peers.contestant(name), method)]

    def build(self, name: str, recipe: peers.Recipe, start: Path, rates: np.ndarray) -> Any:
        """A contestant that starts from the weights in a file that our model was saved to."""
        from peers.ours import read_weights

        weights = start if name == "ambigmnist" else read_weights(start)
        return peers.contestant(name)(recipe, weights, rates, self.threads)

    def trained(self, preset: str) -> Path:
        """A network in the middle of its training: nothing is at its start. How many activations
        are zero, which our speed depends on, changes most in the first epochs."""
        import ambigmnist as am

        path = self.folder / f"{preset}.safetensors"
        if path.exists():
            return path
        n, epochs = (2_048, 1) if self.quick else (60_000, {"seed": 10, "fast": 1}[preset])
        model = am.CNN(preset, validation_split=0.0, threads=self.threads)
        model.fit(self.images[:n], self.labels[:n], epochs=epochs, verbose=0)
        model.save(path)
        return path

    def add(self, case: str, n: int, seconds: dict[str, list[float]], unit: str) -> None:
        title = TITLES[case]
        self.results.append({"id": case} | _common.summarise(title, n, seconds, unit))

    def add_value(self, case: str, unit: str, values: dict[str, float], **more: Any) -> None:
        """A result of which less is better."""
        ours, *others = values
        more["partial"] = self.quick  # not the whole of what the title says
        ratio = {name: values[name] / values[ours] for name in others}
        self.results.append(
            {"id": case, "case": TITLES[case], "unit": unit, "values": values, "ratio": ratio}
            | more
        )
        print(TITLES[case])
        for name, value in values.items():
            times = f"   ambigmnist is {ratio[name]:.2f}x" if name in ratio else ""
            print(f"  {name:14s} {value:10.4g} {unit}{times}", flush=True)


def centred_logits(probs: np.ndarray) -> np.ndarray:
    """The logits but for a constant per row, which the softmax drops."""
    logs = np.log(probs.astype(np.float64))
    return logs - logs.mean(axis=1, keepdims=True)


def check_step(bench: Bench, recipe: peers.Recipe) -> None:
    """One step on the same batch from the same weights moves every contestant's the same way."""
    plain = dataclasses.replace(recipe, dropout=0.0)
    x, y = bench.images[: recipe.batch], bench.labels[: recipe.batch]
    rates = np.full(1, recipe.rate, np.float32)
    file = bench.trained("fast")  # a network without dropout
    ours = bench.build("ambigmnist", plain, file, rates)
    start = ours.weights()
    ours.load(x, y)
    loss, end = ours.epoch(), ours.weights()

    def moved(after: peers.Weights) -> np.ndarray:
        return np.concatenate([(after[name] - start[name]).ravel() for name in start])

    for name in bench.names("epoch")[1:]:
        peer = bench.build(name, plain, file, rates)
        peer.load(x, y)
        _common.check_equal(f"{recipe.preset}, loss of a step, {name}", loss, peer.epoch(), 1e-4)
        theirs = moved(peer.weights())
        error = np.linalg.norm(moved(end) - theirs) / np.linalg.norm(theirs)
        what = f"{recipe.preset}, change of the weights in a step, {name}"
        print(f"equal results: {what}: {error:.1e} (at most {STEP_TOLERANCE:.0e})", flush=True)
        if not error <= STEP_TOLERANCE:
            raise SystemExit(f"{what}: {error:.1e}: nothing was timed")


def train(bench: Bench, preset: str) -> None:
    recipe, n = RECIPES[preset], bench.train_images
    check_step(bench, recipe)
    clocks: dict[str, Callable[[], float]] = {}
    steps = (bench.options.rounds + 1) * -(-n // recipe.batch)
    for name in bench.names("epoch"):
        peer = bench.build(name, recipe, bench.trained(preset), recipe.rates(steps))
        peer.load(bench.images[:n], bench.labels[:n])

        def clock(peer: Any = peer) -> float:
            start = time.perf_counter()
            peer.epoch()
            return time.perf_counter() - start

        clocks[name] = clock
    seconds = _common.alternate(clocks, bench.options.rounds)
    bench.add(f"train-{preset}", n, seconds, "images/s")


def predict(bench: Bench, n: int) -> None:
    start = bench.trained("fast")
    x = bench.images[:n]
    clocks: dict[str, Callable[[], float]] = {}
    for name in bench.names("predictor"):
        peer = bench.build(name, RECIPES["fast"], start, np.zeros(1, np.float32))
        call = peer.predictor(x)
        logits = centred_logits(call())
        if name == "ambigmnist":
            ours = logits
        else:
            _common.check_equal(f"logits of {n}, {name}", ours, logits, 1e-4)
        clocks[name] = _common.timed(call, 0.05 if bench.quick else 0.4)
    seconds = _common.alternate(clocks, bench.options.rounds)
    bench.add(f"predict-{n}", n, seconds, "µs" if n == 1 else "images/s")


def our_threads(bench: Bench, kind: str) -> None:
    """Ours alone; the results are the same bits, which is checked."""
    import ambigmnist as am

    n, many = bench.train_images, bench.threads
    x, y = bench.images[:n], bench.labels[:n]
    models = {
        f"{threads} thread{'s' * (threads > 1)}": am.CNN(
            "seed", epochs=1, validation_split=0.0, threads=threads
        )
        for threads in dict.fromkeys((many, 1))
    }
    clocks: dict[str, Callable[[], float]] = {}
    probs = []
    for name, model in models.items():
        model.fit(x[:1024], y[:1024], verbose=0)
        probs.append(model.predict_proba(x[:1000]))
        if kind == "train":
            call = functools.partial(model.fit, x, y, verbose=0, warm_start=True)
        else:
            call = functools.partial(model.predict_proba, bench.images[:1000])
        clocks[name] = _common.timed(call, 0.05 if bench.quick else 0.4)
    if not all(np.array_equal(p, probs[0]) for p in probs):
        raise SystemExit("the number of threads changed the probabilities: nothing was timed")
    print(f"equal results: probabilities with {' and '.join(models)}: the same bits")
    seconds = _common.alternate(clocks, bench.options.rounds)
    bench.add(f"threads-{kind}", n if kind == "train" else 1000, seconds, "images/s")


def fresh(bench: Bench, name: str, folder: Path, *more: str, tuned: bool) -> dict[str, Any]:
    """whole.py in a process of its own: seconds from its start to its result."""
    env = {k: v for k, v in os.environ.items() if tuned or k not in _common.ALLOCATOR}
    script = Path(__file__).with_name("whole.py")
    command = [sys.executable, script, name, folder, "--threads", str(bench.threads), *more]
    start = time.perf_counter()
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        lines = iter(process.stdout.readline, "")
        line = next((x for x in lines if x.startswith("{")), None)
        seconds = time.perf_counter() - start
        process.stdout.read()
    if line is None or process.returncode:
        raise SystemExit(f"whole.py {name}: it ended with {process.returncode}")
    result = json.loads(line) | {"seconds": seconds}
    print(
        f"  {name:14s} {seconds:7.2f} s, accuracy {result['accuracy']:.4f}, "
        f"peak memory {result['peak_mib']:.0f} MiB",
        flush=True,
    )
    return result


def memory(bench: Bench) -> None:
    """One epoch shows the peak; the C library's allocator as it is by default."""
    more = ["--images", "1280"] if bench.quick else []
    result = fresh(bench, "ambigmnist", Path(), "--epochs", "1", *more, tuned=False)
    if result["matplotlib"]:
        raise SystemExit("matplotlib was loaded by training: it must not be")
    bench.add_value("memory", "MiB", {"ambigmnist": result["peak_mib"]})


def whole(bench: Bench) -> None:
    """Ours over five seeds between runs of the peers, one each."""
    seeds = range(1 if bench.quick else 5)
    others = [name for name in bench.names("epoch")[1:] if name not in EXTRA]
    more = ["--images", "1280", "--epochs", "1"] if bench.quick else []
    if bench.quick:
        others = others[:1]
    runs: dict[str, list[dict[str, Any]]] = {"ambigmnist": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = {"": slice(0, 60_000), "test_": slice(60_000, 70_000)}
        for prefix, part in parts.items():
            np.save(folder / f"{prefix}images.npy", bench.images[part])
            np.save(folder / f"{prefix}labels.npy", bench.labels[part])
        for seed in seeds:
            ours = fresh(bench, "ambigmnist", folder, "--seed", str(seed), *more, tuned=False)
            runs["ambigmnist"].append(ours)
            for peer in others[seed : seed + 1] if seed + 1 < len(seeds) else others[seed:]:
                runs[peer] = [fresh(bench, peer, folder, *more, tuned=True)]
    accuracy = {name: [run["accuracy"] for run in of] for name, of in runs.items()}
    ours = accuracy["ambigmnist"]
    print(f"accuracy of ours: mean {np.mean(ours):.4%}, {min(ours):.4%} to {max(ours):.4%}")
    seconds = {name: statistics.median(run["seconds"] for run in of) for name, of in runs.items()}
    bench.add_value("whole", "s", seconds, accuracy=accuracy)


def out_of_fold(bench: Bench) -> None:
    """Every image judged by a network that has not seen it."""
    import ambigmnist as am

    n = 1_000 if bench.quick else 70_000
    x, y = bench.images[:n], bench.labels[:n]
    probs = np.full((n, 10), np.nan, np.float32)
    fold = np.arange(n) % 5
    start = time.perf_counter()
    for k in range(5):
        model = am.CNN("fast", epochs=1 if bench.quick else None, seed=k, threads=bench.threads)
        model.fit(x[fold != k], y[fold != k], verbose=0)
        probs[fold == k] = model.predict_proba(x[fold == k])
        print(f"  fold {k + 1}: {time.perf_counter() - start:.2f} s", flush=True)
    seconds = time.perf_counter() - start
    accuracy = float((probs.argmax(1) == y).mean())
    print(f"out-of-fold accuracy over {n} images: {accuracy:.4%}")
    bench.add_value("out-of-fold", "s", {"ambigmnist": seconds}, n=n, accuracy=accuracy)


CASES: dict[str, Callable[[Bench], None]] = {
    "train-seed": lambda bench: train(bench, "seed"),
    "train-fast": lambda bench: train(bench, "fast"),
    "predict-256": lambda bench: predict(bench, 256),
    "predict-1000": lambda bench: predict(bench, 1000),
    "predict-1": lambda bench: predict(bench, 1),
    "threads-train": lambda bench: our_threads(bench, "train"),
    "threads-predict": lambda bench: our_threads(bench, "predict"),
    "memory": memory,
    "whole": whole,
    "out-of-fold": out_of_fold,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    known = [name for name in peers.KNOWN if name != "ambigmnist"]
    parser.add_argument("--full", action="store_true", help=f"also {' and '.join(LONG)}")
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE", help="repeatable")
    parser.add_argument("--peers", nargs="*", choices=known, metavar="NAME", help="default: all")


def earlier(options: argparse.Namespace, machine: Any, again: list[str]) -> list[dict[str, Any]]:
    """What a former run on the same machine found, but for the cases that are run again."""
    path = _common.path_of(options, "compare")
    found = json.loads(path.read_text()) if path.exists() else {"machine": {}, "results": []}
    apart = {"busy before": None}
    same = found["machine"] | apart == machine | apart
    return [x for x in found["results"] if same and x["id"] not in again]


def main() -> None:
    options = _common.arguments(__doc__.splitlines()[0], add_options)
    if options.peers is None:
        slow = EXTRA if options.quick else () if shutil.which("c++") else EXTRA[:1]
        options.peers = [x for x in peers.KNOWN if x != "ambigmnist" and x not in slow]
    cases = options.only or [c for c in CASES if c not in LONG or options.full or options.quick]
    bench = Bench(options)
    if options.only:
        bench.results = earlier(options, bench.machine, options.only)
    for case in cases:
        print(f"\n-- {case}: {TITLES[case]}", flush=True)
        start = time.perf_counter()
        CASES[case](bench)
        print(f"({time.perf_counter() - start:.1f} s)", flush=True)
        bench.results.sort(key=lambda result: list(CASES).index(result["id"]))
        _common.write(options, "compare", bench.machine, bench.results)


if __name__ == "__main__":
    main()
