"""The `datasets` transform that adds tensors to index rows, for indexed access and for streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import datasets
import numpy as np
import torch

from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.embeddings import COLUMN
from rnn_zoos.loaders.rollouts import decode_rollouts
from rnn_zoos.loaders.source import Source
from rnn_zoos.loaders.zoo import Zoo

Library: TypeAlias = Literal["torch", "numpy"]
"""The library whose arrays hold the weights and rollouts of a row."""
_STREAM_BATCH = 64  # rows gathered at once when streaming


class StackedWeights(dict[str, Any]):
    """Stacked weights of M index rows: name -> [M, *shape]. An integer key returns one row: name -> [*shape] (views).

    The values are torch tensors or numpy arrays.
    """

    def __getitem__(self, key: str | int) -> Any:  # noqa: ANN401 - a tensor for a name, a dict for an integer
        if isinstance(key, str):
            return super().__getitem__(key)
        return {name: tensor[key] for name, tensor in self.items()}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the weights of each row: name -> [*shape] (views)."""
        return (self[row] for row in range(len(next(iter(self.values())))))


@dataclass(frozen=True)
class Gather:
    """Adds `weights`, and rollouts if `rollouts` is set, to a batch of index rows. A picklable `datasets` transform.

    A batch without the columns `shard` and `row` (after `select_columns`, for example) gets neither. The column
    `embedding`, if there is one, becomes an array.
    """

    source: Source
    rollouts: bool
    tensors: Library
    _opened: list[Zoo] = field(default_factory=list, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": []}  # the process that unpickles it opens the zoo again

    @property
    def zoo(self) -> Zoo:
        """The zoo, opened once per process."""
        if not self._opened:
            self._opened.append(Zoo(self.source))
        return self._opened[0]

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with the tensors of its rows in place of `shard` and `row`."""
        if COLUMN in batch:
            batch = batch | self._convert({COLUMN: np.asarray(batch[COLUMN], np.float32)})
        if not {"shard", "row"} & batch.keys():
            return batch
        if not {"split", "shard", "row"} <= batch.keys():
            raise FormatError(
                f"The columns {list(batch)} do not locate the weights, which takes split, shard and row. "
                "Keep all three, or remove shard and row to load no weights."
            )
        out = {name: values for name, values in batch.items() if name not in ("shard", "row")}
        out["weights"] = StackedWeights(self._convert(self.zoo.take("shards", batch)))
        if self.rollouts:
            stored = self.zoo.take("rollouts", batch)
            out |= self._convert(decode_rollouts(self.zoo, stored, batch.get("angle")))
        return out

    def _convert(self, arrays: dict[str, Array]) -> dict[str, Any]:
        """Return arrays of the requested library, without a copy."""
        if self.tensors == "numpy":
            return dict(arrays)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def for_stream(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the same with `weights` as a list of one dict per row: streams need columns of equal length."""
        gathered = self(batch)
        return gathered | {"weights": list(gathered["weights"].rows())}


@dataclass(frozen=True)
class _RowGenerator:
    """Generates index rows with their tensors, given ranges (first, end) of index rows, one per shard."""

    index: datasets.Dataset
    gather: Gather

    def __call__(self, ranges: list[tuple[int, int]]) -> Iterator[dict[str, Any]]:
        for first, end in ranges:
            for start in range(first, end, _STREAM_BATCH):
                batch = self.gather.for_stream(self.index[start : min(start + _STREAM_BATCH, end)])
                for values in zip(*batch.values(), strict=True):
                    yield dict(zip(batch, values, strict=True))


def stream(index: datasets.Dataset, gather: Gather) -> datasets.IterableDataset:
    """Return index rows with their tensors as a stream, divisible over nodes and workers by whole shards."""
    shards = np.asarray(index["shard"])
    bounds = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(shards)]
    ranges = [(first, end) for first, end in pairwise(bounds) if first < end]
    return datasets.IterableDataset.from_generator(
        _RowGenerator(index, gather), gen_kwargs={"ranges": ranges}, split=index.split
    )
