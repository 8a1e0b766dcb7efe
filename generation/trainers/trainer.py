"""What every trainer is given and gives back, whatever it runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.families.family import TaskFamily
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.weights import unflatten

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Of AdamW."""

Report = Callable[[int], None]
"""Called with the number of updates done since it was last called."""

REPORT_EVERY = 50
"""Updates of a run between two reports."""


@dataclass(frozen=True)
class Run:
    """One training run: its number, its task (a number that the family understands), its hyperparameters."""

    run: int
    task: int
    weight_decay: float


class TrainingSettings(Protocol):
    """What a trainer reads of `presets.Settings`; training needs torch and numpy alone, presets pydantic and YAML."""

    @property
    def seed(self) -> int:
        """Of the zoo."""
        ...

    @property
    def batch_size(self) -> int:
        """Sequences in an update."""
        ...

    @property
    def snapshots(self) -> tuple[int, ...]:
        """Steps at which weights are kept, ascending."""
        ...

    @property
    def num_updates(self) -> int:
        """Updates of one run: the last snapshot."""
        ...

    @property
    def learning_rate(self) -> Mapping[int, float]:
        """Points (update, rate) between which the rate is linear."""
        ...

    def architecture(self, family: TaskFamily) -> Architecture:
        """Return the architecture of every network."""
        ...


@dataclass(frozen=True)
class TrainedRun:
    """The snapshots of one run: steps [S], weights name -> [S, *shape], all finite.

    If the run diverged (a non-finite loss or weight), the snapshots stop before that.
    """

    run: Run
    steps: tuple[int, ...]
    weights: dict[str, Tensor]
    diverged: bool


def trained_run(architecture: Architecture, run: Run, snapshots: Mapping[int, Tensor], *, diverged: bool) -> TrainedRun:
    """Return the result of a run from its snapshots: step -> flat weights [P], steps ascending, all finite."""
    flat = torch.stack([*snapshots.values()]) if snapshots else torch.empty(0, architecture.num_parameters)
    return TrainedRun(run, tuple(snapshots), unflatten(architecture, flat), diverged)


class Trainer(Protocol):
    """Trains runs of one zoo; a run's result depends on its own name alone, never on what it is trained beside.

    at_once: how many runs it trains best together, in one process for the whole machine; None if it is best used by a
    process per core.
    """

    at_once: int | None

    def train(
        self, family: TaskFamily, settings: TrainingSettings, runs: Sequence[Run], report: Report
    ) -> Iterator[TrainedRun]:
        """Yield the trained runs, in order."""
        ...


def learning_rate(settings: TrainingSettings, update: int) -> float:
    """Return the learning rate of an update (0 is the first): linear between the preset's points, constant outside."""
    updates = sorted(settings.learning_rate)
    return float(np.interp(update, updates, [settings.learning_rate[point] for point in updates]))


def adamw_rates(settings: TrainingSettings, updates: Sequence[int]) -> Tensor:
    """Return what AdamW needs at each of K updates, [K, 3]: rate; rate / (1 - beta1^t); sqrt(1 - beta2^t)."""
    rates = []
    for update in updates:
        rate, step = learning_rate(settings, update), update + 1
        rates.append([rate, rate / (1 - BETAS[0] ** step), (1 - BETAS[1] ** step) ** 0.5])
    return torch.tensor(rates)


def segments(settings: TrainingSettings, longest: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of updates (first, end) that end at every snapshot and are no longer than `longest`."""
    first = 0
    for snapshot in settings.snapshots:
        while first < snapshot:
            end = min(first + longest, snapshot)
            yield first, end
            first = end
