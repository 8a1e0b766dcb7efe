"""Methods to read the weights of a zoo, and the same weights in formats that are common elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

import datasets
import numpy as np
import torch

from rnn_zoos.errors import FormatError
from rnn_zoos.generation.publishing.export import export_parquet
from rnn_zoos.loaders.dataset import load_dataset
from rnn_zoos.loaders.index_rows import PLACE
from rnn_zoos.loaders.torch_dataset import Form
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.networks.weights import flatten

SPLIT = "train"
"""The split that is read."""
_MEMMAP, _FILES, _PARQUET, _CACHE = "weights.npy", "networks", "parquet", "cache"


@dataclass(frozen=True)
class CopiedZoo:
    """A zoo, and a folder with copies of the weights of its training split in formats that are common elsewhere."""

    zoo: Path
    copies: Path

    def write_copies(self) -> None:
        """Write the copies: one .npy file, one torch file per network, parquet."""
        zoo = open_zoo(self.zoo)
        if SPLIT not in zoo.splits():
            raise FormatError(f"{self.zoo} has no snapshots in the split {SPLIT}, so there is nothing to read.")
        rows = zoo.index(SPLIT)
        weights = zoo.stack(rows).weights
        (self.copies / _FILES).mkdir(parents=True)
        np.save(self.copies / _MEMMAP, flatten(zoo.manifest.architecture, weights).numpy())
        for row in range(len(rows)):
            torch.save({name: tensor[row].clone() for name, tensor in weights.items()}, self.network_file(row))
        export_parquet(self.zoo, self.copies / _PARQUET)

    def network_file(self, row: int) -> Path:
        """Return the torch file of a row."""
        return self.copies / _FILES / f"{row}.pt"


Take: TypeAlias = Callable[[list[int]], object]
"""Returns the weights of the rows with these numbers."""


def _load_dataset(source: CopiedZoo, tensors: Literal["torch", "numpy"] = "torch") -> Take:
    loaded: datasets.Dataset = load_dataset(source.zoo, split=SPLIT, tensors=tensors)
    return lambda rows: loaded[rows]["weights"]


def _load_dataset_torch_format(source: CopiedZoo) -> Take:
    loaded = load_dataset(source.zoo, split=SPLIT).with_format("torch")
    return lambda rows: loaded[rows]["weights"]


def _load_dataset_without_labels(source: CopiedZoo) -> Take:
    loaded = load_dataset(source.zoo, split=SPLIT, columns=["weights"])
    return lambda rows: loaded[rows]["weights"]


def _load_dataset_labels_only(source: CopiedZoo) -> Take:
    loaded = load_dataset(source.zoo, split=SPLIT).remove_columns(["weights"])
    return lambda rows: loaded[rows]


def _zoo_take(source: CopiedZoo) -> Take:
    zoo = open_zoo(source.zoo)
    index = zoo.index(SPLIT).select(PLACE)
    return lambda rows: zoo.take("weights", index.take(rows).to_pydict())


def _torch_dataset(source: CopiedZoo, weights: Form = "named", in_memory: bool = False) -> Take:
    dataset = open_zoo(source.zoo).torch_dataset(SPLIT, weights=weights, in_memory=in_memory)
    return lambda rows: dataset.__getitems__(rows)["weights"]


def _torch_tensor(source: CopiedZoo) -> Take:
    tensor = torch.from_numpy(np.load(source.copies / _MEMMAP))
    return lambda rows: tensor[rows]


def _numpy_memmap(source: CopiedZoo) -> Take:
    array = np.load(source.copies / _MEMMAP, mmap_mode="r")
    return lambda rows: torch.from_numpy(array[rows])


def _parquet(source: CopiedZoo) -> Take:
    parquet, cache = str(source.copies / _PARQUET), str(source.copies / _CACHE)
    loaded = datasets.load_dataset(parquet, split=SPLIT, cache_dir=cache).with_format("torch")
    return lambda rows: loaded[rows]


def _torch_files(source: CopiedZoo) -> Take:
    return lambda rows: [torch.load(source.network_file(row), weights_only=True) for row in rows]


def _load_dataset_stream(source: CopiedZoo) -> datasets.IterableDataset:
    return load_dataset(source.zoo, split=SPLIT, streaming=True)


def _parquet_stream(source: CopiedZoo) -> datasets.IterableDataset:
    return datasets.load_dataset(str(source.copies / _PARQUET), split=SPLIT, streaming=True).with_format("torch")


RANDOM_METHODS: Mapping[str, Callable[[CopiedZoo], Take]] = MappingProxyType(
    {
        "load_dataset": _load_dataset,
        "load_dataset, numpy": partial(_load_dataset, tensors="numpy"),
        "load_dataset, with_format torch": _load_dataset_torch_format,
        "load_dataset, no labels": _load_dataset_without_labels,
        "load_dataset, labels alone": _load_dataset_labels_only,
        "torch_dataset": _torch_dataset,
        "torch_dataset, flat": partial(_torch_dataset, weights="flat"),
        "torch_dataset, in memory": partial(_torch_dataset, in_memory=True),
        "torch_dataset, flat, in memory": partial(_torch_dataset, weights="flat", in_memory=True),
        "torch tensor in memory": _torch_tensor,
        "Zoo.take, numpy": _zoo_take,
        "numpy memmap": _numpy_memmap,
        "datasets, parquet": _parquet,
        "a torch file a network": _torch_files,
    }
)
"""Methods to read rows in any order. The names are those in result files, which do not change."""
LOADER_METHODS: Mapping[str, int] = MappingProxyType({"DataLoader, 0 workers": 0, "DataLoader, 2 workers": 2})
"""DataLoaders of a `torch_dataset` that shuffle: the number of their workers."""
STREAM_METHODS: Mapping[str, Callable[[CopiedZoo], datasets.IterableDataset]] = MappingProxyType(
    {"load_dataset, streaming": _load_dataset_stream, "datasets, parquet, streaming": _parquet_stream}
)
"""Methods to read all rows in order."""
