"""Builds wheel and sdist, installs from the sdist, and tries the result outside the checkout.

Run by `make packages`; prints each figure beside its limit and exits 1 when one does not hold.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_WHEEL = 1_000_000  # bytes
MAX_IMPORT = 30_000  # microseconds over `import numpy`

SMOKE = """
import sys
import numpy as np
import ambigmnist as am

where, version = sys.argv[1:]
assert am.__file__.startswith(where), am.__file__
assert am.__version__ == version, am.__version__
am.show_config()
probs = np.array([[0.9, 0.1], [0.5, 0.5], [0.3, 0.7]])
assert am.rank(am.Evidence(probs, [0, 1, 1]), k=1).indices.tolist() == [1]
train, test = am.load_digits()
assert train.images.shape == (898, 28, 28) and len(test.labels) == 899
"""


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(c) for c in command], check=True, text=True, **options)  # type: ignore[call-overload]


def import_time(environment: dict[str, str]) -> int:
    """Microseconds that `import ambigmnist` takes after `import numpy`; the minimum of ten."""
    times = []
    for _ in range(10):
        result = run(
            *(sys.executable, "-X", "importtime", "-c", "import numpy; import ambigmnist"),
            **{"env": environment, "capture_output": True, "cwd": environment["HOME"]},
        )
        match = re.search(r"import time:\s*\d+ \|\s*(\d+) \| ambigmnist$", result.stderr, re.M)
        assert match is not None, result.stderr
        times.append(int(match[1]))
    return min(times)


def stable_abi_works(folder: Path, sdist: Path, environment: dict[str, str], version: str) -> bool:
    """One wheel for every Python from 3.11 on, warnings as errors, on the oldest NumPy we allow."""
    python = folder / "oldest" / "bin" / "python"
    wheels = folder / "abi3"
    pip = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
    run(sys.executable, "-m", "venv", folder / "oldest")
    run(*pip, "numpy==2.0.*", env=environment)
    run(
        *(sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"),
        *("--no-build-isolation", "--wheel-dir", wheels, sdist),
        env={**environment, "PYTHONPATH": "", "AMBIGMNIST_ABI3": "1", "AMBIGMNIST_WERROR": "1"},
    )
    (wheel,) = wheels.glob("*-cp311-abi3-*.whl")
    site = folder / "abi3-site"
    run(*pip, "--no-deps", "--target", site, wheel, env={**environment, "PYTHONPATH": ""})
    smoke = subprocess.run(
        [python, "-W", "error", "-c", SMOKE, str(site), version],
        env={**environment, "PYTHONPATH": str(site)},
        cwd=folder,
    )
    return smoke.returncode == 0


def main() -> int:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    failures = []

    def report(what: str, holds: bool) -> None:
        print(f"{'ok    ' if holds else 'FAILED'} {what}", flush=True)
        if not holds:
            failures.append(what)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The wheel is built from the unpacked sdist, so a file missing there shows.
        build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
        run(*build, stdout=subprocess.DEVNULL, cwd=folder)
        (wheel,) = folder.glob("*.whl")
        (sdist,) = folder.glob("*.tar.gz")
        with zipfile.ZipFile(wheel) as archive:
            inside = archive.namelist()
        with tarfile.open(sdist) as archive_of_sources:
            sources = [n.partition("/")[2] for n in archive_of_sources.getnames()]
        size = wheel.stat().st_size
        report(f"wheel {size:,} bytes, limit {MAX_WHEEL:,}", size < MAX_WHEEL)
        report(
            "wheel has py.typed and the stub",
            {"ambigmnist/py.typed", "ambigmnist/_ambigcore.pyi"} <= set(inside),
        )
        strays = [n for n in inside if n.endswith((".c", ".h", ".o")) or n.startswith("tests")]
        report(f"wheel has no sources or tests {strays or ''}", not strays)
        missing = [
            str(path.relative_to(ROOT))
            for path in sorted((ROOT / "csrc").rglob("*.[ch]"))
            if str(path.relative_to(ROOT)) not in sources
        ]
        report(f"sdist has every C source {missing or ''}", not missing)

        site = folder / "site"
        run(
            *(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--target", site, sdist),
        )
        (core,) = (site / "ambigmnist").glob("_ambigcore*.so")
        unstripped = b".debug_info" in core.read_bytes() or b".symtab" in core.read_bytes()
        report("extension is stripped", not unstripped)
        environment = {
            **{k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "AMBIGMNIST_ISA")},
            "PYTHONPATH": str(site),
            "HOME": name,
        }
        smoke = subprocess.run(
            [sys.executable, "-W", "error", "-c", SMOKE, str(site), version],
            env=environment,
            cwd=name,
        )
        report("works outside the checkout, installed from the sdist", smoke.returncode == 0)
        command = site / "bin" / "ambigmnist"
        result = subprocess.run([command, "--help"], env=environment, cwd=name, capture_output=True)
        report("ambigmnist --help", result.returncode == 0 and b"usage" in result.stdout.lower())
        if smoke.returncode == 0:
            time = import_time(environment)
            report(f"import {time:,} us over numpy, limit {MAX_IMPORT:,}", time <= MAX_IMPORT)
        works = stable_abi_works(folder, sdist, environment, version)
        report("stable ABI wheel, without a warning, works with the oldest NumPy", works)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
