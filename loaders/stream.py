"""Streams: index rows with places, one shard of the stream per shard of the zoo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from rnn_zoos.loaders.selection import Selection

_ROWS_AT_ONCE = 64


def stream(selection: Selection, expression: str, parts: Sequence[tuple[str, pa.Table]]) -> datasets.IterableDataset:
    """Return index rows as a stream, divisible over nodes and workers by whole shards."""
    return datasets.IterableDataset.from_generator(
        _generate_rows,
        features=selection.features,
        gen_kwargs={"tables": [selection.table([part]) for part in _by_shard(parts)]},
        split=datasets.NamedSplit(expression),
    )


def _by_shard(parts: Sequence[tuple[str, pa.Table]]) -> Iterator[tuple[str, pa.Table]]:
    """Divide index rows where the shard changes."""
    for split, rows in parts:
        bounds = np.flatnonzero(np.diff(rows["shard"].to_numpy())) + 1
        for first, end in pairwise([0, *bounds.tolist(), len(rows)]):
            yield split, rows.slice(first, end - first)


def _generate_rows(tables: list[pa.Table]) -> Iterator[dict[str, Any]]:
    """Yield the rows of tables: labels and places, which the features of the stream decode."""
    for table in tables:
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            yield from batch.to_pylist()
