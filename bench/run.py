"""Creates build/peers, the peers' own environment, and runs the benchmarks there.

    python bench/run.py [roofline] [compare] [rank] [audit] [page] [--quick | --full] [--threads 2]
                        [--rounds 7]

Where the peers cannot be installed, what needs none is run; with CI=true that is a failure. The
benchmarks have options of their own: run them by themselves, with the interpreter of build/peers.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
PEERS = ROOT / "build" / "peers"
ALL = ("roofline", "compare", "rank", "audit", "page")
# What needs no peers, and the options that say so.
WITHOUT_PEERS = {"roofline": [], "audit": [], "page": [], "compare": ["--peers"]}


def peers_python() -> Path | None:
    """The interpreter of build/peers, installed as requirements.txt says; None where that fails."""
    python = PEERS / "bin" / "python"
    requirements = BENCH / "requirements.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    stamp = PEERS / f".installed-{wanted[:16]}"
    if stamp.exists():
        return python
    print(f"installing the peers into {PEERS.relative_to(ROOT)} (about 3 GB)", flush=True)
    venv.create(PEERS, with_pip=True, clear=True)
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run([*install, "-r", requirements], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(*done.stderr.splitlines()[-5:], sep="\n")
        return None
    stamp.touch()
    return python


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}")
    parser.add_argument("--quick", action="store_true", help="a small piece of everything")
    parser.add_argument("--full", action="store_true", help="also what takes minutes (compare)")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--rounds", help="of which the median is taken")
    options = parser.parse_args()
    if unknown := set(options.names) - set(ALL):
        parser.error(f"{', '.join(sorted(unknown))}: expected {', '.join(ALL)}")
    names = options.names or ALL
    common = ["--threads", options.threads, *["--quick"] * options.quick]
    common += ["--rounds", options.rounds] if options.rounds else []
    special = {"compare": ["--full"] * options.full}
    python = peers_python()
    if python is None:
        print("=" * 78)
        print("THE PEERS COULD NOT BE INSTALLED: nothing is compared with anything.", flush=True)
        print("=" * 78)
        if os.environ.get("CI") == "true":
            return 1
    # This package as it lies here, built in place by `make build` for the same interpreter.
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    codes = [0]
    for name in names:
        if python is None and name not in WITHOUT_PEERS:
            continue
        print(f"\n== {name}", flush=True)
        without = WITHOUT_PEERS[name] if python is None else []
        if name == "page":  # a browser is its peer, and the environment of the tests drives it
            command = [sys.executable, BENCH / "page.py", *["--quick"] * options.quick]
            codes.append(subprocess.run(command, env=env, cwd=ROOT).returncode)
            continue
        command = [python or sys.executable, BENCH / f"{name}.py", *common]
        command += [*special.get(name, []), *without]
        codes.append(subprocess.run(command, env=env, cwd=ROOT).returncode)
    return max(abs(code) for code in codes)


if __name__ == "__main__":
    sys.exit(main())
