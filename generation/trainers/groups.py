"""Training many runs at once, update by update: what the trainers that do it have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rnn_zoos.errors import DeviceError
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.generation.trainers.trainer import (
    REPORT_EVERY,
    Report,
    Run,
    TrainedRun,
    TrainingSettings,
    segments,
    trained_run,
)
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.weights import flatten

DRAWN_BYTES = 2**28
"""Of batches drawn ahead, all runs together; drawing takes up to as much again."""
RUNS_AT_ONCE = 1000
_DRAWN_AHEAD = 1000  # updates at most: enough that the fixed cost of drawing vanishes


class RunGroup(ABC):
    """M runs in training on a device.

    diverged_at int64 [M]: the update at which a run met a non-finite loss or the snapshot at which it had a non-finite
    weight, from which on its weights do not change; num_updates + 1 (`never`) as long as it did not.
    """

    def __init__(
        self, family: TaskFamily, settings: TrainingSettings, runs: Sequence[Run], device: torch.device
    ) -> None:
        self.settings = settings
        self.named = settings.architecture(family)
        self.never = torch.full((len(runs),), settings.num_updates + 1, device=device)
        self.diverged_at = self.never.clone()
        numbers, tasks = [run.run for run in runs], [run.task for run in runs]
        self.sampler = family.sampler(settings.seed, numbers, tasks, settings.batch_size, str(device))

    @property
    def alive(self) -> Tensor:
        """Which runs [M] have not diverged."""
        return self.diverged_at == self.never

    def mark(self, diverged: Tensor, step: int | Tensor) -> None:
        """Note that runs [M] diverged at this step, if they had not before."""
        self.diverged_at.copy_(torch.minimum(self.diverged_at, torch.where(diverged, step, self.never)))

    def ahead(self, update_bytes: int) -> Iterator[range]:
        """Yield ranges of updates to draw at once, of which each takes `update_bytes` for all runs."""
        count = max(1, min(_DRAWN_AHEAD, DRAWN_BYTES // update_bytes))
        for first in range(0, self.settings.num_updates, count):
            yield range(first, min(first + count, self.settings.num_updates))

    @abstractmethod
    def advance(self, updates: int) -> None:
        """Do the next updates of all runs."""

    @abstractmethod
    def weights(self) -> Tensor:
        """Return a copy of the weights [M, P] of all runs, in the architecture's order, on the device."""

    def snapshot(self, step: int) -> Tensor:
        """Return the weights [M, P] on the CPU; mark runs with one that is not finite as diverged at this step."""
        weights = self.weights()
        self.mark(~weights.isfinite().all(dim=1), step)
        return weights.cpu()


def initial_parameters(architecture: Architecture, settings: TrainingSettings, runs: Sequence[Run]) -> Tensor:
    """Return the flat weights [M, P] of runs before their first update, on the CPU."""
    return torch.stack([flatten(architecture, initial_weights(architecture, settings.seed, run.run)) for run in runs])


def best_at_once(device: torch.device) -> int | None:
    """Return how many runs fill a device: a large GPU several times over, so that it does not wait for the last ones.

    None on a CPU, where a process per core does better.
    """
    return RUNS_AT_ONCE if device.type == "cuda" else None


def in_groups(runs: Sequence[Run], at_once: int | None) -> Iterator[Sequence[Run]]:
    """Yield the runs in order, `at_once` at a time; None is all."""
    size = at_once or max(len(runs), 1)
    for start in range(0, len(runs), size):
        yield runs[start : start + size]


def train_group(stack: RunGroup, runs: Sequence[Run], report: Report) -> list[TrainedRun]:
    """Do all updates of a stack of these runs, and return what became of them, in order."""
    settings = stack.settings
    snapshots = {0: stack.snapshot(0)} if 0 in settings.snapshots else {}
    for first, end in segments(settings, REPORT_EVERY):
        stack.advance(end - first)
        if end in settings.snapshots:
            snapshots[end] = stack.snapshot(end)
        if not stack.alive.any():  # which waits for the device, so that reports tell the truth
            report(len(runs) * (settings.num_updates - first))
            break
        report(len(runs) * (end - first))
    return _results(stack, runs, snapshots)


def _results(stack: RunGroup, runs: Sequence[Run], snapshots: dict[int, Tensor]) -> list[TrainedRun]:
    """Return each run with its snapshots from before it diverged: snapshots step -> [M, P]."""
    trained = []
    for number, (run, end) in enumerate(zip(runs, stack.diverged_at.tolist(), strict=True)):
        own = {step: weights[number] for step, weights in snapshots.items() if step < end}
        trained.append(trained_run(stack.named, run, own, diverged=end <= stack.settings.num_updates))
    return trained


def existing_device(name: str) -> torch.device:
    """Return the torch device of this name. Raises DeviceError, which names those that there are."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: what torch without CUDA raises
        known = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        raise DeviceError(
            f"There is no device {name!r} here ({str(error).splitlines()[0]}). Possible: {', '.join(['cpu', *known])}."
        ) from error
    return device
