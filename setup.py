"""Builds the native trainer where there is a C++ compiler; everything else is in pyproject.toml."""

from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

SOURCES = Path("generation/trainers/native")
native = Pybind11Extension(
    "rnn_zoos.generation.trainers.native._native",
    [str(SOURCES / f"{part}.cpp") for part in ("module", "avx512", "avx2", "base")],
    depends=sorted(str(header) for header in SOURCES.glob("*.h")),
    cxx_std=17,
    # No -ffast-math: when it is linked in, GCC before 13 may switch off denormal numbers for the whole process.
    extra_compile_args=["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-fvisibility=hidden"],
    optional=True,
)
setup(ext_modules=[native])
