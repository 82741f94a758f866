"""Writes README.md's table of performance from the results in build/bench.

    python bench/table.py [--quick]

Every result with `values` is a row: ours (the first) beside the best peer, gains and losses alike;
but for those that say that they are partial. `peers` in a result names those that count as such.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- bench/table.py: start -->", "<!-- bench/table.py: end -->"
HEADER = "| | ambigmnist | best peer | ambigmnist is |\n|:--|--:|--:|--:|\n"
ROW = re.compile(r"\| [^|]+ \| [\d,.]+( [^ |]+|x) \| ( \| |[\d,.]+ [^ |]+ [^|]+ \| [\d,.]+x) \|")
PACKAGES = {
    "torch": "PyTorch",
    "keras": "Keras",
    "tensorflow_cpu": "TensorFlow",
    "jax": "JAX",
    "onnxruntime": "ONNX Runtime",
    "numpy": "NumPy",
    "pandas": "pandas",
    "scikit-learn": "scikit-learn",
    "cleanlab": "cleanlab",
}


def rounded(value: float) -> str:
    """Three digits that mean something, and all those before the point."""
    if value >= 1000:
        digits = len(f"{value:.0f}") - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}" if value >= 1 else f"{value:.2f}"


def row(result: dict[str, Any]) -> str:
    ours, *_ = result["values"]
    unit, values, ratios = result["unit"], result["values"], result["ratio"]
    unit = unit if unit == "x" else f" {unit}"
    cells = [result["case"], f"{rounded(values[ours])}{unit}", "", ""]
    if ratios:
        best = min(result.get("peers", ratios), key=ratios.__getitem__)
        cells[2] = f"{rounded(values[best])}{unit} {best}"
        cells[3] = f"{ratios[best]:.{1 if ratios[best] < 10 else 0}f}x"
    return "| " + " | ".join(cells) + " |\n"


def caption(machine: dict[str, Any], quick: bool) -> str:
    """The machine and the versions; a quick run says that it was one."""
    versions = ", ".join(f"{text} {machine[x]}" for x, text in PACKAGES.items() if x in machine)
    hurried = " A quick run: no more than an impression." if quick else ""
    busy = " Measured while others used the machine." if machine["busy before"] > 0.2 else ""
    where = f"{machine['cpu']}, {machine['threads']} threads, {machine['instruction set']}"
    return f"{where}; {versions}.{hurried}{busy}\n"


def render(found: list[dict[str, Any]], quick: bool) -> str:
    """What stands between the markers."""
    results = [x for one in found for x in one["results"] if "values" in x and not x.get("partial")]
    return "\n" + HEADER + "".join(map(row, results)) + "\n" + caption(found[0]["machine"], quick)


def section(text: str) -> str:
    """What stands between the markers of this README."""
    return text.partition(START + "\n")[2].partition(END)[0]


def replaced(text: str, inside: str) -> str:
    """This README with something else between the markers."""
    before, start, rest = text.partition(START + "\n")
    _, end, after = rest.partition(END)
    if not (start and end):
        raise SystemExit(f"README.md: expected the lines {START} and {END}")
    return before + start + inside + end + after


def has_shape(inside: str) -> bool:
    """Whether it could be the work of `render`."""
    if not inside.startswith("\n" + HEADER):
        return False
    rows, _, below = inside.removeprefix("\n" + HEADER).partition("\n\n")
    return all(ROW.fullmatch(line) for line in rows.split("\n")) and " threads, " in below


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="from the quick runs")
    quick = parser.parse_args().quick
    folder = ROOT / "build" / "bench" / ("quick" if quick else "")
    paths = [folder / f"{name}.json" for name in ("compare", "roofline", "rank")]
    found = [json.loads(path.read_text()) for path in paths if path.exists()]
    if not found:
        raise SystemExit(f"{folder} holds no results: run `make bench` first")
    inside = render(found, quick)
    readme = ROOT / "README.md"
    readme.write_text(replaced(readme.read_text(), inside))
    print(inside)


if __name__ == "__main__":
    main()
