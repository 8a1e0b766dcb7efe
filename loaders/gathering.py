"""Copying the tensors of selected index rows out of memory-mapped shards into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import DTYPES, Array
from rnn_zoos.format.manifest import index_path
from rnn_zoos.loaders.source import REMEDY, Shard, bytes_of

_ALIGNMENT = 64  # bytes; every tensor of a block starts at a multiple


def gather_rows(
    locations: Mapping[str, Sequence[Any]],
    expected: Mapping[str, tuple[str, tuple[int, ...]]],
    open_shard: Callable[[str, int], Shard],
) -> dict[str, Array]:
    """Copy the tensors of M index rows out of their shards: name -> [M, ...].

    Args:
        locations: the index columns `split`, `shard` and `row` of the M rows.
        expected: name -> (safetensors dtype, shape without the row axis) of each tensor.
        open_shard: returns the shard with a given split and number.

    Raises:
        FormatError: if the index names rows that a shard does not hold.
    """
    rows = np.asarray(locations["row"], np.int64)
    gathered = allocate_together(len(rows), expected)
    targets = [bytes_of(array) for array in gathered.values()]
    sizes = [array.itemsize * prod(array.shape[1:]) for array in gathered.values()]  # bytes per row
    opened: dict[tuple[str, int], Shard] = {}
    for first, end in consecutive_ranges(locations["split"], locations["shard"], rows):
        split, number = locations["split"][first], locations["shard"][first]
        if (split, number) not in opened:
            opened[split, number] = open_shard(split, number)
        shard = opened[split, number]
        row, after = int(rows[first]), int(rows[first]) + end - first
        if row < 0 or after > shard.num_rows:
            raise FormatError(f"{index_path(split)} names rows that shard {number} does not hold. {REMEDY}")
        for target, stored, size in zip(targets, shard.contents, sizes, strict=True):
            target[first * size : end * size] = stored[row * size : after * size]
    return gathered


def allocate_together(num_rows: int, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Array]:
    """Return uninitialised arrays [num_rows, ...] that share one block of memory.

    With one block per array, the allocator returns some of them to the operating system after every batch and requests
    them again, which takes twice as long as filling them.
    """
    sizes = {
        name: num_rows * prod(shape) * np.dtype(DTYPES[dtype]).itemsize for name, (dtype, shape) in tensors.items()
    }
    starts = np.cumsum([0, *(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes.values())]).tolist()
    block = np.empty(starts[-1], np.uint8)
    return {
        name: block[start : start + sizes[name]].view(DTYPES[dtype]).reshape(num_rows, *shape)
        for start, (name, (dtype, shape)) in zip(starts, tensors.items(), strict=False)
    }


def consecutive_ranges(splits: Sequence[str], shards: Sequence[int], rows: Array) -> Iterator[tuple[int, int]]:
    """Yield ranges (first, end) of positions whose rows are consecutive in one shard, so that one copy moves them."""
    if not len(rows):
        return
    follows = (np.diff(rows) == 1) & (np.diff(np.asarray(shards)) == 0)
    first = 0
    for end, consecutive in enumerate(follows.tolist(), start=1):
        if not (consecutive and splits[end] == splits[end - 1]):
            yield first, end
            first = end
    yield first, len(rows)
