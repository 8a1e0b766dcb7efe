"""How fast a zoo loads, beside the same weights as others ship them: one array, a file a network, plain parquet."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import datasets
import numpy as np
import torch
from rich.console import Console

from rnn_zoos.errors import FormatError, StorageError
from rnn_zoos.generation.measuring.random_zoo import write_random_zoo
from rnn_zoos.generation.publishing.publish import export_parquet
from rnn_zoos.loaders.dataset import load_dataset
from rnn_zoos.loaders.zoo import PLACE, open_zoo
from rnn_zoos.machine import describe_machine
from rnn_zoos.networks.weights import flatten
from rnn_zoos.processes import available_cores

SPLIT = "train"
_MEMMAP, _FILES, _PARQUET, _CACHE = "weights.npy", "networks", "parquet", "cache"
_BATCHES = 50  # in one measurement of random reading

Take: TypeAlias = Callable[[list[int]], object]
"""Returns the weights of the rows with these numbers."""


@dataclass(frozen=True)
class Places:
    """A zoo and a folder with the copies of its weights that `write_copies` made."""

    zoo: Path
    copies: Path


def measure(directory: Path | None, runs: int, batch: int, repeats: int, scratch: Path | None) -> dict[str, Any]:
    """Return the machine and what `measure_loading` finds on a zoo; without one, on `runs` runs of random weights.

    Copies, and the zoo, go to a temporary folder in `scratch` (None: the system's) and are removed at the end.
    Raises StorageError if there is no such folder or no room.
    """
    if scratch is not None and not scratch.is_dir():
        raise StorageError(f"{scratch} is not a directory. Give --scratch one with room for copies of the weights.")
    with (
        tempfile.TemporaryDirectory(prefix="rnn-zoos-", dir=scratch) as temporary,
        Console(stderr=True).status("starting") as status,
    ):
        places = Places(directory or Path(temporary, "zoo"), Path(temporary, "copies"))
        if directory is None:
            status.update(f"writing a zoo of {runs:,} runs")
            write_random_zoo(places.zoo, runs)
        status.update("writing copies of its weights")
        write_copies(places)
        status.update("reading")
        machine = {"cores": available_cores(), **describe_machine()}
        return {"machine": machine, "batch": batch, "repeats": repeats, **measure_loading(places, batch, repeats)}


def write_copies(places: Places) -> None:
    """Write the weights of a split as others ship them: one .npy, one torch file per network, parquet."""
    zoo = open_zoo(places.zoo)
    if SPLIT not in zoo.splits():
        raise FormatError(f"{places.zoo} has no snapshots to read in {SPLIT}.")
    rows = zoo.index(SPLIT)
    weights = zoo.stack(rows).weights
    (places.copies / _FILES).mkdir(parents=True)
    np.save(places.copies / _MEMMAP, flatten(zoo.manifest.architecture, weights).numpy())
    for row in range(len(rows)):
        torch.save({name: tensor[row].clone() for name, tensor in weights.items()}, _file(places, row))
    export_parquet(places.zoo, places.copies / _PARQUET)


def _file(places: Places, row: int) -> Path:
    return places.copies / _FILES / f"{row}.pt"


def _ours(places: Places) -> Take:
    loaded: datasets.Dataset = load_dataset(places.zoo, split=SPLIT)
    return lambda rows: loaded[rows]["weights"]


def _ours_in_numpy(places: Places) -> Take:
    loaded: datasets.Dataset = load_dataset(places.zoo, split=SPLIT, tensors="numpy")
    return lambda rows: loaded[rows]["weights"]


def _ours_without_labels(places: Places) -> Take:
    loaded: datasets.Dataset = load_dataset(places.zoo, split=SPLIT).select_columns(PLACE)
    return lambda rows: loaded[rows]["weights"]


def _only_labels(places: Places) -> Take:
    loaded: datasets.Dataset = load_dataset(places.zoo, split=SPLIT).with_format(None)
    return lambda rows: loaded[rows]


def _take(places: Places) -> Take:
    zoo = open_zoo(places.zoo)
    index = zoo.index(SPLIT).select(PLACE)
    return lambda rows: zoo.take("shards", index.take(rows).to_pydict())


def _memmap(places: Places) -> Take:
    array = np.load(places.copies / _MEMMAP, mmap_mode="r")
    return lambda rows: torch.from_numpy(array[rows])


def _files(places: Places) -> Take:
    return lambda rows: [torch.load(_file(places, row), weights_only=True) for row in rows]


def _plain(places: Places) -> Take:
    parquet, cache = str(places.copies / _PARQUET), str(places.copies / _CACHE)
    loaded = datasets.load_dataset(parquet, split=SPLIT, cache_dir=cache).with_format("torch")
    return lambda rows: loaded[rows]


def _our_stream(places: Places) -> datasets.IterableDataset:
    return load_dataset(places.zoo, split=SPLIT, streaming=True)


def _plain_stream(places: Places) -> datasets.IterableDataset:
    return datasets.load_dataset(str(places.copies / _PARQUET), split=SPLIT, streaming=True).with_format("torch")


RANDOM: Mapping[str, Callable[[Places], Take]] = MappingProxyType(
    {
        "load_dataset": _ours,
        "load_dataset, numpy": _ours_in_numpy,
        "load_dataset, no labels": _ours_without_labels,
        "load_dataset, labels alone": _only_labels,
        "Zoo.take, numpy": _take,
        "numpy memmap": _memmap,
        "datasets, parquet": _plain,
        "a torch file a network": _files,
    }
)
STREAMS: Mapping[str, Callable[[Places], datasets.IterableDataset]] = MappingProxyType(
    {"load_dataset, streaming": _our_stream, "datasets, parquet, streaming": _plain_stream}
)


def measure_loading(places: Places, batch: int, repeats: int) -> dict[str, Any]:
    """Return the zoo's size and, for every way to read the weights of its training split, medians in one run.

    `open, s` is from a call to the first row; `first pass, s` reads all rows in order (ours also hashes the shards);
    rows/s are of random batches, as torch tensors unless the way says numpy, or of a stream read in batches. Each way
    has its own process; `private MB` and `mapped MB` are what it grew by, the latter pages of files that the system
    takes back when it needs them.
    """
    rows = open_zoo(places.zoo).manifest.splits[SPLIT]["rows"]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in (*RANDOM, *STREAMS)}
    with ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        readers = {way: stack.enter_context(ProcessPoolExecutor(1, context)) for way in found}
        opened = {way: reader.submit(_open, way, places, rows).result() for way, reader in readers.items()}
        # Ways in turn within a repeat, so that a slow minute of the machine meets all of them.
        for repeat in range(repeats):
            for way, reader in readers.items():
                found[way].append(reader.submit(_read, way, rows, batch, repeat).result())
    results = []
    for way, measured in found.items():
        medians = {name: statistics.median(one[name] for one in measured) for name in measured[0]}
        relative = [one["rows/s"] / base["rows/s"] for one, base in zip(measured, found["numpy memmap"], strict=True)]
        results.append({"way": way, **opened[way], **medians, "times memmap": statistics.median(relative)})
    return {"zoo": zoo_size(places.zoo), "index": measure_index(places.zoo, repeats), "results": results}


def zoo_size(directory: Path) -> dict[str, Any]:
    """Return the zoo's name, rows and bytes."""
    manifest = open_zoo(directory).manifest
    rows = sum(split["rows"] for split in manifest.splits.values())
    return {"zoo": manifest.zoo, "rows": rows, "MB": sum(entry.bytes for entry in manifest.files.values()) / 1e6}


def measure_index(directory: Path, repeats: int) -> dict[str, float]:
    """Return median seconds of opening all splits of a zoo, and of filtering its index by a label."""
    seconds: dict[str, list[float]] = {"open all splits, s": [], "filter by accuracy, s": []}
    for _ in range(repeats):
        with _stopwatch(seconds["open all splits, s"]):
            load_dataset(directory)
        zoo = open_zoo(directory)
        with _stopwatch(seconds["filter by accuracy, s"]):
            zoo.index(where=[("accuracy", ">", 0.5)])
    return {what: statistics.median(times) for what, times in seconds.items()}


class _stopwatch:  # noqa: N801 - used as a function
    """Appends the seconds that its block took."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds.append(time.perf_counter() - self.started)


_reader: Any = None  # what this process opened
_before: dict[str, float] = {}  # its memory before that


def _open(way: str, places: Places, rows: int) -> dict[str, float]:
    """Open a way in this process; return the seconds to the first row and of the first pass."""
    global _reader
    _before.update(_memory())
    opening: list[float] = []
    passing: list[float] = []
    with _stopwatch(opening):
        _reader = RANDOM[way](places) if way in RANDOM else STREAMS[way](places)
        _reader([0]) if way in RANDOM else next(iter(_reader))
    with _stopwatch(passing):
        for _ in _all(rows, 64):
            pass
    return {"open, s": opening[0], "first pass, s": passing[0]}


def _all(rows: int, batch: int) -> Iterator[object]:
    if callable(_reader):
        yield from (_reader(list(range(first, min(first + batch, rows)))) for first in range(0, rows, batch))
    else:
        yield from _reader.iter(batch)


def _read(way: str, rows: int, batch: int, seed: int) -> dict[str, float]:
    """Return rows/s of random batches, or of the whole stream, and what memory has grown by since opening."""
    random = np.random.default_rng(seed)
    orders = [random.integers(rows, size=batch).tolist() for _ in range(_BATCHES)]
    seconds: list[float] = []
    with _stopwatch(seconds):
        batches: Iterable[object] = map(_reader, orders) if way in RANDOM else _all(rows, batch)
        for _ in batches:
            pass
    count = batch * _BATCHES if way in RANDOM else rows
    grown = {name: (now - _before[name]) / 1e6 for name, now in _memory().items()}
    return {"rows/s": count / seconds[0], **grown}


def _memory() -> dict[str, float]:
    """Return the bytes of this process in memory: its own, and pages of files; none where /proc does not tell."""
    status, kinds = Path("/proc/self/status"), {"private MB": ("RssAnon",), "mapped MB": ("RssFile", "RssShmem")}
    if not status.is_file():
        return {}
    told = dict(line.split(":", 1) for line in status.read_text().splitlines() if line.startswith("Rss"))
    return {name: 1024.0 * sum(int(told[key].split()[0]) for key in keys) for name, keys in kinds.items()}
