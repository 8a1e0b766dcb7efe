"""Groups of shards whose runs a GPU trains together, and trained runs in a form that can be sent to other processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from rnn_zoos.format.files import Array
from rnn_zoos.generation.plan import Plan, ShardPlan
from rnn_zoos.generation.trainers.backends import make_trainer
from rnn_zoos.generation.trainers.trainer import Report, Run, TrainedRun


@dataclass(frozen=True)
class ShardGroup:
    """Shards whose runs a GPU trains together."""

    shards: tuple[ShardPlan, ...]

    @property
    def num_runs(self) -> int:
        """The number of runs of all shards."""
        return sum(len(shard.table) for shard in self.shards)

    def __str__(self) -> str:
        return f"{self.shards[0]} and {len(self.shards) - 1} more"


def group_shards(pending: Sequence[ShardPlan], runs_at_once: int) -> Iterator[ShardGroup]:
    """Yield shards in groups of at most `runs_at_once` runs; a shard with more runs is a group of its own."""
    group: list[ShardPlan] = []
    for shard in pending:
        if group and sum(len(member.table) for member in [*group, shard]) > runs_at_once:
            yield ShardGroup(tuple(group))
            group = []
        group.append(shard)
    if group:
        yield ShardGroup(tuple(group))


@dataclass(frozen=True)
class RunArrays:
    """A `TrainedRun` with numpy arrays: torch sends tensors by shared memory, of which containers have little."""

    run: Run
    steps: tuple[int, ...]
    weights: dict[str, Array]
    diverged: bool

    @classmethod
    def of(cls, trained: TrainedRun) -> RunArrays:
        """Return a trained run with arrays."""
        weights = {name: tensor.numpy() for name, tensor in trained.weights.items()}
        return cls(trained.run, trained.steps, weights, trained.diverged)

    def as_trained_run(self) -> TrainedRun:
        """Return the trained run with tensors. Inverse of `of`."""
        weights = {name: torch.from_numpy(array) for name, array in self.weights.items()}
        return TrainedRun(self.run, self.steps, weights, self.diverged)


def train_together(
    plan: Plan, runs_of_shards: Sequence[Sequence[Run]], report: Report, device: str | None, runs_at_once: int | None
) -> list[list[RunArrays]]:
    """Train the runs of several shards together on a device, and return the trained runs of every shard."""
    trainer = make_trainer(plan.backend, device, runs_at_once)
    all_runs = [run for runs in runs_of_shards for run in runs]
    trained = trainer.train(plan.family, plan.settings, all_runs, report)
    return [[RunArrays.of(run) for run in islice(trained, len(runs))] for runs in runs_of_shards]
