"""Plain .npy files: mapped after their header was held against their size, written by appending rows."""

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
WHOLE = "whole numbers"
"""Instead of a dtype: any width of integers."""


@dataclass(frozen=True)
class NpyType:
    """What a file has to hold: a dtype (or WHOLE), and the shape of a row; None is any number of at least 1."""

    dtype: str
    row: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype} [rows, {', '.join('any' if size is None else str(size) for size in self.row)}]"

    def fits(self, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bool:
        """Tell whether an array of this dtype and shape is what the file has to hold."""
        right = dtype.kind in "iu" if self.dtype == WHOLE else dtype == np.dtype(self.dtype)
        sizes = zip(shape[1:], self.row, strict=False)
        same = all(found == size or (size is None and found > 0) for found, size in sizes)
        return bool(right) and len(shape) == 1 + len(self.row) and same


def map_npy(path: Path, expected: NpyType) -> Array:
    """Map a .npy file, read-only; nothing is read but its header, and no memory is taken for what that says.

    Raises FormatError if the file is missing, is no .npy file, holds Python objects (which only pickle could read), is
    shorter or longer than its header says, or holds another dtype or shape than `expected`.
    """
    try:
        with open(path, "rb") as file:
            shape, fortran, dtype = _read_header(path, file)
            start = file.tell()
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}. Expected {expected}.") from error
    if not expected.fits(dtype, shape):
        hint = " Objects are never unpickled." if dtype.hasobject else ""
        raise FormatError(
            f"{path} holds {dtype} {list(shape)}; expected {expected}.{hint} Give a directory of that layout."
        )
    size = start + prod(shape) * dtype.itemsize
    if path.stat().st_size != size:
        raise FormatError(
            f"{path} has {path.stat().st_size:,} bytes; its header announces {list(shape)} of {dtype}, expected "
            f"{size:,}. Fetch or make the file again: it is cut short, or was still being written."
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
        raise FormatError(f"{path} is not a .npy file ({error}). Fetch or make the file again.") from error


class NpyWriter:
    """Appends rows to a .npy file whose number of rows is known: a full disk is an OSError at once."""

    def __init__(self, file: BinaryIO, dtype: str, shape: tuple[int, ...]) -> None:
        self.file = file
        self.dtype = np.dtype(dtype)
        self.row = shape[1:]
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

    def append(self, rows: Array) -> None:
        """Append rows [n, ...]; they take the dtype of the file."""
        if rows.shape[1:] != self.row:
            raise FormatError(f"Rows of shape {rows.shape[1:]} do not fit {self.file.name}; expected {self.row}.")
        self.file.write(np.ascontiguousarray(rows, self.dtype).tobytes())


@contextmanager
def npy_writers(
    directory: Path, num_rows: int, types: dict[str, tuple[str, tuple[int, ...]]]
) -> Iterator[dict[str, NpyWriter]]:
    """Open `NAME.npy` for each name -> (dtype, shape of a row), to be given `num_rows` rows each; synced at the end."""
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(directory / f"{name}.npy", "wb")) for name in types}
        yield {name: NpyWriter(files[name], dtype, (num_rows, *row)) for name, (dtype, row) in types.items()}
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
