"""What is made of trained runs where they were trained: a compressed part to be carried, and rows to learn from."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn_zoos.format.files import write_atomically
from rnn_zoos.generation.measuring.gpu_work import Rows, Unit
from rnn_zoos.generation.measuring.gpu_zoos import GpuZoo
from rnn_zoos.generation.trainers.trainer import TrainedRun
from rnn_zoos.generation.writing.raw_runs import RawRuns, pack_runs, read_runs
from rnn_zoos.networks.weights import flatten, unstack_weights

_MARGIN = 0.97  # of the limit of a file that is aimed at: sizes are estimated
_RUNS_PER_FILE = 100  # of rows with rollouts

Arrays = dict[str, npt.NDArray[Any]]


def carry_zoo(zoo: GpuZoo, out: Path, megabytes: float, file_megabytes: float) -> Iterator[Unit]:
    """Yield the unit that writes the first runs of a zoo, compressed without loss, into files of limited size.

    The first runs, because they are a smaller zoo of the same preset: tasks are assigned in blocks, so that they are as
    evenly spread as those of any other selection.

    Args:
        zoo: The zoo; if not all of its runs are trained yet, nothing is yielded.
        out: The folder to write to.
        megabytes: Size of all files together, at most.
        file_megabytes: Size of one file, at most.
    """
    if zoo.is_whole:
        work = partial(_carry, zoo, out, int(megabytes * 1e6), int(file_megabytes * 1e6))
        yield Unit(f"{zoo.family.name}, {megabytes:g} MB in files of {file_megabytes:g} MB", work)


def _carry(zoo: GpuZoo, out: Path, left: int, most_of_file: int) -> Rows:
    whole = zoo.raw()
    carried, seconds = replace(whole, files={}), whole.seconds_per_run
    waiting, buffer, used = _ascending(zoo, whole), list[TrainedRun](), 0
    bytes_per_run = 4.0 * len(zoo.sizes.snapshots) * zoo.architecture.num_parameters  # until the first file is written
    while True:
        limit = min(left, most_of_file)
        wanted = max(1, int(_MARGIN * limit / bytes_per_run))
        buffer += islice(waiting, max(0, wanted - len(buffer)))
        packed = _pack_fitting(zoo, buffer[:wanted], limit)
        if packed is None:
            break
        runs, data = packed
        carried.add(out, data, [run.run.run for run in runs], seconds * len(runs))
        buffer, left, used = buffer[len(runs) :], left - len(data), used + len(data)
        bytes_per_run = len(data) / len(runs)
    whole_bytes = 4 * len(carried.runs) * len(zoo.sizes.snapshots) * zoo.architecture.num_parameters
    row = {"zoo": zoo.family.name, "runs": len(carried.runs), "of": zoo.sizes.runs, "MB": used / 1e6}
    return [{**row, "files": len(carried.files), "of their size": used / max(1, whole_bytes), "in": str(out)}]


def _pack_fitting(zoo: GpuZoo, runs: Sequence[TrainedRun], limit: int) -> tuple[Sequence[TrainedRun], bytes] | None:
    """Return as many of the first runs as fit into a file of `limit` bytes, packed; None if not even one does."""
    while runs:
        data = pack_runs(runs, zoo.architecture, len(zoo.sizes.snapshots), compress=True)
        if len(data) <= limit:
            return runs, data
        runs = runs[: min(len(runs) - 1, int(_MARGIN * len(runs) * limit / len(data)))]
    return None


def _ascending(zoo: GpuZoo, raw: RawRuns) -> Iterator[TrainedRun]:
    """Yield the runs by their numbers; one file is in memory at a time."""
    for name in sorted(raw.files, key=lambda name: raw.files[name]["runs"][0]):
        yield from read_runs(zoo.directory, raw, name, zoo.architecture, zoo.sizes.snapshots)


@dataclass(frozen=True)
class RowFiles:
    """The snapshots of a zoo with what their networks did (rollouts), in files of 100 runs: what encoders learn from.

    Attributes:
        zoo: The zoo.
        directory: The folder of the files.
    """

    zoo: GpuZoo
    directory: Path

    def units(self) -> Iterator[Unit]:
        """Yield the units that write the files that are missing, if all runs of the zoo are trained."""
        if not self.zoo.is_whole:
            return
        for number, runs in self._parts():
            if not self._path(number).is_file():
                name = f"{self.zoo.family.name}, runs {runs[0]} to {runs[-1]}"
                yield Unit(name, partial(self._write, number, runs), keeps_record=True)

    @property
    def is_whole(self) -> bool:
        """Whether all files are there."""
        return self.zoo.is_whole and all(self._path(number).is_file() for number, _ in self._parts())

    def read(self) -> Arrays:
        """Return all rows: run, task, step, split [R], weights [R, P], and rollouts [R, B, ...] as `rollouts.NAME`."""
        parts = []
        for number, _ in self._parts():
            with np.load(self._path(number), allow_pickle=False) as file:
                parts.append(dict(file))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _parts(self) -> Iterator[tuple[int, range]]:
        for number, first in enumerate(range(0, self.zoo.sizes.runs, _RUNS_PER_FILE)):
            yield number, range(first, min(first + _RUNS_PER_FILE, self.zoo.sizes.runs))

    def _path(self, number: int) -> Path:
        return self.directory / f"rows-{number:05d}.npz"

    def _write(self, number: int, runs: range) -> Rows:
        raw, splits = self.zoo.raw(), {run.run: split for run, split in self.zoo.runs()}
        rows: list[Arrays] = []
        for name, entry in raw.files.items():
            if set(entry["runs"]) & set(runs):
                for trained in read_runs(
                    self.zoo.directory, raw, name, self.zoo.architecture, self.zoo.sizes.snapshots
                ):
                    if trained.run.run in runs:
                        rows += self._rows(trained, splits[trained.run.run])
        content = io.BytesIO()
        columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        np.savez(content, **columns)  # type: ignore[arg-type]  # numpy's stubs take the arrays for its other options
        write_atomically(self._path(number), content.getvalue())
        return [{"zoo": self.zoo.family.name, "rows": len(rows)}]

    def _rows(self, trained: TrainedRun, split: str) -> Iterator[Arrays]:
        """Yield a row per snapshot. The labels are not needed: they are measured on as little as possible."""
        fewest = {name: 1 for name in self.zoo.sizes.evaluation if name != "rollouts"}
        evaluation = self.zoo.evaluation(**fewest)
        for step, weights in zip(trained.steps, unstack_weights(trained.weights), strict=True):
            rollouts = self.zoo.evaluate(trained.run, step, weights, evaluation).rollouts
            if not all(bool(tensor.isfinite().all()) for tensor in rollouts.values()):
                return  # as in zoos: the run counts as diverged from this step on
            flat = flatten(self.zoo.architecture, weights).numpy()
            about = {"run": trained.run.run, "task": trained.run.task, "step": step, "split": split, "weights": flat}
            named = {f"rollouts.{name}": tensor.numpy() for name, tensor in rollouts.items()}
            yield {name: np.asarray(value) for name, value in {**about, **named}.items()}
