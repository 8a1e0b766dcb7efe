"""A task family of awkward sizes with continuous inputs, for the tests of trainers: nothing in it is a round number.

Sequences of T=7 steps of I=3 numbers in [-1, 1); the class to predict is the third of [-1, 1) that the first number
of the step before was in, so a network has to remember. Distinct, odd sizes: a swapped axis cannot pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from rnn_zoos.families.family import Column, Measured, TaskFamily
from rnn_zoos.generation.presets import Settings
from rnn_zoos.generation.trainers.trainer import Run
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.randomness import Purpose, random_bits, to_integers, to_uniform

STEPS, INPUTS, CLASSES = 7, 3, 3
BATCH, HIDDEN = 5, 13


@dataclass(frozen=True)
class NoEvaluation:
    """Nothing is measured."""


@dataclass(frozen=True)
class SyntheticSampler:
    """Batches of M runs. Task 0 is harmless; task u > 0 gives NaN as the inputs of update u (counted from 1)."""

    seed: int
    runs: Tensor
    tasks: Tensor
    batch_size: int

    def draw(self, first_update: int, num_updates: int) -> Tensor:
        """Draw K batches ahead: random words int64 [M, K, B, T, I], -1 where the task wants NaN."""
        updates = torch.arange(first_update, first_update + num_updates, device=self.runs.device)
        count = self.batch_size * STEPS * INPUTS
        words = random_bits(self.seed, self.runs, Purpose.DATA, updates, count, self.runs.device)
        words = words.view(len(self.runs), num_updates, self.batch_size, STEPS, INPUTS)
        poisoned = self.tasks[:, None] == updates + 1
        return words.masked_fill(poisoned[:, :, None, None, None], -1)

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Turn words [M, B, T, I] into inputs [M, B, T, I] and classes [M, B, T]."""
        inputs = (2 * to_uniform(drawn) - 1).masked_fill(drawn < 0, torch.nan)
        return inputs, to_integers(drawn[..., 0].clamp(min=0), CLASSES).roll(1, dims=-1)


class Synthetic(TaskFamily):
    """The family; it can be trained, not evaluated."""

    name = "synthetic"
    input_size = INPUTS
    output_size = CLASSES
    evaluation_type = NoEvaluation
    task_columns: ClassVar[Mapping[str, Column]] = MappingProxyType({})
    label_columns: ClassVar[Mapping[str, Column]] = MappingProxyType({})

    def assign_tasks(self, seed: int, runs: Tensor, stratified: bool = False) -> Tensor:
        """Deal every run the harmless task."""
        return torch.zeros_like(runs)

    def task_name(self, task: int) -> str:
        """Return the number."""
        return str(task)

    def task_values(self, task: int) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def task_of(self, values: Mapping[str, Any]) -> int:
        """Return the harmless task."""
        return 0

    def is_ood(self, tasks: Tensor) -> Tensor:
        """Return False for every task."""
        return torch.zeros_like(tasks, dtype=torch.bool)

    def sampler(
        self, seed: int, runs: Sequence[int], tasks: Sequence[int], batch_size: int, device: str = "cpu"
    ) -> SyntheticSampler:
        """Return the data of M runs."""
        numbers, poisons = torch.tensor(runs, device=device), torch.tensor(tasks, device=device)
        return SyntheticSampler(seed, numbers, poisons, batch_size)

    def evaluate(
        self, network: RecurrentNetwork, seed: int, run: int, task: int, step: int, evaluation: NoEvaluation
    ) -> Measured:
        """Measure nothing."""
        return Measured({}, {})

    def check_evaluation(self, evaluation: Any) -> None:
        """Accept all."""

    def check_rollouts(self, rollouts: Any) -> Iterator[str]:
        """Find nothing: there are none."""
        yield from ()

    def imported_rollout_shapes(self, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return nothing."""
        return {}

    def rollout_shapes(self, evaluation: NoEvaluation) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return nothing."""
        return {}


def synthetic_settings(cell: str = "lstm", num_layers: int = 2, **changes: Any) -> Settings:
    """Return settings of awkward sizes: B=5, H=13, 50 updates whose learning rate changes from one to the next."""
    values: dict[str, Any] = {
        "seed": 3,
        "runs": 100,
        "runs_per_shard": 100,
        "cell": cell,
        "num_layers": num_layers,
        "hidden_size": HIDDEN,
        "batch_size": BATCH,
        "snapshots": (0, 1, 17, 50),
        "learning_rate": {0: 0.01, 20: 0.003, 50: 0.0003},
        "weight_decay": (0, 0.1),
        "evaluation": {},
    }
    return Settings(**(values | changes))


def synthetic_runs(count: int, poisoned: Mapping[int, int] | None = None) -> list[Run]:
    """Return runs 0..count-1 with weight decays 0 and .1 in turn; `poisoned` says run -> update that meets NaN."""
    return [Run(number, (poisoned or {}).get(number, 0), 0.1 * (number % 2)) for number in range(count)]
