"""Zoos with fewer labels than the code measures, as older versions made them, and workers in the process of a test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Generic

from damage import edit_manifest, replace_index

from rnn_zoos.families.columns import Column
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.labels import Label, Snapshot
from rnn_zoos.format.index import read_index
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.processes import Result, Task, Worker


def remove_labels(out: Path, *labels: str) -> Path:
    """Remove labels from the index and the manifest of a zoo, and return its directory."""
    edit_manifest(out / "zoo.json", lambda data: [data["columns"].pop(label) for label in labels])
    for split in [split for split, counts in read_manifest(out).splits.items() if counts["shards"]]:
        table = read_index(out / "index" / f"{split}.parquet")
        replace_index(out, split, table.drop_columns(list(labels)))
    return out


def square_sum(family: object, snapshot: Snapshot) -> float:
    """Measure a label that needs nothing but the weights, and distinguishes runs and steps."""
    norm = sum(float(tensor.square().sum()) for tensor in snapshot.network.weights().values())
    return norm + snapshot.run + snapshot.step / 100 + snapshot.task / 1000


class LabelledLanguages(FormalLanguages):
    """Formal languages of a later version, which measures one more label."""

    further_labels = {  # noqa: RUF012
        **FormalLanguages.further_labels,
        "square_sum": Label(Column("float32", "sum of squares of all weights"), square_sum),
    }


class InlinePool(Generic[Task, Result]):
    """A `WorkerPool` that does the work in this process: starting another one takes seconds."""

    def __init__(self, size, work, *shared, advance=lambda task, units: None):
        self.work, self.shared, self.advance = work, shared, advance

    def __enter__(self) -> InlinePool:
        return self

    def __exit__(self, *error: object) -> None:
        """There is nothing to stop."""

    def map_unordered(self, tasks: Iterable) -> Iterator[tuple]:
        """Do one task after the other. An error is raised here, not by the future."""
        for task in tasks:
            future = Future()
            worker = Worker(0, lambda units, task=task: self.advance(task, units))
            future.set_result(self.work(*self.shared, task, worker))
            yield task, future
