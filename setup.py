"""Builds the native code where there is a C++ compiler; everything else is in pyproject.toml."""

from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

SHARED = Path("rnn_zoos/networks/native")  # vectors, matrix products and cells, for networks and trainer
KERNELS = ("avx512", "avx2", "base")  # the same code for several instruction sets


def extension(module: str, sources: Path, kernels: tuple[str, ...] = ()) -> Pybind11Extension:
    """Return an extension of a folder with a binding, `module.cpp`, and further files."""
    folders = dict.fromkeys([SHARED, sources])
    return Pybind11Extension(
        module,
        [str(sources / f"{part}.cpp") for part in ("module", *kernels)],
        depends=sorted(str(header) for folder in folders for kind in ("*.h", "*.inc") for header in folder.glob(kind)),
        include_dirs=[str(folder) for folder in folders],
        cxx_std=17,
        # No -ffast-math: when it is linked in, GCC before 13 may switch off denormal numbers for the whole process.
        extra_compile_args=["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-fvisibility=hidden"],
        optional=True,
    )


setup(
    ext_modules=[
        extension("rnn_zoos.networks.native._native", SHARED, KERNELS),
        extension("rnn_zoos.generation.trainers.native._native", Path("generation/trainers/native"), KERNELS),
        extension("rnn_zoos.loaders.native._native", Path("loaders/native")),
    ]
)
