"""What the trainers of many runs at once share: a group of runs in training, update by update, on one device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from rnn_zoos.families.family import TaskFamily
from rnn_zoos.generation.trainers.trainer import (
    REPORT_EVERY,
    Report,
    Run,
    TrainedRun,
    TrainingSettings,
    segments,
    settings_of_run,
    trained_run,
)
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.weights import flatten

Item = TypeVar("Item")

DRAWN_BYTES = 2**28
"""Bytes of the batches drawn ahead for all runs together; drawing temporarily takes up to as much again."""
RUNS_AT_ONCE = 1000
_DRAWN_AHEAD = 1000  # updates at most: enough that the fixed cost of drawing is negligible


class RunGroup(ABC):
    """M runs in training on a device.

    Attributes:
        architecture: The architecture of every network.
        sampler: The data of the M runs.
        diverged_at: int64 [M]: the update at which a run met a non-finite loss, or the snapshot at which it had a
            non-finite weight. The weights of a run do not change from then on. `never` for the other runs.
        never: int64 [M], num_updates + 1.
    """

    def __init__(
        self, family: TaskFamily, settings: TrainingSettings, runs: Sequence[Run], device: torch.device
    ) -> None:
        self.settings = settings
        self.architecture = settings.architecture(family)
        self.never = torch.full((len(runs),), settings.num_updates + 1, device=device)
        self.diverged_at = self.never.clone()
        self.rate_scales = [run.rate_scale for run in runs]
        numbers, tasks = [run.run for run in runs], [run.task for run in runs]
        self.sampler = family.sampler(settings.seed, numbers, tasks, settings.batch_size, str(device))

    @property
    def alive(self) -> Tensor:
        """Which runs [M] have not diverged."""
        return self.diverged_at == self.never

    def mark_diverged(self, diverged: Tensor, step: int | Tensor) -> None:
        """Record that the runs of the mask `diverged` [M] diverged at this step, unless they had before."""
        self.diverged_at.copy_(torch.minimum(self.diverged_at, torch.where(diverged, step, self.never)))

    def updates_drawn_together(self, update_bytes: int) -> list[range]:
        """Return consecutive ranges of updates to draw at once; one update takes `update_bytes` for all runs.

        Not a generator: one that a group keeps would keep the group, with its memory on a GPU, after its last use.
        """
        count, updates = max(1, min(_DRAWN_AHEAD, DRAWN_BYTES // update_bytes)), range(self.settings.num_updates)
        return [updates[first : first + count] for first in updates[::count]]

    @abstractmethod
    def advance(self, updates: int) -> None:
        """Do the next updates of all runs."""

    @abstractmethod
    def weights(self) -> Tensor:
        """Return a copy of the flat weights [M, P] of all runs on the device."""

    def snapshot(self, step: int) -> Tensor:
        """Return the flat weights [M, P] on the CPU; mark runs with a non-finite one as diverged at this step."""
        weights = self.weights()
        self.mark_diverged(~weights.isfinite().all(dim=1), step)
        return weights.cpu()


def initial_parameters(architecture: Architecture, settings: TrainingSettings, runs: Sequence[Run]) -> Tensor:
    """Return the flat weights [M, P] of runs before their first update, on the CPU."""
    initial = (initial_weights(architecture, settings.seed, run.run, run.initial_scale) for run in runs)
    return torch.stack([flatten(architecture, weights) for weights in initial])


def default_runs_at_once(device: torch.device) -> int | None:
    """Return how many runs keep a device busy: enough to fill a large GPU several times over.

    With fewer, a GPU would idle while the last programs finish. None on a CPU, where a process per core is faster.
    """
    return RUNS_AT_ONCE if device.type == "cuda" else None


def in_groups(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield items in order, `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


TrainGroup = Callable[[TrainingSettings, Sequence[Run]], list[TrainedRun]]
"""Trains runs that have the same settings."""


def train_in_groups(
    settings: TrainingSettings, runs: Sequence[Run], runs_at_once: int | None, train: TrainGroup
) -> Iterator[TrainedRun]:
    """Train runs together that have the same batch size and number of updates, and yield the results in order.

    Args:
        settings: The settings of the zoo.
        runs: The runs.
        runs_at_once: How many are trained together at most; None means all.
        train: Trains one group.
    """
    alike: dict[tuple[int, int], list[int]] = {}
    for position, run in enumerate(runs):
        own = settings_of_run(settings, run)
        alike.setdefault((own.batch_size, own.num_updates), []).append(position)
    trained: dict[int, TrainedRun] = {}
    next_position = 0
    for positions in alike.values():
        own = settings_of_run(settings, runs[positions[0]])
        for group in in_groups(positions, runs_at_once or len(positions)):
            trained |= zip(group, train(own, [runs[position] for position in group]), strict=True)
            while next_position in trained:
                yield trained.pop(next_position)
                next_position += 1


def train_group(group: RunGroup, runs: Sequence[Run], report: Report) -> list[TrainedRun]:
    """Do all updates of a group, and return the results of its runs, in order.

    Args:
        group: The group, before its first update.
        runs: The runs it was made of.
        report: See `Trainer.train`.
    """
    settings = group.settings
    snapshots = {0: group.snapshot(0)} if 0 in settings.snapshots else {}
    for first, end in segments(settings, REPORT_EVERY):
        group.advance(end - first)
        if end in settings.snapshots:
            snapshots[end] = group.snapshot(end)
        if not group.alive.any():  # waits for the device, so no update is reported before it is done
            report(len(runs) * (settings.num_updates - first))
            break
        report(len(runs) * (end - first))
    return _results(group, runs, snapshots)


def _results(group: RunGroup, runs: Sequence[Run], snapshots: dict[int, Tensor]) -> list[TrainedRun]:
    """Return each run with its snapshots from before it diverged; snapshots: step -> [M, P]."""
    trained = []
    for number, (run, end) in enumerate(zip(runs, group.diverged_at.tolist(), strict=True)):
        of_run = {step: weights[number] for step, weights in snapshots.items() if step < end}
        trained.append(trained_run(group.architecture, run, of_run, diverged=end <= group.settings.num_updates))
    return trained
