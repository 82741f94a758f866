"""Rules of the core that a compiler does not check, read off the sources.

The rules are those of csrc/README.md: which folder may include which, no Python in the core, one
allocator, no C library function that prints, ends the process or differs between machines.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "csrc").rglob("*.[ch]"))
CORE = [path for path in SOURCES if path.parent.name != "python"]
PYTHON = sorted([*(ROOT / "ambigmnist").rglob("*.py"), ROOT / "setup.py"])
MAX_LINES = 600

# A folder may include itself and what stands here.
MAY_INCLUDE = {
    "base": set(),
    "kernels": {"base"},
    "layers": {"kernels", "base"},
    "net": {"layers", "kernels", "base"},
    "train": {"net", "layers", "kernels", "base"},
    "data": {"kernels", "base"},
    "rank": {"kernels", "base"},
    "python": {"train", "net", "layers", "kernels", "base", "data", "rank"},
    "csrc": {"train", "net", "layers", "kernels", "base", "data", "rank"},  # ambig.h
}

PRINTING = r"(v?f?printf|v?dprintf|puts|fputs|putchar|perror|fwrite|fopen|getenv)"
ENDING = r"(exit|_exit|_Exit|quick_exit|abort|assert|raise|signal|longjmp)"
ALLOCATING = r"(malloc|calloc|realloc|free|aligned_alloc|posix_memalign|alloca|strdup|strndup|mmap)"
UNSAFE = r"(strcpy|strcat|sprintf|vsprintf|gets|strtok|rand|srand|random|time|localtime|qsort)"
LIBM = (
    r"(exp|exp2|expm1|log|log2|log10|log1p|pow|sin|cos|tan|tanh|sinh|cosh|asin|acos|atan|atan2|erf|"
    r"cbrt|hypot|fma|fmod|floor|ceil|round|rint|nearbyint|lrint|trunc|ldexp|frexp|scalbn|lgamma|tgamma)[fl]?"
)


@cache
def code(path: Path) -> str:
    """The text without comments and without what stands between quotes; lines stay lines."""
    text = path.read_text(encoding="utf-8")

    def blank(match: re.Match[str]) -> str:
        if match[0].startswith("/"):
            return "\n" * match[0].count("\n") or " "
        return '""'

    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', path.read_text(encoding="utf-8"), re.M)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def calls(pattern: str, paths: list[Path]) -> list[str]:
    """Where a function of these names is called."""
    found = []
    for path in paths:
        for match in re.finditer(rf"(?<![\w.>]){pattern}\s*\(", code(path)):
            line = code(path).count("\n", 0, match.start()) + 1
            found.append(f"{name(path)}:{line}: {match[0]}")
    return found


def test_there_is_something_to_read():
    assert len(CORE) > 20
    assert {path.parent.name for path in SOURCES} == set(MAY_INCLUDE)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_includes_follow_the_arrow(path):
    folder = path.parent.name
    for include in includes(path):
        target = (path.parent / include).resolve()
        if target.exists():
            to = target.parent.name
            allowed = MAY_INCLUDE[folder] | {folder}
            # The binding reads everything through the one public header.
            if folder == "python":
                allowed |= {"csrc"}
            assert to in allowed, f"{name(path)} includes {include}: {folder} must not know {to}"
        else:
            assert "/" not in include or include.startswith(("sys/", "numpy/")), (
                f"{name(path)} includes {include}, which does not exist"
            )


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_knows_no_python(path):
    assert not [i for i in includes(path) if i == "Python.h" or i.startswith("numpy")]
    assert not re.findall(r"\b(?:Py|PyArray|Npy|NPY_|npy_)\w*", code(path))


def test_one_allocator():
    assert calls(ALLOCATING, [p for p in CORE if name(p) != "csrc/base/alloc.c"]) == []


def test_the_core_prints_nothing_and_ends_nothing():
    assert calls(PRINTING, CORE) == []
    assert calls(ENDING, CORE) == []
    assert calls(UNSAFE, SOURCES) == []


def test_the_core_calls_no_libm_but_sqrt():
    assert calls(LIBM, CORE) == []
    assert calls(rf"__builtin_{LIBM}", [p for p in CORE if p.parent.name != "kernels"]) == []
    assert [name(p) for p in CORE if "tgmath.h" in includes(p)] == []


def test_no_static_python_objects():
    for path in SOURCES:
        found = re.findall(
            r"^\s*static\s+(?:const\s+)?Py(?:Object|TypeObject)\s*\*?\s*\w+\s*[=;\[]",
            code(path),
            re.M,
        )
        assert not found, f"{name(path)}: {found}"


def test_no_thread_local_state():
    for path in SOURCES:
        assert not re.search(r"\b(_Thread_local|__thread)\b", code(path)), name(path)


@pytest.mark.parametrize(
    "file", ["setup.py", "Makefile", "tests/c/Makefile", "pyproject.toml", "csrc"]
)
def test_no_flag_that_changes_floats_or_ties_to_this_machine(file):
    path = ROOT / file
    for part in SOURCES if path.is_dir() else [path]:
        text = part.read_text(encoding="utf-8")
        found = re.findall(r"-ffast-math|-Ofast|-march=native|-mtune=native|-funsafe-math\S*", text)
        found += re.findall(r"optimize\s*\(.*fast|pragma STDC FP_CONTRACT ON", code(part))
        assert not found, f"{name(part)}: {found}"


@pytest.mark.parametrize("path", [*SOURCES, *PYTHON], ids=name)
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_headers_have_unique_names_and_guards():
    headers = [path for path in SOURCES if path.suffix == ".h"]
    names = [path.name for path in headers]
    assert sorted(names) == sorted(set(names))
    guards = []
    for path in headers:
        match = re.search(r"^#ifndef (\w+)\n#define (\w+)\n", path.read_text(), re.M)
        assert match is not None, f"{name(path)} has no include guard"
        assert match[1] == match[2], name(path)
        guards.append(match[1])
    assert sorted(guards) == sorted(set(guards))


def test_exported_names_carry_the_prefix():
    """A function with external linkage would clash with another library's."""
    for path in CORE:
        for match in re.finditer(
            r"^(?!static|typedef|struct|enum|extern)[a-z]\w*[\w \*]*\n(\w+)\(", code(path), re.M
        ):
            assert match[1].startswith("am_") or "static" in match[0], f"{name(path)}: {match[1]}"


