"""Builds the C core: once for every CPU, then the kernels once more per instruction set.

AMBIGMNIST_BUILD=asan|tsan|cov gives instrumented builds (use another --build-base for each).
"""

import glob
import os
import platform
import tomllib
from pathlib import Path
from typing import Any

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

VERSION = tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"]

X86_64 = platform.machine() in ("x86_64", "AMD64")
AVX2 = ["-mavx2", "-mfma", "-mbmi", "-mbmi2"]
AVX512 = [*AVX2, *"-mavx512f -mavx512dq -mavx512bw -mavx512vl -mprefer-vector-width=512".split()]

# One source text, csrc/kernels/kernels.inc.c, included by a small file per instruction set. Each
# is compiled apart, so that no flag of it leaks into code that runs before the CPU is known.
VARIANT_FLAGS = {
    "csrc/kernels/avx2.c": AVX2,
    "csrc/kernels/avx2_strict.c": AVX2,
    "csrc/kernels/avx512.c": AVX512,
    "csrc/kernels/avx512_strict.c": AVX512,
    "csrc/kernels/rowkernels_avx2.c": AVX2,
    "csrc/kernels/rowkernels_avx512.c": AVX512,
}
VARIANTS = VARIANT_FLAGS if X86_64 else {}

FLAGS = [
    "-std=c11",
    "-O3",
    "-g0",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fvisibility=hidden",
    "-fstack-protector-strong",
    "-Wall",
    "-Wextra",
]
LINK = ["-pthread", "-Wl,-s"]
SANITIZE = {
    # CPython's own flags contain -fwrapv and -DNDEBUG, which would hide overflows.
    "asan": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-wrapv"],
    "tsan": ["-fsanitize=thread"],
    "cov": ["--coverage"],
}

build = os.environ.get("AMBIGMNIST_BUILD", "release")
if build in SANITIZE:
    FLAGS = [*FLAGS, "-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", *SANITIZE[build]]
    LINK = ["-pthread", *SANITIZE[build]]
elif build != "release":
    raise SystemExit(f"AMBIGMNIST_BUILD={build}: expected release, asan, tsan or cov")
if os.environ.get("AMBIGMNIST_WERROR"):
    FLAGS = [*FLAGS, "-Werror"]

ABI3 = os.environ.get("AMBIGMNIST_ABI3") == "1"


class BuildExt(build_ext):  # type: ignore[misc,unused-ignore]
    """Compiles the kernel variants with flags of their own and links them in."""

    def build_extension(self, ext: Any) -> None:
        for source, flags in VARIANTS.items():
            ext.extra_objects += self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                include_dirs=ext.include_dirs,
                macros=ext.define_macros,
                depends=ext.depends,
                extra_postargs=[*ext.extra_compile_args, *flags],
            )
        super().build_extension(ext)

    def get_source_files(self) -> list[str]:
        return sorted({*super().get_source_files(), *glob.glob("csrc/**/*.[ch]", recursive=True)})


all_sources = sorted(glob.glob("csrc/**/*.c", recursive=True))
included = [s for s in all_sources if s.endswith(".inc.c")]
sources = [s for s in all_sources if s not in {*included, *VARIANT_FLAGS}]

macros: list[tuple[str, str | None]] = [
    ("AM_VERSION", f'"{VERSION}"'),
    ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
    ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),
]
if VARIANTS:
    macros.append(("AM_HAVE_X86_VARIANTS", "1"))
if ABI3:
    macros.append(("Py_LIMITED_API", "0x030b0000"))

core = Extension(
    "ambigmnist._ambigcore",
    sources=sources,
    depends=[*glob.glob("csrc/**/*.h", recursive=True), *included, *VARIANTS],
    include_dirs=[numpy.get_include()],
    define_macros=macros,
    extra_compile_args=FLAGS,
    extra_link_args=LINK,
    py_limited_api=ABI3,
)

setup(
    ext_modules=[core],
    cmdclass={"build_ext": BuildExt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
