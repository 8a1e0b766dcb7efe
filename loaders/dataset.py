"""Zoos as `datasets` objects: an index of labels in memory, whose weights are read from mapped shards on access."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import datasets
import numpy as np
import pyarrow.compute as pc
import torch

from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.rollouts import read_by_networks
from rnn_zoos.loaders.where import Where
from rnn_zoos.loaders.zoo import Source, Zoo, open_zoo

Library: TypeAlias = Literal["torch", "numpy"]
"""What holds the numbers of a row's weights and rollouts."""
_STREAM_BATCH = 64  # rows gathered at once when streaming


class StackedWeights(dict[str, Any]):
    """Weights of several rows: name -> [rows, *shape]; an int gives one row, name -> [*shape] (views).

    The values are torch tensors, or numpy arrays if those were asked for.
    """

    def __getitem__(self, key: str | int) -> Any:  # noqa: ANN401 - a tensor by name, a dict by number
        if isinstance(key, str):
            return super().__getitem__(key)
        return {name: tensor[key] for name, tensor in self.items()}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the weights of one row after the other."""
        return (self[row] for row in range(len(next(iter(self.values())))))


@dataclass(frozen=True)
class Gather:
    """Adds `weights`, and rollouts if asked, to a batch of index rows. A picklable `datasets` transform.

    A batch without the columns that say where tensors are (after `select_columns`, say) is returned as it is.
    """

    source: Source
    rollouts: bool
    tensors: Library
    _opened: list[Zoo] = field(default_factory=list, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": []}  # reopened where it is unpickled

    @property
    def zoo(self) -> Zoo:
        """The zoo, opened once in a process."""
        if not self._opened:
            self._opened.append(Zoo(self.source))
        return self._opened[0]

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch with the tensors of its rows."""
        if not {"shard", "row"} & batch.keys():
            return batch
        if not {"split", "shard", "row"} <= batch.keys():
            raise FormatError(
                f"The columns {list(batch)} do not say where the weights are: that takes split, shard and row. "
                "Keep all three, or remove shard and row to have no weights."
            )
        out = {name: values for name, values in batch.items() if name not in ("shard", "row")}
        out["weights"] = StackedWeights(self._as_asked(self.zoo.take("shards", batch)))
        if self.rollouts:
            out |= self._as_asked(read_by_networks(self.zoo, self.zoo.take("rollouts", batch), batch.get("angle")))
        return out

    def _as_asked(self, arrays: dict[str, Array]) -> dict[str, Any]:
        if self.tensors == "numpy":
            return dict(arrays)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def by_rows(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the same with `weights` as a list of one dict a row: streams want columns of equal length."""
        gathered = self(batch)
        return gathered | {"weights": list(gathered["weights"].rows())}


def load_dataset(
    name_or_dir: str | Path,
    split: str | None = None,
    steps: int | Iterable[int] | None = None,
    where: Where | None = None,
    rollouts: bool = False,
    revision: str | None = None,
    streaming: bool = False,
    token: str | None = None,
    tensors: Library = "torch",
) -> datasets.Dataset | datasets.DatasetDict | datasets.IterableDataset | datasets.IterableDatasetDict:
    """Load a zoo as a `datasets.Dataset` (one split) or `DatasetDict` (all splits that hold rows).

    One row is one snapshot: its labels (see `rnn-zoos info`) and `weights`, a dict name -> float32 tensor [*shape]; a
    slice or list of rows has `weights` as name -> [rows, *shape]. With `rollouts`, also `sequences` (languages: symbols
    uint8 [100, 42]; digits: inputs float32 [100, 50, 16]), `log_probs` or `logits` (float16), and `labels` of digits.
    Tensors are read when rows are; `filter(..., input_columns=[...])` and `select_columns` do not read them.
    `with_format` would replace that reading: `tensors` says whether rows are torch tensors or numpy arrays.

    `steps` keeps snapshots of these steps, `where` rows for which triples such as ("accuracy", ">", 0.9), or a pyarrow
    expression, hold. `streaming` gives iterable datasets, one shard of the stream per shard of the zoo.

    A name OWNER/NAME that is no directory is looked up on the Hub, at `revision`: a branch, tag or sha, of which all
    files are taken from the commit that it stands for now. Only shards with rows that are kept are fetched: before this
    returns, or, when streaming, as they are reached. They stay in the Hub client's cache, for times without network.
    `token` is for private zoos; it is not pickled, so workers that are spawned want HF_TOKEN instead.
    Raises FormatError, UnknownNameError, IntegrityError, HubError or StorageError.

        train = load_dataset("zoos/formal-languages", split="train", steps=[1000, 1500])
        train[0]["weights"]["lstm.weight_hh_l0"].shape  # torch.Size([128, 32])
    """
    if tensors not in get_args(Library):
        raise UnknownNameError.among("kind of tensors", tensors, get_args(Library))
    zoo = open_zoo(name_or_dir, revision, token)
    gather = Gather(zoo.source, rollouts, tensors, [zoo])
    steps = list(steps) if isinstance(steps, Iterable) else steps
    loaded = {}
    for name in zoo.splits(split):
        table = zoo.index(name, steps, where)
        identity = f"{zoo.identity}{name}{steps}{where}{rollouts}"
        index = datasets.Dataset(
            table, split=datasets.NamedSplit(name), fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:16]
        )
        if streaming:
            loaded[name] = _stream(index, gather)
        else:
            zoo.fetch(name, sorted(pc.unique(table["shard"]).to_pylist()), rollouts)
            loaded[name] = index.with_transform(gather)
    if split is not None:
        return loaded[split]
    return datasets.IterableDatasetDict(loaded) if streaming else datasets.DatasetDict(loaded)


@dataclass(frozen=True)
class _Rows:
    """Generates rows of an index with their tensors, given the ranges (first, last) of whole shards."""

    index: datasets.Dataset
    gather: Gather

    def __call__(self, ranges: list[tuple[int, int]]) -> Iterator[dict[str, Any]]:
        for first, last in ranges:
            for start in range(first, last, _STREAM_BATCH):
                batch = self.gather.by_rows(self.index[start : min(start + _STREAM_BATCH, last)])
                for values in zip(*batch.values(), strict=True):
                    yield dict(zip(batch, values, strict=True))


def _stream(index: datasets.Dataset, gather: Gather) -> datasets.IterableDataset:
    """Return the same rows as a stream that nodes and workers can share: each reads, and fetches, whole shards."""
    shards = np.asarray(index["shard"])
    bounds = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(shards)]
    ranges = [(first, last) for first, last in pairwise(bounds) if first < last]
    return datasets.IterableDataset.from_generator(
        _Rows(index, gather), gen_kwargs={"ranges": ranges}, split=index.split
    )
