"""What the benchmarks share: options, the machine, data, alternating timing, results as JSON."""

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "build" / "bench"

# glibc gives large blocks back to the system and faults them in again at every step, which costs
# PyTorch a third of its speed here. Read by the C library at start, so the process starts anew.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "THP_MEM_ALLOC_ENABLE": "1",  # PyTorch's own: huge pages for large tensors
}

PACKAGES = (
    "numpy", "torch", "tensorflow_cpu", "keras", "jax", "onnxruntime", "pandas", "scikit-learn",
    "cleanlab", "ambigmnist",
)  # fmt: skip


def arguments(
    description: str, add: Callable[[argparse.ArgumentParser], None] | None = None
) -> argparse.Namespace:
    """The options; restarts the process once, for the allocator, before any framework is loaded."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="less work, a minute at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=None, help="of which the median is taken")
    parser.add_argument("--out", type=Path, default=None, help="JSON file; default build/bench/")
    if add is not None:
        add(parser)
    options = parser.parse_args()
    if options.threads < 1:
        parser.error(f"--threads {options.threads}: expected 1 or more")
    if options.rounds is None:
        options.rounds = 2 if options.quick else 7
    if not ALLOCATOR.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | ALLOCATOR)
    return options


def whole_cores_first() -> list[int]:
    """The CPUs of this process; second hardware threads of a core last."""

    def is_second(cpu: int) -> bool:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        return path.exists() and not path.read_text().replace("-", ",").startswith(
            (f"{cpu},", f"{cpu}\n")
        )

    return sorted(os.sched_getaffinity(0), key=lambda cpu: (is_second(cpu), cpu))


def busy_cores(seconds: float) -> float:
    """How many cores others keep busy while this process sleeps."""

    def busy() -> float:
        path = Path("/proc/stat")
        if not path.exists():
            return 0.0
        user, nice, system, _, _, *interrupts = path.read_text().splitlines()[0].split()[1:]
        return sum(map(int, (user, nice, system, *interrupts[:3]))) / os.sysconf("SC_CLK_TCK")

    start = busy()
    time.sleep(seconds)
    return round((busy() - start) / seconds, 2)


def setup(threads: int) -> dict[str, Any]:
    """Gives the process as many cores as threads; prints and returns what the numbers depend on."""
    import ambigmnist as am

    cores = whole_cores_first()
    os.sched_setaffinity(0, cores[:threads])  # JAX takes its number of threads from here
    os.environ["OMP_NUM_THREADS"] = str(threads)
    am.set_num_threads(threads)
    config = am.show_config(mode="object")
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    machine = {
        "cpu": cpu,
        "cores": len(cores),
        "threads": threads,
        "instruction set": config.instruction_set + (", strict" if config.strict else ""),
        "compiler": config.compiler,
        "busy before": busy_cores(0.5),
        "python": platform.python_version(),
    }
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            machine[name] = version(name)
    machine["ambigmnist"] = am.__version__
    for name, value in machine.items():
        print(f"{name:22s} {value}")
    if machine["busy before"] > 0.2:
        print("WARNING: the machine is busy. Threads that wait for each other lose most by that:")
        print("         no ratio of this run means much.", flush=True)
    return machine


def load_data(n: int) -> tuple[np.ndarray, np.ndarray]:
    """n images (n, 28, 28) uint8 and labels: MNIST if it is there, else the embedded digits."""
    import ambigmnist as am

    try:
        train, test = am.load_mnist()
    except am.AmbigError:
        train, test = am.load_digits()
    print(f"data                   {n} images of {train.name}", flush=True)
    images = np.concatenate([train.images, test.images])
    labels = np.concatenate([train.labels, test.labels]).astype(np.int64)
    index = np.arange(n) % len(images)
    return images[index], labels[index]


def check_equal(what: str, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    """Ends the run if max |difference| / max |theirs| is above the tolerance."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    print(f"equal results: {what}: {error:.1e} (at most {tolerance:.0e})", flush=True)
    if not error <= tolerance:
        raise SystemExit(f"{what} differ by {error:.1e}: nothing was timed")


def timed(call: Callable[[], Any], seconds: float) -> Callable[[], float]:
    """A contestant: as many calls as fill `seconds`; their mean."""
    call()
    start = time.perf_counter()
    call()
    return repeated(call, max(1, round(seconds / (time.perf_counter() - start))))


def repeated(call: Callable[[], Any], repeats: int = 1) -> Callable[[], float]:
    """A contestant: the mean of some calls in a row."""

    def run() -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - start) / repeats

    return run


def alternate(contestants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Every contestant once per round, each round starting with another; their seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for name in names:
        contestants[name]()  # warm: pages, threads, code generated at run time
    for r in range(rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            time.sleep(0.05)  # lets the others' waiting threads fall asleep
            seconds[name].append(contestants[name]())
        print(f"  round {r + 1}: ", end="")
        print(", ".join(f"{name} {seconds[name][-1]:.6g} s" for name in names), flush=True)
    return seconds


def summarise(
    case: str, n: int, seconds: dict[str, list[float]], unit: str = "images/s"
) -> dict[str, Any]:
    """The value of each contestant at its median round, and how many times each peer ours is.

    Ours is the first. The unit is something per second, of which there are n, or "µs". The ratio is
    the median of the ratios within a round, shown with their range: what disturbs the machine
    disturbs a round, not one contestant."""
    ours, *peers = seconds
    print(case)
    result: dict[str, Any] = {"case": case, "unit": unit, "n": n, "values": {}, "ratio": {}}
    result["seconds"] = seconds
    for name, times in seconds.items():
        median = statistics.median(times)
        value = median * 1e6 if unit == "µs" else n / median
        result["values"][name] = value
        line = f"  {name:14s} {value:10.4g} {unit}"
        if name in peers:
            ratios = sorted(t / o for t, o in zip(times, seconds[ours], strict=True))
            result["ratio"][name] = ratio = statistics.median(ratios)
            line += f"   {ours} is {ratio:.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(line, flush=True)
    return result


def path_of(options: argparse.Namespace, name: str) -> Path:
    """build/bench/NAME.json; quick runs have a folder of their own and replace nothing."""
    return options.out or RESULTS / ("quick" if options.quick else "") / f"{name}.json"


def write(options: argparse.Namespace, name: str, machine: Any, results: list[Any]) -> None:
    path = path_of(options, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    text = json.dumps({"machine": machine, "results": results}, indent=1, ensure_ascii=False)
    beside.write_text(text + "\n")
    beside.replace(path)
    print(f"written: {path}")
