"""Measuring labels of stored networks, shard by shard, in worker processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from rnn_zoos.errors import FormatError
from rnn_zoos.families.labels import Snapshot, measure_labels
from rnn_zoos.format.files import FileEntry, check_bytes
from rnn_zoos.format.index import read_index
from rnn_zoos.format.manifest import MANIFEST, Manifest, index_path
from rnn_zoos.format.tensors import map_tensors
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.writing.added_labels import LabelFolder, ShardLabels
from rnn_zoos.generation.writing.provenance import provenance
from rnn_zoos.generation.writing.shards import snapshot_of
from rnn_zoos.processes import Worker

_SAMPLE_SECONDS = 2.0  # how long snapshots are measured to estimate the time of all
_LARGEST = float(np.finfo(np.float32).max)
_REMEDY = "Restore the file, or generate it again; `rnn-zoos check` lists all damage."

Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class LabelJob:
    """A shard whose snapshots are to be measured.

    Attributes:
        shard: The shard.
        entry: The manifest's entry of its weights.
        runs: The run of each row of the shard.
        steps: The step of each row.
    """

    shard: ShardPlan
    entry: FileEntry
    runs: Numbers
    steps: Numbers

    def __str__(self) -> str:
        return str(self.shard)


def label_jobs(directory: Path, manifest: Manifest, plan: Plan) -> Iterator[LabelJob]:
    """Yield a job for every shard of a zoo.

    Raises IntegrityError if an index is damaged, FormatError if index, manifest and plan contradict each other.
    """
    indexes: dict[str, _Index] = {}
    for shard in plan.shards:
        path, index = shard.path("shards"), index_path(shard.split)
        if path not in manifest.files or index not in manifest.files:
            raise FormatError(f"{MANIFEST} lists {path} or {index} wrongly. {_REMEDY}")
        if index not in indexes:
            check_bytes(directory / index, manifest.files[index], _REMEDY)
            indexes = {index: _Index.read(directory / index)}  # the shards of a split follow one another
        job = LabelJob(shard, manifest.files[path], *indexes[index].of_shard(shard.number))
        if len(job.runs) != job.entry.rows or not np.isin(job.runs, shard.run_numbers).all():
            raise FormatError(f"{index} and {path} contradict each other. {_REMEDY}")
        yield job


@dataclass(frozen=True)
class _Index:
    """Run and step of all rows of a split, sorted by shard and row, and where each shard begins."""

    runs: Numbers
    steps: Numbers
    shards: Numbers

    @classmethod
    def read(cls, path: Path) -> _Index:
        table = read_index(path)
        run, step, shard, row = (table[name].to_numpy() for name in ("run", "step", "shard", "row"))
        order = np.lexsort((row, shard))
        return cls(run[order], step[order], shard[order])

    def of_shard(self, number: int) -> tuple[Numbers, Numbers]:
        first, end = np.searchsorted(self.shards, [number, number + 1])
        return self.runs[first:end], self.steps[first:end]


def measure_shard(
    plan: Plan, directory: Path, labels: tuple[str, ...], zoo_hash: str, job: LabelJob, worker: Worker
) -> None:
    """Measure labels of the snapshots of a shard and store them, in a worker process."""
    started, values = time.monotonic(), {name: list[float]() for name in labels}
    for measured in _measurements(plan, directory, labels, job):
        worker.report(1)
        for name, value in measured.items():
            values[name].append(value)
    done = ShardLabels(zoo_hash, values, provenance(plan.backend, "cpu"), time.monotonic() - started)
    LabelFolder(directory).write(job.shard.name, done)


def seconds_per_snapshot(plan: Plan, directory: Path, labels: tuple[str, ...], job: LabelJob, worker: Worker) -> float:
    """Measure labels of some snapshots of a shard, in a worker process; return the mean time without the first."""
    times = [time.monotonic()]
    for _ in _measurements(plan, directory, labels, job):
        worker.report(1)
        times.append(time.monotonic())
        if times[-1] - times[0] > _SAMPLE_SECONDS:
            break
    first = min(1, len(times) - 2)  # the first measurement also loads code and data
    return (times[-1] - times[first]) / (len(times) - 1 - first) if len(times) > 1 else 0.0


def stored_snapshots(plan: Plan, directory: Path, job: LabelJob) -> Iterator[Snapshot]:
    """Yield the snapshots of a shard, in the order of its rows. Raises IntegrityError if it is damaged."""
    path = directory / job.shard.path("shards")
    check_bytes(path, job.entry, _REMEDY)
    tensors, runs = map_tensors(path), {run.run: run for run in job.shard.runs}
    names = plan.architectures[job.shard.architecture].parameter_shapes
    for row, (run, step) in enumerate(zip(job.runs.tolist(), job.steps.tolist(), strict=True)):
        weights = {name: torch.from_numpy(tensors[name][row].copy()) for name in names}
        yield snapshot_of(plan, runs[run], step, weights)


def _measurements(plan: Plan, directory: Path, labels: tuple[str, ...], job: LabelJob) -> Iterator[dict[str, float]]:
    """Yield labels of the snapshots of a shard, in the order of its rows. Raises FormatError if one is not finite."""
    for snapshot in stored_snapshots(plan, directory, job):
        measured = measure_labels(plan.family, snapshot, labels)
        for name, value in measured.items():
            if not abs(value) <= _LARGEST:  # as a comparison that NaN fails, too
                raise FormatError(
                    f"{name} of run {snapshot.run}, step {snapshot.step} is {value}; a zoo has finite labels "
                    "only. Choose other --labels."
                )
        yield measured
