"""Builds the native trainer where a C++ compiler is; everything else is in pyproject.toml."""

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

# Not -ffast-math: linked in, GCC before 13 lets it switch denormal numbers off for the whole process.
native = Pybind11Extension(
    "rnn_zoos.generation._native",
    [f"generation/native{part}.cpp" for part in ("", "_avx512", "_avx2", "_base")],
    depends=["generation/native.h", "generation/native_kernel.h", "generation/native_vector.h"],
    cxx_std=17,
    extra_compile_args=["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-fvisibility=hidden"],
    optional=True,
)
setup(ext_modules=[native])
