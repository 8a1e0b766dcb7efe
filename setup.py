"""Builds the native trainer where a C++ compiler is; everything else is in pyproject.toml."""

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

# Not -ffast-math: linked in, GCC before 13 lets it switch denormal numbers off for the whole process.
SOURCES = "generation/trainers/native"
native = Pybind11Extension(
    "rnn_zoos.generation.trainers.native._native",
    [f"{SOURCES}/{part}.cpp" for part in ("module", "avx512", "avx2", "base")],
    depends=[f"{SOURCES}/{header}.h" for header in ("native", "kernel", "vector")],
    cxx_std=17,
    extra_compile_args=["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-fvisibility=hidden"],
    optional=True,
)
setup(ext_modules=[native])
