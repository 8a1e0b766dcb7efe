"""Reading and writing .npy files: memory maps whose header is verified first, and writers that append rows."""

from __future__ import annotations

import os
import tokenize
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import Array

_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
ANY_INTEGER = "integers"
"""Stands for any integer dtype in an `NpyType`."""


@dataclass(frozen=True)
class NpyType:
    """The required dtype (or ANY_INTEGER) and row shape of a file; None in the shape is any positive size."""

    dtype: str
    row: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype} [rows, {', '.join('any' if size is None else str(size) for size in self.row)}]"

    def matches(self, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bool:
        """Return whether an array has the required dtype and shape."""
        same_dtype = dtype.kind in "iu" if self.dtype == ANY_INTEGER else dtype == np.dtype(self.dtype)
        sizes = zip(shape[1:], self.row, strict=False)
        same_sizes = all(found == size or (size is None and found > 0) for found, size in sizes)
        return bool(same_dtype) and len(shape) == 1 + len(self.row) and same_sizes


def map_npy(path: Path, expected: NpyType) -> Array:
    """Map a .npy file read-only. Only its header is read, and no memory is allocated for the sizes in the header.

    Raises:
        FormatError: if the file is missing, is not a .npy file, holds Python objects (which only pickle could read), is
            shorter or longer than its header says, or has another dtype or shape than `expected`.
    """
    try:
        with open(path, "rb") as file:
            shape, fortran, dtype = _read_header(path, file)
            start = file.tell()
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}. Expected {expected}.") from error
    if not expected.matches(dtype, shape):
        hint = " Objects are never unpickled." if dtype.hasobject else ""
        raise FormatError(
            f"{path} holds {dtype} {list(shape)}; expected {expected}.{hint} Give a directory in the paper's layout."
        )
    size = start + prod(shape) * dtype.itemsize
    if path.stat().st_size != size:
        raise FormatError(
            f"{path} has {path.stat().st_size:,} bytes; its header announces {list(shape)} of {dtype}, expected "
            f"{size:,}. Download or generate the file again: it was truncated, or was still being written."
        )
    if not prod(shape):
        return np.empty(shape, dtype)
    order = "F" if fortran else "C"
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape, order=order))  # type: ignore[call-overload]


def _read_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    try:
        version = np.lib.format.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"version {version}")
        return _READERS[version](file)
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise FormatError(f"{path} is not a .npy file ({error}). Download or generate the file again.") from error


class NpyWriter:
    """Appends rows to a .npy file whose number of rows is known in advance.

    Unlike a memory map, writing to a full disk raises OSError immediately.
    """

    def __init__(self, file: BinaryIO, dtype: str, shape: tuple[int, ...]) -> None:
        self.file = file
        self.dtype = np.dtype(dtype)
        self.row = shape[1:]
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

    def append(self, rows: Array) -> None:
        """Append rows [n, ...], cast to the dtype of the file."""
        if rows.shape[1:] != self.row:
            raise FormatError(f"Rows of shape {rows.shape[1:]} do not fit {self.file.name}; expected {self.row}.")
        self.file.write(np.ascontiguousarray(rows, self.dtype).tobytes())


@contextmanager
def npy_writers(
    directory: Path, num_rows: int, types: dict[str, tuple[str, tuple[int, ...]]]
) -> Iterator[dict[str, NpyWriter]]:
    """Open `NAME.npy` for each name -> (dtype, shape of a row), for `num_rows` rows each; sync the files at the end."""
    with ExitStack() as exit_stack:
        files = {name: exit_stack.enter_context(open(directory / f"{name}.npy", "wb")) for name in types}
        yield {name: NpyWriter(files[name], dtype, (num_rows, *row)) for name, (dtype, row) in types.items()}
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
