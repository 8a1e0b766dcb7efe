"""The index of a zoo as compact columns, and which of its runs a page shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rnn_zoos.families.columns import Column
from rnn_zoos.families.family import SPLITS
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.explorer.data_files import Arrays

MAX_ROWS = 20_000
"""Rows of the index that a page has at most: more make it slow, and pictures no clearer."""


def shown_rows(index: pa.Table, most: int = MAX_ROWS) -> Array:
    """Return the rows of an index [R] that a page shows, ascending: all, or every k-th run of each split, whole.

    The smallest k is taken with which at most `most` rows remain; every split keeps its first run.
    """
    runs, splits = index["run"].to_numpy(), _codes(index["split"], SPLITS)
    every = 1
    while True:
        kept = np.zeros(len(index), bool)
        for split in np.unique(splits):
            of_split = splits == split
            kept |= of_split & np.isin(runs, np.unique(runs[of_split])[::every])
        if kept.sum() <= most or every > len(index):
            return np.flatnonzero(kept)
        every += 1


def pack_columns(index: pa.Table, columns: Mapping[str, Column], arrays: Arrays) -> list[dict[str, Any]]:
    """Add the columns of an index [R] to `arrays` and describe them.

    Args:
        index: Rows of the index.
        columns: Their columns, by name.
        arrays: Where the values go: floats as they are (missing ones as NaN), whole numbers as int32 if they fit, else
            float64, truth values as uint8, texts as the numbers of their values.

    Returns:
        Per column `name`, `kind` (`number`, `truth` or `text`), `description`, `unit`, the place of its values in the
        block, and for texts the `values` that the numbers stand for.
    """
    described = []
    for name, column in columns.items():
        values = index[name].combine_chunks()
        entry: dict[str, Any] = {"name": name, "description": column.description, "unit": column.unit}
        if pa.types.is_string(values.type):
            texts = sorted(pc.unique(values).to_pylist(), key=_order_of(name))
            entry |= {"kind": "text", "values": texts, **arrays.add(_codes(values, texts))}
        elif pa.types.is_boolean(values.type):
            entry |= {"kind": "truth", **arrays.add(values.to_numpy(zero_copy_only=False).astype(np.uint8))}
        else:
            entry |= {"kind": "number", **arrays.add(_numbers(values.to_numpy(zero_copy_only=False)))}
        described.append(entry)
    return described


def _order_of(column: str) -> Any:  # noqa: ANN401 - a key of sorted()
    return SPLITS.index if column == "split" else str


def _numbers(values: Array) -> Array:
    """Return numbers in the smallest type that the page reads and that holds them.

    Angles, which are float64, keep all digits: the page turns digits by them, as they were turned for the networks.
    """
    if values.dtype.kind == "f":
        return values
    limits = np.iinfo(np.int32)
    fits = len(values) == 0 or (values.min() >= limits.min and values.max() <= limits.max)
    return values.astype(np.int32 if fits else np.float64)


def _codes(values: pa.Array | pa.ChunkedArray, texts: Any) -> Array:  # noqa: ANN401 - a sequence of texts
    """Return the position of each value in `texts`, in the smallest unsigned type."""
    codes = pc.index_in(values, pa.array(list(texts), pa.string())).to_numpy(zero_copy_only=False)
    smallest = np.uint8 if len(texts) <= 256 else np.uint16 if len(texts) <= 65536 else np.uint32
    return np.asarray(codes.astype(smallest))
