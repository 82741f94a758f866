"""The package as it is installed: version, imports, the module's state, forced instruction sets."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import textwrap

import pytest

import ambigmnist as am
from ambigmnist import _ambigcore

HEAVY = ("matplotlib", "jinja2", "pooch", "tqdm", "pandas", "h5py", "PIL", "threadpoolctl")


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {
        k: v for k, v in os.environ.items() if k not in ("AMBIGMNIST_ISA", "AMBIGMNIST_STRICT")
    }
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**known, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_one_version_everywhere():
    assert am.__version__ == importlib.metadata.version("ambigmnist")
    assert am.__version__ == _ambigcore.build_info()["version"]


def test_import_loads_only_numpy():
    result = python(f"import ambigmnist, sys; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert result.stdout.strip() == "[]", result.stderr


def test_import_starts_no_threads_and_reads_no_thread_settings():
    code = """
        import numpy, os
        before = len(os.listdir("/proc/self/task"))
        import ambigmnist
        print(len(os.listdir("/proc/self/task")) - before)
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("machine: no /proc here")
    result = python(code, AMBIGMNIST_NUM_THREADS="nonsense")
    assert result.stdout.strip() == "0", result.stderr


def test_public_names_exist_and_are_documented():
    for name in am.__all__:
        value = getattr(am, name)
        if callable(value):
            assert value.__doc__, name


def test_a_second_module_has_a_state_of_its_own():
    """Multi-phase initialisation: two modules from one file share no Python object."""
    loader = importlib.machinery.ExtensionFileLoader(_ambigcore.__name__, _ambigcore.__file__)
    spec = importlib.util.spec_from_loader(_ambigcore.__name__, loader)
    assert spec is not None
    second = importlib.util.module_from_spec(spec)
    loader.exec_module(second)
    assert second is not _ambigcore
    assert second.Network is not _ambigcore.Network
    assert second.philox4x32((0,) * 4, (0,) * 2) == _ambigcore.philox4x32((0,) * 4, (0,) * 2)
    with pytest.raises(am.ArgumentError):
        second.parallel_probe(5, 2, 1)


def test_methods_have_signatures_for_help():
    import inspect

    for name, function in vars(_ambigcore).items():
        if inspect.isbuiltin(function):
            assert inspect.signature(function) is not None, name
            assert function.__doc__, name


@pytest.mark.parametrize("isa", _ambigcore.isa_available())
def test_an_instruction_set_can_be_forced(isa):
    result = python(
        "import ambigmnist as am; print(am.show_config(mode='object').instruction_set)",
        AMBIGMNIST_ISA=isa,
    )
    assert result.stdout.strip() == isa, result.stderr


def test_an_empty_instruction_set_means_the_best():
    code = "from ambigmnist import _ambigcore as c; print(c.isa_name())"
    assert python(code, AMBIGMNIST_ISA="").stdout.strip() == _ambigcore.isa_available()[-1]


@pytest.mark.parametrize(
    "isa", ["nonsense", "avx2" if platform.machine() == "aarch64" else "neon", "AVX2", "x" * 5000]
)
def test_an_instruction_set_that_is_not_there_is_refused(isa):
    result = python("import ambigmnist", AMBIGMNIST_ISA=isa)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert "ArgumentError" in last
    assert isa[:20] in last
    for name in _ambigcore.isa_available():
        assert name in last or len(isa) > 100


def test_strict_from_the_environment():
    code = "from ambigmnist import _ambigcore as c; print(c.get_strict())"
    assert python(code).stdout.strip() == "False"
    assert python(code, AMBIGMNIST_STRICT="1").stdout.strip() == "True"
    assert python(code, AMBIGMNIST_STRICT="0").stdout.strip() == "False"


def test_the_extension_needs_only_the_c_library():
    """No libm variants by CPU, no OpenMP runtime, no C++."""
    try:
        output = subprocess.run(
            ["readelf", "-d", _ambigcore.__file__], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("machine: no readelf here")
    needed = {
        line.split("[")[1].split("]")[0] for line in output.splitlines() if "(NEEDED)" in line
    }
    assert {n.split(".so")[0] for n in needed} <= {"libc", "libpthread", "libm", "ld-linux-x86-64"}


def test_names_are_loaded_when_they_are_asked_for():
    code = (
        "import sys, ambigmnist as am\n"
        "later = {'plot', 'verdict', 'planting', 'evaluation', 'health', 'calibration'}\n"
        "print(sorted(later & {name.partition('.')[2] for name in sys.modules}))\n"
        "print([n for n in am.__all__ if not hasattr(am, n)], callable(am.verdicts))\n"
        "print(set(am.__all__) <= set(dir(am)), hasattr(am, 'nothing'))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["[]", "[] True", "True False"]
