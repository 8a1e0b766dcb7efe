"""The interface of trainers: what a trainer receives, what it returns, and what all of them compute alike.

A new trainer is a class with the members of `Trainer`. It takes its batches from the family's `Sampler`, its initial
weights from `initial_weights`, and its learning rates from `learning_rate`, so that it trains the same networks as all
others up to rounding. `loop.py` is the shortest example and the reference implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.families.family import Measurement, TaskFamily
from rnn_zoos.families.sampler import Sampler
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.weights import unflatten

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Hyperparameters of AdamW: decay rates of the two moments, and the term that keeps the denominator positive."""

Report = Callable[[int], None]
"""Receives progress: called with the number of updates done since the last call, over all runs."""

REPORT_EVERY = 50
"""Updates of a run between two reports."""


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        run: Its number; with the seed of the zoo it determines the initial weights and the data.
        task: The number of its task, as defined by the task family.
        weight_decay: The weight decay of AdamW.
        architecture: The number of its architecture among those of the zoo. Trainers are given runs of one.
        rate_scale: Factor of the learning rates of the zoo's schedule.
        initial_scale: Factor of the initial weights.
        batch_size: Sequences per update; 0 for the number in the settings.
        num_updates: Updates of the run, one of the zoo's snapshots; 0 for the last of them.
    """

    run: int
    task: int
    weight_decay: float
    architecture: int = 0
    rate_scale: float = 1.0
    initial_scale: float = 1.0
    batch_size: int = 0
    num_updates: int = 0


class TrainingSettings(Protocol):
    """The part of `settings.Settings` that trainers read.

    A protocol, because training needs only torch and numpy, and presets need pydantic and YAML.
    """

    @property
    def seed(self) -> int:
        """The seed of the zoo."""
        ...

    @property
    def batch_size(self) -> int:
        """B, sequences per update."""
        ...

    @property
    def snapshots(self) -> tuple[int, ...]:
        """Steps [S] at which weights are kept, ascending; step 0 is the initial network."""
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
        """Return the architecture that all networks share."""
        ...


@dataclass(frozen=True)
class _OwnSettings:
    """The settings of a zoo with the batch size and the snapshots of one run; see `settings_of_run`."""

    of_zoo: TrainingSettings
    batch_size: int
    snapshots: tuple[int, ...]

    @property
    def seed(self) -> int:
        return self.of_zoo.seed

    @property
    def num_updates(self) -> int:
        return self.snapshots[-1]

    @property
    def learning_rate(self) -> Mapping[int, float]:
        return self.of_zoo.learning_rate

    def architecture(self, family: TaskFamily) -> Architecture:
        return self.of_zoo.architecture(family)


def settings_of_run(settings: TrainingSettings, run: Run) -> TrainingSettings:
    """Return the settings of a zoo with the batch size, the number of updates and the snapshots of one run."""
    batch_size = run.batch_size or settings.batch_size
    if batch_size == settings.batch_size and run.num_updates in (0, settings.num_updates):
        return settings
    last = run.num_updates or settings.num_updates
    return _OwnSettings(settings, batch_size, tuple(step for step in settings.snapshots if step <= last))


def first_sampler(family: TaskFamily, settings: TrainingSettings) -> Sampler:
    """Return the sampler of the first run of a zoo, whose batches have the shapes of all."""
    task = int(family.assign_tasks(settings.seed, torch.zeros(1, dtype=torch.int64))[0])
    return family.sampler(settings.seed, [0], [task], settings.batch_size)


def total_updates(settings: TrainingSettings, runs: Sequence[Run]) -> int:
    """Return the number of updates of all runs together."""
    return sum(run.num_updates or settings.num_updates for run in runs)


@dataclass(frozen=True)
class TrainedRun:
    """The snapshots of one run; all weights are finite.

    Attributes:
        run: The run.
        steps: The steps [S] of its snapshots, ascending: those of the settings, or fewer if the run diverged.
        weights: Stacked weights, name -> float32 [S, *shape], on the CPU.
        diverged: Whether the run met a non-finite loss or weight. The snapshots stop before that.
        measurements: What `TaskFamily.evaluate` returns for each snapshot, if a device has measured them; trainers
            leave that to others.
    """

    run: Run
    steps: tuple[int, ...]
    weights: dict[str, Tensor]
    diverged: bool
    measurements: tuple[Measurement, ...] | None = None


class Trainer(Protocol):
    """Trains the runs of a zoo on one kind of hardware; `make_trainer` returns the trainer of a backend.

    The result of a run depends only on the settings, the family and the run itself: not on the runs trained with it,
    their order, the number of runs at once, or the other snapshots. Engines rely on this when they distribute, resume
    and verify runs.

    Attributes:
        runs_at_once: How many runs it trains best together, in one process for the whole device. None if it trains
            best with one process per core.
        same_bits: Whether that holds for every bit of a result. Otherwise its rounding depends on the runs trained with
            it, as that of `stacked` on a GPU.

    Example:
        >>> from rnn_zoos.generation import make_plan, make_trainer
        >>> plan = make_plan("formal-languages", "demo")
        >>> settings = plan.settings.model_copy(update={"snapshots": (0, 10)})
        >>> run, _ = next(iter(plan.runs()))
        >>> trainer = make_trainer("loop")
        >>> (trained,) = trainer.train(plan.family, settings, [run], report=lambda updates: None)
        >>> trained.steps
        (0, 10)
    """

    runs_at_once: int | None
    same_bits: bool

    def train(
        self, family: TaskFamily, settings: TrainingSettings, runs: Sequence[Run], report: Report
    ) -> Iterator[TrainedRun]:
        """Train runs and yield their results in the given order, each as soon as it is available.

        Every run does its number of updates (`settings_of_run`) of AdamW with `BETAS` and `EPSILON` on the mean
        cross-entropy of all B * T targets of a batch. Update k (counted from 0) uses batch k of the run's sampler and
        the rate `learning_rate(settings, k) * run.rate_scale`. A run that meets a non-finite loss, or non-finite
        weights at a snapshot, has diverged: it keeps its earlier snapshots and needs no further updates.

        Args:
            family: The task family, which provides the data and the sizes of inputs and outputs.
            settings: The settings of the zoo.
            runs: The runs to train, all of the architecture of the settings; may be empty.
            report: Called as training proceeds, with the number of updates done since the last call. The numbers add
                up to `total_updates(settings, runs)`: updates that a diverged run no longer needs count as done.

        Yields:
            One result per run.

        Raises:
            BackendError: If the trainer does not support these sizes.
        """
        ...


def trained_run(architecture: Architecture, run: Run, snapshots: Mapping[int, Tensor], *, diverged: bool) -> TrainedRun:
    """Return the result of a run from its snapshots: step -> finite flat weights [P], steps ascending."""
    flat = torch.stack([*snapshots.values()]) if snapshots else torch.empty(0, architecture.num_parameters)
    return TrainedRun(run, tuple(snapshots), unflatten(architecture, flat), diverged)


def learning_rate(settings: TrainingSettings, update: int) -> float:
    """Return the learning rate of an update (0 is the first): linear between the preset's points, constant outside."""
    updates = sorted(settings.learning_rate)
    return float(np.interp(update, updates, [settings.learning_rate[point] for point in updates]))


def adamw_rates(settings: TrainingSettings, updates: Sequence[int], scales: Sequence[float]) -> Tensor:
    """Return factors of AdamW for M runs at K updates t - 1.

    Args:
        settings: The settings of the zoo.
        updates: Numbers of the K updates, counted from 0.
        scales: `rate_scale` of the M runs.

    Returns:
        float32 [M, K, 3]: rate, rate / (1 - beta1^t), sqrt(1 - beta2^t).
    """
    rates = []
    for update in updates:
        rate, step = learning_rate(settings, update), update + 1
        rates.append([rate, rate / (1 - BETAS[0] ** step), (1 - BETAS[1] ** step) ** 0.5])
    scaled = [[scale, scale, 1.0] for scale in scales]
    return (torch.tensor(scaled, dtype=torch.float64)[:, None] * torch.tensor(rates, dtype=torch.float64)).float()


def segments(settings: TrainingSettings, longest: int) -> Iterator[tuple[int, int]]:
    """Yield consecutive ranges of updates [first, end) of at most `longest` updates that end at every snapshot."""
    first = 0
    for snapshot in settings.snapshots:
        while first < snapshot:
            end = min(first + longest, snapshot)
            yield first, end
            first = end
