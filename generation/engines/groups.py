"""Groups of shards whose runs a device trains together, and trained runs in a form that Ray can send."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rnn_zoos.families.family import Measurement
from rnn_zoos.format.files import Array
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.trainers.backends import make_trainer
from rnn_zoos.generation.trainers.trainer import Report, Run, TrainedRun, total_updates
from rnn_zoos.generation.writing.handover import TrainedShard
from rnn_zoos.generation.writing.measured import measure_runs, measures_stacks
from rnn_zoos.generation.writing.provenance import provenance
from rnn_zoos.generation.writing.workspace import Workspace


@dataclass(frozen=True)
class ShardGroup:
    """Shards whose runs, of one architecture, a GPU trains together."""

    shards: tuple[ShardPlan, ...]

    @property
    def num_runs(self) -> int:
        """The number of runs of all shards."""
        return sum(len(shard.table) for shard in self.shards)

    def __str__(self) -> str:
        return f"{self.shards[0]} and {len(self.shards) - 1} more"


def group_shards(pending: Sequence[ShardPlan], runs_at_once: int) -> Iterator[ShardGroup]:
    """Yield shards of one architecture in groups of at most `runs_at_once` runs; a larger shard is its own group."""
    for architecture in sorted({shard.architecture for shard in pending}):
        group: list[ShardPlan] = []
        for shard in pending:
            if shard.architecture != architecture:
                continue
            if group and sum(len(member.table) for member in [*group, shard]) > runs_at_once:
                yield ShardGroup(tuple(group))
                group = []
            group.append(shard)
        yield ShardGroup(tuple(group))


def updates_of(workspace: Workspace, shard: ShardPlan) -> int:
    """Return the number of updates of the missing runs of a shard."""
    return total_updates(workspace.plan.settings, workspace.missing_runs(shard))


@dataclass(frozen=True)
class RunArrays:
    """A `TrainedRun` with numpy arrays: torch sends tensors by shared memory, of which containers have little."""

    run: Run
    steps: tuple[int, ...]
    weights: dict[str, Array]
    diverged: bool
    measurements: list[tuple[dict[str, float], dict[str, Array]]] | None = None

    @classmethod
    def of(cls, trained: TrainedRun) -> RunArrays:
        """Return a trained run with arrays."""
        weights, measured = _arrays(trained.weights), trained.measurements
        measurements = None if measured is None else [(dict(m.labels), _arrays(m.rollouts)) for m in measured]
        return cls(trained.run, trained.steps, weights, trained.diverged, measurements)

    def as_trained_run(self) -> TrainedRun:
        """Return the trained run with tensors. Inverse of `of`."""
        measured = self.measurements
        measurements = None if measured is None else tuple(Measurement(labels, _tensors(r)) for labels, r in measured)
        return TrainedRun(self.run, self.steps, _tensors(self.weights), self.diverged, measurements)


@dataclass(frozen=True)
class ShardArrays:
    """A `TrainedShard` with numpy arrays."""

    runs: list[RunArrays]
    made: Mapping[str, Any]
    seconds: float

    @classmethod
    def of(cls, trained: TrainedShard) -> ShardArrays:
        """Return the trained runs of a shard with arrays."""
        return cls([RunArrays.of(run) for run in trained.runs], trained.made, trained.seconds)

    def as_trained_shard(self) -> TrainedShard:
        """Return the trained runs with tensors. Inverse of `of`."""
        return TrainedShard([run.as_trained_run() for run in self.runs], self.made, self.seconds)


def _arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def train_together(
    plan: Plan,
    runs_of_shards: Sequence[Sequence[Run]],
    report: Report,
    device: str | None,
    runs_at_once: int | None,
    measure: bool | None = None,
) -> Iterator[TrainedShard]:
    """Train the runs of several shards together on a device, and yield the runs of one shard after the other.

    Args:
        plan: The plan of the zoo.
        runs_of_shards: The runs of every shard, all of one architecture.
        report: See `Trainer.train`.
        device: The device, as in `make_trainer`.
        runs_at_once: How many runs the device trains at once, as in `make_trainer`.
        measure: Whether the device measures the runs, too; None for the choice of `measures_stacks`.
    """
    trainer, started = make_trainer(plan.backend, device, runs_at_once), time.monotonic()
    all_runs = [run for runs in runs_of_shards for run in runs]
    settings = plan.settings.of_architecture(all_runs[0].architecture if all_runs else 0)
    trained = deque(trainer.train(plan.family, settings, all_runs, report))
    seconds_per_run = (time.monotonic() - started) / max(len(all_runs), 1)
    place: torch.device = getattr(trainer, "device", torch.device("cpu"))
    measures = measures_stacks(plan.family, place) if measure is None else measure
    if place.type == "cuda":
        torch.cuda.empty_cache()  # what training used is cut into pieces of other sizes
    made = provenance(plan.backend, device, measures=measures)
    for runs in runs_of_shards:
        started, of_shard = time.monotonic(), [trained.popleft() for _ in runs]
        if measures:
            of_shard = measure_runs(plan, of_shard, place, report)
        yield TrainedShard(of_shard, made, len(runs) * seconds_per_run + time.monotonic() - started)
