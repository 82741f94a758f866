"""Creates build/peers, with the peers and this package, and runs every benchmark there.

    python bench/run.py [--quick] [--threads 2] [--rounds 7]

The options go to the benchmarks.
"""

import subprocess
import sys
import venv
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
PEERS = ROOT / "build" / "peers"


def main() -> int:
    python = PEERS / "bin" / "python"
    if not python.exists():
        print(f"creating {PEERS.relative_to(ROOT)}", flush=True)
        venv.create(PEERS, with_pip=True)
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*install, "-r", BENCH / "requirements.txt"], check=True)
    subprocess.run([*install, ROOT], check=True)
    codes = []
    for name in ("train.py", "predict.py"):
        print(f"\n== {name}", flush=True)
        codes.append(subprocess.run([python, BENCH / name, *sys.argv[1:]]).returncode)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
