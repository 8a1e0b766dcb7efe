"""Copying the tensors of selected index rows out of shards into one block of memory.

One block instead of one per tensor: the allocator would return some of them to the operating system after every batch
and request them again, which takes twice as long as filling them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import Array
from rnn_zoos.format.manifest import index_path
from rnn_zoos.format.tensors import DTYPES
from rnn_zoos.loaders.mapping import REMEDY, RowTensors, Tensors

try:
    from rnn_zoos.loaders.native import _native
except ImportError:  # built without a C++ compiler
    _native = None  # type: ignore[assignment]

_ALIGNMENT = 64  # bytes; every tensor of a stacked block starts at a multiple
_FIRST = np.zeros(1, np.int64)


class RowFormat:
    """The T tensors of a row, and the layouts of the same tensors of many rows in one block.

    Args:
        expected: name -> (safetensors dtype, shape without the row axis) of each tensor.
    """

    def __init__(self, expected: Tensors) -> None:
        self.fields = [(name, np.dtype(DTYPES[dtype]), shape) for name, (dtype, shape) in expected.items()]
        self.sizes = np.array([dtype.itemsize * prod(shape) for _, dtype, shape in self.fields], np.int64)
        self._layouts: dict[str, Layout] = {}  # the last of each kind: batches usually have the same number of rows

    def stacked(self, num_rows: int) -> Layout:
        """Return the layout in which one tensor follows the other, each [num_rows, ...]."""
        layout = self._layouts.get("stacked")
        if layout is None or layout.num_rows != num_rows:
            lengths = -(-self.sizes * num_rows // _ALIGNMENT) * _ALIGNMENT
            layout = Layout(self, num_rows, lengths.cumsum() - lengths, self.sizes, int(lengths.sum()))
            self._layouts["stacked"] = layout
        return layout

    def flat(self, num_rows: int) -> Layout:
        """Return the layout in which one row follows the other, without gaps. All tensors must have one dtype."""
        layout = self._layouts.get("flat")
        if layout is None or layout.num_rows != num_rows:
            size = int(self.sizes.sum())
            strides = np.full_like(self.sizes, size)
            layout = Layout(self, num_rows, self.sizes.cumsum() - self.sizes, strides, num_rows * size)
            self._layouts["flat"] = layout
        return layout


@dataclass(frozen=True)
class Layout:
    """Where the T tensors of some rows lie in a block of bytes.

    Attributes:
        format: the tensors of a row.
        num_rows: number of rows.
        starts: the byte at which each tensor of the first row begins, int64 [T].
        strides: bytes from a tensor of one row to the same of the next row, int64 [T].
        num_bytes: size of the block.
    """

    format: RowFormat
    num_rows: int
    starts: Array
    strides: Array
    num_bytes: int

    def views(self, block: Array) -> dict[str, Array]:
        """Return the tensors that lie in a block, name -> [num_rows, ...]."""
        if self.num_rows == 0:
            return {name: np.empty((0, *shape), dtype) for name, dtype, shape in self.format.fields}
        return {
            name: np.ndarray(shape, dtype, block.data, start, strides)
            for name, shape, dtype, start, strides in self._arrays
        }

    @cached_property
    def _arrays(self) -> list[tuple[str, tuple[int, ...], np.dtype[Any], int, tuple[int, ...]]]:
        """Name, shape, dtype, start and strides of each tensor, as numpy takes them."""
        arrays = []
        for (name, dtype, shape), start, stride in zip(
            self.format.fields, self.starts.tolist(), self.strides.tolist(), strict=True
        ):
            inner = [dtype.itemsize * prod(shape[axis + 1 :]) for axis in range(len(shape))]
            arrays.append((name, (self.num_rows, *shape), dtype, start, (stride, *inner)))
        return arrays


def gather_rows(
    shards: Sequence[tuple[str, int]],
    rows: Array,
    layout: Layout,
    open_shards: Callable[[Iterable[tuple[str, int]]], Sequence[RowTensors]],
) -> Array:
    """Copy the tensors of M index rows out of their shards.

    Args:
        shards: split and number of the shard of each of the M rows.
        rows: rows within the shards, int64 [M].
        layout: layout of the M rows in the result.
        open_shards: returns the shards with given splits and numbers.

    Returns:
        The block of bytes, uint8.

    Raises:
        FormatError: if the index names rows that a shard does not hold.
    """
    positions: dict[tuple[str, int], int] = {}  # of each shard in `opened`
    numbers = np.array([positions.setdefault(shard, len(positions)) for shard in shards], np.int64)
    opened = open_shards(positions)
    lengths = np.array([shard.num_rows for shard in opened], np.int64)
    outside = (rows < 0) | (rows >= lengths[numbers])
    if outside.any():
        split, number = shards[int(outside.argmax())]
        raise FormatError(f"{index_path(split)} names rows that shard {number} does not hold. {REMEDY}")
    return copy_rows(opened, numbers, rows, layout)


def copy_row(source: RowTensors, row: int, row_format: RowFormat, file: str) -> dict[str, Array]:
    """Copy the tensors of one row of a shard: name -> [*shape], in one block of memory.

    Raises FormatError if the shard has no such row; `file` is its path in the zoo.
    """
    if not 0 <= row < source.num_rows:
        raise FormatError(f"{file} has no row {row}; it has the rows 0 to {source.num_rows - 1}. {REMEDY}")
    layout = row_format.stacked(1)
    block = copy_rows([source], _FIRST, np.array([row], np.int64), layout)
    return {name: array[0] for name, array in layout.views(block).items()}


def copy_rows(sources: Sequence[RowTensors], numbers: Array, rows: Array, layout: Layout) -> Array:
    """Copy row `rows[i]` of source `numbers[i]` to row i of a new block, for each of M rows that must exist.

    Args:
        sources: tensors of the same format, with the same strides.
        numbers: positions in `sources`, int64 [M].
        rows: rows within the sources, int64 [M].
        layout: layout of the M rows in the result.

    Returns:
        The block of bytes, uint8.
    """
    block = np.empty(layout.num_bytes, np.uint8)
    if _native is None:
        copy_rows_in_numpy(sources, numbers, rows, layout, block)
    elif len(rows):
        addresses = np.concatenate([source.addresses for source in sources])
        strides, sizes = sources[0].strides, layout.format.sizes
        _native.copy_rows(addresses, strides, numbers, rows, sizes, block, layout.starts, layout.strides)
    return block


def copy_rows_in_numpy(
    sources: Sequence[RowTensors], numbers: Array, rows: Array, layout: Layout, block: Array
) -> None:
    """Do what `copy_rows` does, without native code: the reference implementation. `block` is written to."""
    targets = layout.views(block)
    for number, source in enumerate(sources):
        chosen = np.flatnonzero(numbers == number)
        for name, target in targets.items():
            target[chosen] = source.tensors[name][rows[chosen]]
