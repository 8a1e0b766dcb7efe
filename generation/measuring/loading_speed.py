"""The speed of loading a zoo, compared with the same weights in other formats: `rnn-zoos speed loading`."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from rich.console import Console
from torch.utils.data import DataLoader

from rnn_zoos.errors import StorageError
from rnn_zoos.generation.measuring.loading_methods import (
    LOADER_METHODS,
    RANDOM_METHODS,
    SPLIT,
    STREAM_METHODS,
    CopiedZoo,
    Take,
)
from rnn_zoos.generation.measuring.random_zoo import write_random_zoo
from rnn_zoos.loaders.dataset import load_dataset
from rnn_zoos.loaders.torch_dataset import TorchDataset
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.machine import describe_machine
from rnn_zoos.processes import available_cores

_BATCHES = 50  # per measurement of random reading
_PASS_BATCH = 64  # rows per batch of the first pass


def measure_loading(
    directory: Path | None, runs: int, batch: int, repeats: int, scratch: Path | None
) -> dict[str, Any]:
    """Return the machine, the size of the zoo, and medians for every method to read its training split.

    The methods are named in the column `way`. `open, s` is the time from a call to the first row. `first pass, s` is
    the time to read all rows in order (methods of rnn-zoos also hash the shards). `rows/s` is measured on random
    batches, as torch tensors unless the method says numpy, on an epoch of a DataLoader whose workers are running, or on
    a stream that is read in batches. `private MB` and `mapped MB` are the growth of the process without its workers;
    mapped memory consists of pages of files, which the system can take back.

    Args:
        directory: a zoo; None for a new one of `runs` runs with random weights.
        runs: the number of runs of the new zoo.
        batch: rows per batch.
        repeats: the number of measurements, of which the medians are reported.
        scratch: the folder in which copies of the weights, and the new zoo, are written and removed at the end; None
            for the system's folder for temporary files.

    Raises StorageError if the folder does not exist or is too small.
    """
    if scratch is not None and not scratch.is_dir():
        raise StorageError(f"{scratch} is not a directory. Give --scratch one with space for copies of the weights.")
    with (
        tempfile.TemporaryDirectory(prefix="rnn-zoos-", dir=scratch) as temporary,
        Console(stderr=True).status("starting") as status,
    ):
        source = CopiedZoo(directory or Path(temporary, "zoo"), Path(temporary, "copies"))
        if directory is None:
            status.update(f"writing a zoo of {runs:,} runs")
            write_random_zoo(source.zoo, runs)
        status.update("writing copies of its weights")
        source.write_copies()
        status.update("reading")
        return {
            "machine": {"cores": available_cores(), **describe_machine()},
            "batch": batch,
            "repeats": repeats,
            "zoo": _zoo_size(source.zoo),
            "index": _measure_index(source.zoo, repeats),
            "results": _measure_methods(source, batch, repeats),
        }


def _measure_methods(source: CopiedZoo, batch: int, repeats: int) -> list[dict[str, Any]]:
    """Return a table with one row per method; each method has a process of its own."""
    num_rows = open_zoo(source.zoo).manifest.splits[SPLIT]["rows"]
    methods = [*RANDOM_METHODS, *LOADER_METHODS, *STREAM_METHODS]
    measured: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    with ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        processes = {method: stack.enter_context(ProcessPoolExecutor(1, context)) for method in measured}
        opened = {m: process.submit(_open_method, m, source, num_rows).result() for m, process in processes.items()}
        # Methods are interleaved within a repeat, so that slow phases of the machine affect all of them.
        for repeat in range(repeats):
            for method, process in processes.items():
                measured[method].append(process.submit(_read_batches, num_rows, batch, repeat).result())
    baselines = measured["numpy memmap"]
    results = []
    for method, found in measured.items():
        medians = {name: statistics.median(one[name] for one in found) for name in found[0]}
        ratios = [one["rows/s"] / baseline["rows/s"] for one, baseline in zip(found, baselines, strict=True)]
        results.append({"way": method, **opened[method], **medians, "times memmap": statistics.median(ratios)})
    return results


def _zoo_size(directory: Path) -> dict[str, Any]:
    """Return the name of a zoo, its number of rows, and its megabytes."""
    manifest = open_zoo(directory).manifest
    rows = sum(split["rows"] for split in manifest.splits.values())
    return {"zoo": manifest.zoo, "rows": rows, "MB": sum(entry.bytes for entry in manifest.files.values()) / 1e6}


def _measure_index(directory: Path, repeats: int) -> dict[str, float]:
    """Return median seconds of opening all splits of a zoo, and of filtering its index by a label."""
    seconds: dict[str, list[float]] = {"open all splits, s": [], "filter by accuracy, s": []}
    for _ in range(repeats):
        with _stopwatch(seconds["open all splits, s"]):
            load_dataset(directory)
        zoo = open_zoo(directory)
        with _stopwatch(seconds["filter by accuracy, s"]):
            zoo.index(where=[("accuracy", ">", 0.5)])
    return {name: statistics.median(times) for name, times in seconds.items()}


@contextmanager
def _stopwatch(seconds: list[float]) -> Iterator[None]:
    """Append the seconds that the block takes."""
    started = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - started)


@dataclass
class _RandomReader:
    """An opened method to read rows in any order."""

    take: Take

    def read_first(self) -> None:
        self.take([0])

    def all_batches(self, num_rows: int, batch: int) -> Iterator[object]:
        return (self.take(list(range(first, min(first + batch, num_rows)))) for first in range(0, num_rows, batch))

    def measured_batches(self, num_rows: int, batch: int, seed: int) -> tuple[int, Iterator[object]]:
        """Return the batches on which rows/s is measured, and their number of rows."""
        random = np.random.default_rng(seed)
        orders = [random.integers(num_rows, size=batch).tolist() for _ in range(_BATCHES)]
        return batch * _BATCHES, map(self.take, orders)


@dataclass
class _LoaderReader:
    """An opened DataLoader, whose workers keep running. Its first pass is in random order, too."""

    dataset: TorchDataset
    workers: int
    loaders: dict[int, DataLoader[Any]] = field(default_factory=dict)  # by rows per batch

    def read_first(self) -> None:
        next(self.all_batches(0, _PASS_BATCH))

    def all_batches(self, num_rows: int, batch: int) -> Iterator[object]:
        if batch not in self.loaders:
            self.loaders[batch] = DataLoader(
                self.dataset,
                batch,
                shuffle=True,
                num_workers=self.workers,
                collate_fn=self.dataset.collate,
                generator=torch.Generator().manual_seed(0),
                persistent_workers=self.workers > 0,
            )
        return iter(self.loaders[batch])

    def measured_batches(self, num_rows: int, batch: int, seed: int) -> tuple[int, Iterator[object]]:
        """Return the same as `_RandomReader.measured_batches`: here, an epoch."""
        return num_rows, self.all_batches(num_rows, batch)


@dataclass
class _StreamReader:
    """An opened method to read all rows in order."""

    stream: datasets.IterableDataset

    def read_first(self) -> None:
        next(iter(self.stream))

    def all_batches(self, num_rows: int, batch: int) -> Iterator[object]:
        yield from self.stream.iter(batch)

    def measured_batches(self, num_rows: int, batch: int, seed: int) -> tuple[int, Iterator[object]]:
        """Return the same as `_RandomReader.measured_batches`: here, all rows."""
        return num_rows, self.all_batches(num_rows, batch)


_reader: _RandomReader | _LoaderReader | _StreamReader | None = None  # what this process of a method has opened
_memory_before: dict[str, float] = {}  # of this process, before that


def _open_method(method: str, source: CopiedZoo, num_rows: int) -> dict[str, float]:
    """Open a method in this process; return the seconds to the first row and of the first pass."""
    global _reader
    _memory_before.update(_memory())
    opening: list[float] = []
    passing: list[float] = []
    with _stopwatch(opening):
        if method in RANDOM_METHODS:
            _reader = _RandomReader(RANDOM_METHODS[method](source))
        elif method in LOADER_METHODS:
            _reader = _LoaderReader(open_zoo(source.zoo).torch_dataset(SPLIT), LOADER_METHODS[method])
        else:
            _reader = _StreamReader(STREAM_METHODS[method](source))
        _reader.read_first()
    with _stopwatch(passing):
        for _ in _reader.all_batches(num_rows, _PASS_BATCH):
            pass
    return {"open, s": opening[0], "first pass, s": passing[0]}


def _read_batches(num_rows: int, batch: int, seed: int) -> dict[str, float]:
    """Return rows/s of the opened method, and by how much memory has grown since it was opened."""
    assert _reader is not None, "_open_method opens it"
    seconds: list[float] = []
    count, batches = _reader.measured_batches(num_rows, batch, seed)
    with _stopwatch(seconds):
        for _ in batches:
            pass
    growth = {name: (now - _memory_before[name]) / 1e6 for name, now in _memory().items()}
    return {"rows/s": count / seconds[0], **growth}


def _memory() -> dict[str, float]:
    """Return the bytes of this process in memory, private ones and pages of files; {} where there is no /proc."""
    status, kinds = Path("/proc/self/status"), {"private MB": ("RssAnon",), "mapped MB": ("RssFile", "RssShmem")}
    if not status.is_file():
        return {}
    sizes = dict(line.split(":", 1) for line in status.read_text().splitlines() if line.startswith("Rss"))
    return {name: 1024.0 * sum(int(sizes[key].split()[0]) for key in keys) for name, keys in kinds.items()}
