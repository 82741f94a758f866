"""What both benchmarks share: data, the same network in other frameworks, alternating timing."""

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# glibc gives large blocks back to the system and faults them in again at every step, which costs
# PyTorch a third of its speed here. Read by the C library at start, so the process starts anew.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "THP_MEM_ALLOC_ENABLE": "1",  # PyTorch's own: huge pages for large tensors
}

SHAPES = {
    "conv1_w": (3, 3, 1, 32),
    "conv1_b": (32,),
    "conv2_w": (3, 3, 32, 64),
    "conv2_b": (64,),
    "dense1_w": (1600, 256),
    "dense1_b": (256,),
    "dense2_w": (256, 10),
    "dense2_b": (10,),
}


def arguments(description: str) -> argparse.Namespace:
    """The options; restarts the process once, for the allocator, before any framework is loaded."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="less work, a minute at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=None, help="of which the median is taken")
    parser.add_argument("--out", type=Path, default=None, help="JSON file; default build/bench/")
    options = parser.parse_args()
    if options.threads < 1:
        parser.error(f"--threads {options.threads}: expected 1 or more")
    if options.rounds is None:
        options.rounds = 3 if options.quick else 7
    if not ALLOCATOR.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | ALLOCATOR)
    return options


def setup(threads: int) -> dict[str, Any]:
    """Fixes the number of threads everywhere; prints and returns what the numbers depend on."""
    import onnxruntime
    import torch

    import ambigmnist as am

    torch.set_num_threads(threads)
    am.set_num_threads(threads)
    torch.manual_seed(0)
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    machine = {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "load before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "torch instruction set": torch.backends.cpu.get_cpu_capability(),
        "onnxruntime": onnxruntime.__version__,
        "ambigmnist": am.__version__,
    }
    for name, value in machine.items():
        print(f"{name:22s} {value}")
    if machine["load before"] > 0.5:
        print(
            "WARNING: the machine is busy. Threads that wait for each other, PyTorch's above all,"
        )
        print("         lose most by that: no ratio of this run means much.")
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        am.show_config()
    machine["ambigmnist config"] = [" ".join(x.split()) for x in shown.getvalue().splitlines()]
    print(shown.getvalue(), end="")
    return machine


def load_data(n: int) -> tuple[np.ndarray, np.ndarray]:
    """n images (n, 28, 28) uint8 and labels: MNIST if it is there, else the embedded digits."""
    import ambigmnist as am

    try:
        data, _ = am.load_mnist()
    except am.AmbigError:
        data, _ = am.load_digits()
    print(f"data                   {n} images of {data.name}", flush=True)
    index = np.arange(n) % len(data.images)
    return np.ascontiguousarray(data.images[index]), np.asarray(data.labels)[index].astype(np.int64)


def weights_of(model: Any) -> dict[str, np.ndarray]:
    """The parameters of a trained model, read from the file that it saves (safetensors)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    by_shape = {}
    for name, entry in json.loads(raw[8:start]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            first, last = (start + offset for offset in entry["data_offsets"])
            shape = tuple(entry["shape"])
            by_shape[shape] = np.frombuffer(raw[first:last], "<f4").reshape(shape)
    return {name: by_shape[shape] for name, shape in SHAPES.items()}  # no two shapes are equal


def torch_network(weights: dict[str, np.ndarray] | None = None, dropout: float = 0.0) -> Any:
    """The article's network in PyTorch, channels_last, flattening height, width, channel."""
    import torch
    from torch import nn

    class Flatten(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.permute(0, 2, 3, 1).flatten(1)  # of channels_last memory: a view

    conv1, conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
    dense1, dense2 = nn.Linear(1600, 256), nn.Linear(256, 10)
    if weights is not None:
        state = {name: torch.from_numpy(w.copy()) for name, w in weights.items()}
        with torch.no_grad():
            for layer, name in ((conv1, "conv1"), (conv2, "conv2")):
                layer.weight.copy_(state[f"{name}_w"].permute(3, 2, 0, 1))
                layer.bias.copy_(state[f"{name}_b"])
            for layer, name in ((dense1, "dense1"), (dense2, "dense2")):
                layer.weight.copy_(state[f"{name}_w"].T)
                layer.bias.copy_(state[f"{name}_b"])
    steps = [conv1, nn.ReLU(), nn.MaxPool2d(2), conv2, nn.ReLU(), nn.MaxPool2d(2), Flatten()]
    steps += [nn.Dropout(dropout)] if dropout else []
    steps += [dense1, nn.ReLU(), dense2]
    return nn.Sequential(*steps).to(memory_format=torch.channels_last)


def torch_images(images: np.ndarray) -> Any:
    """Float32 (n, 1, 28, 28) in channels_last memory, made before any clock runs."""
    import torch

    x = torch.from_numpy(images.astype(np.float32) / np.float32(255))[:, None]
    return x.contiguous(memory_format=torch.channels_last)


def check_equal(what: str, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    """Ends the run if max |difference| / max |theirs| is above the tolerance."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    print(f"equal results: {what}: {error:.1e} (at most {tolerance:.0e})", flush=True)
    if not error <= tolerance:
        raise SystemExit(f"{what} differ by {error:.1e}: nothing was timed")


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


def summarise(case: str, n: int, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Images per second at the median round, and how many times each peer ours is.

    The ratio is the median of the ratios within a round, with their range: what disturbs the
    machine disturbs a round, not one contestant."""
    ours = seconds["ambigmnist"]
    print(case)
    result: dict[str, Any] = {"case": case, "images": n, "seconds": seconds, "ratio": {}}
    for name, times in seconds.items():
        line = f"  {name:14s} {n / statistics.median(times):10.0f} images/s"
        if name != "ambigmnist":
            ratios = sorted(t / o for t, o in zip(times, ours, strict=True))
            result["ratio"][name] = ratio = statistics.median(ratios)
            line += f"   ambigmnist is {ratio:.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(line, flush=True)
    return result


def write(options: argparse.Namespace, name: str, machine: Any, results: list[Any]) -> None:
    path = options.out or Path(__file__).resolve().parents[1] / "build" / "bench" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    beside.replace(path)
    print(f"written: {path}")
