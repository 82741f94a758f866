"""The README is true: its commands exist and work, its Python prints what it says."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ambigmnist import _ambigcore

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.M | re.S)
    return [text for name, text in fenced if name == language]


def run(*command: str, cwd: Path) -> str:
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_exactly_two_make_commands():
    commands = re.findall(r"^make (\w+)", "".join(blocks("sh")), re.M)
    assert commands == ["demo", "test"]
    for target in commands:
        run("make", "-n", target, cwd=ROOT)


def test_the_python_prints_what_it_says(tmp_path):
    ranked, audited = blocks("")
    (tmp_path / "readme.py").write_text("".join(blocks("python")))
    out = run(sys.executable, "readme.py", cwd=tmp_path).splitlines()
    own = len(ranked.splitlines())  # the line between the two
    printed = [*ranked.splitlines(), out[own], *audited.splitlines()]
    if _ambigcore.isa_name() == "baseline":  # no fused multiply-add: other bits, other digits
        assert len(out) == len(printed)
        assert out[:2] == printed[:2]
        assert out[own + 1 : own + 3] == printed[own + 1 : own + 3]
    else:
        assert out == printed


def test_the_shell_commands(tmp_path):
    (commands,) = blocks("sh")[1:]
    for line in commands.splitlines():
        name, *arguments = line.split()
        assert name == "ambigmnist"
        if arguments[0] not in ("doctor", "report"):
            arguments += ["--data", "digits"]  # MNIST would take longer and show no more
        run(sys.executable, "-m", name, *arguments, cwd=tmp_path)
    for page in ("looked-at/index.html", "audited/index.html", "report.html"):
        assert (tmp_path / page).is_file()


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(link):
    assert link.startswith("https://") or (ROOT / link).exists()


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("table", ROOT / "bench" / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RESULTS = {
    "machine": {
        "cpu": "A CPU",
        "threads": 2,
        "instruction set": "avx2",
        "busy before": 0.0,
        "torch": "1.2",
    },
    "results": [
        {
            "case": "training, batch 1",
            "unit": "images/s",
            "values": {"ambigmnist": 12345.6, "PyTorch": 1000.4, "ONNX Runtime": 24691.2},
            "ratio": {"PyTorch": 12.34, "ONNX Runtime": 0.5},
        },
        {"case": "memory", "unit": "MiB", "values": {"ambigmnist": 98.76}, "ratio": {}},
        {"kernel": "not for the table"},
    ],
}


def test_the_table_of_performance_is_what_bench_makes(table):
    inside = table.section(README)
    assert table.has_shape(inside)
    rendered = table.render([RESULTS], quick=False)
    assert table.has_shape(rendered)
    assert rendered == (
        "\n| | ambigmnist | best peer | ambigmnist is |\n|:--|--:|--:|--:|\n"
        "| training, batch 1 | 12,300 images/s | 24,700 images/s ONNX Runtime | 0.5x |\n"
        "| memory | 98.8 MiB |  |  |\n\nA CPU, 2 threads, avx2; PyTorch 1.2.\n"
    )
    again = table.replaced(README, rendered)
    assert table.section(again) == rendered
    assert table.replaced(again, inside) == README
    for damaged in (inside.replace("best peer", "peer"), inside.replace("x |", "times |", 1)):
        assert not table.has_shape(damaged)