TEXT = [
    path
    for folder in ("csrc", "ambigmnist", "tests", "bench", "notebooks", "docs", ".ci")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".c", ".h", ".py", ".pyi", ".md", ".ipynb", ".toml", ".j2", ".json", ".svg"}
] + [p for p in ROOT.iterdir() if p.name in ("Makefile", "setup.py", "pyproject.toml", "README.md")]


def test_no_machine_paths():
    """Nothing names a folder of the machine that it was written on."""
    pattern = re.compile(r"(?<![\w.:/$)}~*])/(?:home|root|work|Users|mnt|opt)/\w+|[A-Z]:\\Users")
    found = []
    for path in TEXT:
        if path == Path(__file__).resolve():
            continue
        for match in pattern.finditer(path.read_text(encoding="utf-8")):
            found.append(f"{name(path)}: {match[0]}")
    assert found == []


def test_the_rules_can_fail(tmp_path):
    """The readers above see what they are meant to see."""
    bad = tmp_path / "bad.c"
    bad.write_text('/* exp(1) */ "free(x)"; y = expf (2); z->exp(3);\nam_exp(1); free(p);\n')
    assert len(re.findall(rf"(?<![\w.>]){LIBM}\s*\(", code(bad))) == 1
    assert len(re.findall(rf"(?<![\w.>]){ALLOCATING}\s*\(", code(bad))) == 1
    assert code(bad).count("\n") == 2
