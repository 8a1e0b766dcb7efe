"""How fast a zoo loads."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from rnn_zoos.errors import FormatError
from rnn_zoos.loaders.dataset import load_dataset
from rnn_zoos.loaders.zoo import open_zoo


def measure_loading(directory: str | Path, batch: int, repeats: int) -> dict[str, Any]:
    """Return medians: seconds of `load_dataset`, private memory that it takes, rows/s of random batches of weights.

    The first pass over the shards, which also hashes them, is reported apart.
    """
    before, seconds = _private_memory(), []
    for _ in range(repeats):
        started = time.perf_counter()
        loaded = load_dataset(directory)
        seconds.append(time.perf_counter() - started)
    memory = _private_memory() - before
    assert isinstance(loaded, datasets.DatasetDict)
    if not loaded:
        raise FormatError(f"{directory} has no snapshots to read: all its runs diverged before their first.")
    train = next(iter(loaded.values()))
    random = np.random.default_rng(0)
    orders = [random.integers(len(train), size=batch).tolist() for _ in range(50)]
    started = time.perf_counter()
    train[list(range(len(train)))]
    first_pass = time.perf_counter() - started
    rates = []
    for _ in range(repeats):
        started = time.perf_counter()
        for order in orders:
            train[order]
        rates.append(batch * len(orders) / (time.perf_counter() - started))
    return {
        "zoo": open_zoo(directory).manifest.zoo,
        "rows": sum(len(split) for split in loaded.values()),
        "MB": sum(entry.bytes for entry in open_zoo(directory).manifest.files.values()) / 1e6,
        "load_dataset, s": statistics.median(seconds),
        "private memory, MB": memory / 1e6,
        "first pass over a split (hashes), s": first_pass,
        f"random batches of {batch}, rows/s": statistics.median(rates),
    }


def _private_memory() -> int:
    """Return the bytes of this process that are not pages of files; 0 where /proc does not tell."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("RssAnon")).split()[1])
