"""What the machine can do, and each kernel's share of it; then the whole training step's.

    python bench/roofline.py [--quick] [--threads 2] [--isa avx2]

The machine and the kernels are measured by roofline.c, which links the core without Python.
"""

import argparse
import os
import subprocess
import time
from typing import Any

import _common

STEP_MFLOP = 16.633  # of one image: every product of the definition, forwards and backwards


def add_options(parser: argparse.ArgumentParser) -> None:
    isa = os.environ.get("AMBIGMNIST_ISA", "")
    parser.add_argument("--isa", default=isa, help="instruction set; default: the best")


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Builds and runs roofline.c; returns the machine's figures and a row per kernel."""
    bench = _common.ROOT / "bench"
    make = ["make", "-s", "--no-print-directory", "-C", bench, "-j", str(os.cpu_count())]
    subprocess.run(make, check=True)
    program = _common.RESULTS / "roofline"
    window = "0.03" if options.quick else "0.5"
    command = [program, str(options.threads), options.isa, window]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    machine, kernels = {}, []
    for kind, name, *values in (line.split("\t") for line in lines.splitlines()):
        if kind == "machine":
            machine[name] = float(values[0])
            print(f"{name:28s} {machine[name]:8.1f} {values[1]}")
        else:
            figures = dict(zip(("ns", "flops", "dense", "bytes"), map(float, values), strict=True))
            kernels.append({"kernel": name} | figures)
    return machine, kernels


def fma_peak(machine: dict[str, float], threads: int) -> float:
    """The best of those measured, before and after the kernels, and no less than that of one thread
    times their number: what disturbs the measurement of a peak would flatter us."""

    def best(n: int) -> float:
        return max(x for name, x in machine.items() if name.startswith(f"FMA, {n} thread"))

    return max(best(threads), threads * best(1))


def show(machine: dict[str, float], kernels: list[dict[str, Any]]) -> None:
    """Times, and shares of one thread's peak."""
    peak = fma_peak(machine, 1)
    print(
        "\nsparse: with 27 % of the values that reach the dense layer, as on MNIST with dropout 0.5"
    )
    print(
        f"{'kernel, one thread':28s} {'µs/image':>9s} {'cycles':>9s} {'GFLOP/s':>8s} "
        f"{'of peak':>8s} {'dense-equivalent':>17s} {'GB/s':>7s}"
    )
    for k in kernels:
        k["cycles"] = k["ns"] * machine["clock"]
        k["share"], k["dense_share"] = k["flops"] / k["ns"] / peak, k["dense"] / k["ns"] / peak
        line = f"{k['kernel']:28s} {k['ns'] / 1000:9.3f} {k['cycles']:9.0f}"
        if k["flops"]:
            line += f" {k['flops'] / k['ns']:8.1f} {k['share']:8.1%} {k['dense_share']:17.1%}"
        if k["bytes"]:
            line += f" {k['bytes'] / k['ns']:44.1f}"
        print(line)


def training_step(options: argparse.Namespace, peak: float) -> dict[str, float]:
    """Images per second of the article's recipe, as floating-point operations over the peak."""
    import ambigmnist as am

    n = 1_280 if options.quick else 12_800
    x, y = _common.load_data(n)
    model = am.CNN("seed", epochs=1, validation_split=0.0, threads=options.threads)
    model.fit(x, y, verbose=0)
    seconds = []
    for _ in range(options.rounds):
        start = time.perf_counter()
        model.fit(x, y, warm_start=True, verbose=0)
        seconds.append(time.perf_counter() - start)
    rate = n / min(seconds)
    share = rate * STEP_MFLOP / 1000 / peak
    print(
        f"training, batch 256, dropout 0.5: {rate:.0f} images/s x {STEP_MFLOP} MFLOP = "
        f"{rate * STEP_MFLOP / 1000:.0f} GFLOP/s dense-equivalent, {share:.2f} of the peak of "
        f"{options.threads} thread(s)"
    )
    return {"images_per_second": rate, "dense_equivalent_over_peak": share}


def main() -> None:
    options = _common.arguments(__doc__.splitlines()[0], add_options)
    if options.isa:
        os.environ["AMBIGMNIST_ISA"] = options.isa  # read when the package is imported
    described = _common.setup(options.threads)
    machine, kernels = measure(options)
    show(machine, kernels)
    step = training_step(options, fma_peak(machine, options.threads))
    result = {
        "id": "step-flops",
        "case": "training step, dense-equivalent FLOP rate over the FMA peak",
        "unit": "x",
        "values": {"ambigmnist": step["dense_equivalent_over_peak"]},
        "ratio": {},
    }
    described["peaks"] = machine
    _common.write(options, "roofline", described, [result, *kernels])


if __name__ == "__main__":
    main()
