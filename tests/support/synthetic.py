"""A small task family with continuous inputs for the tests of trainers.

Sequences have T=7 steps of I=3 numbers in [-1, 1). The target class is the third of [-1, 1) that contains the first
number of the previous step, so a network has to remember it. All sizes are odd and most differ, so that a swapped axis
is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from rnn_zoos.families.columns import Column
from rnn_zoos.families.family import Measurement, TaskFamily
from rnn_zoos.generation.settings import Settings
from rnn_zoos.generation.trainers.trainer import Run
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.randomness import Purpose, random_bits, to_integers, to_uniform

STEPS, INPUTS, CLASSES = 7, 3, 3
BATCH, HIDDEN = 5, 13


@dataclass(frozen=True)
class NoEvaluation:
    """No sizes: this family is never evaluated."""


@dataclass(frozen=True)
class SyntheticSampler:
    """Batches of M runs. Task 0 is harmless; with task u > 0 the inputs of update u (counted from 1) are NaN."""

    seed: int
    runs: Tensor
    tasks: Tensor
    batch_size: int

    def draw(self, first_update: int, num_updates: int) -> Tensor:
        """Draw K batches: random words int64 [M, K, B, T, I], -1 where the inputs are to be NaN."""
        updates = torch.arange(first_update, first_update + num_updates, device=self.runs.device)
        count = self.batch_size * STEPS * INPUTS
        words = random_bits(self.seed, self.runs, Purpose.DATA, updates, count, self.runs.device)
        words = words.view(len(self.runs), num_updates, self.batch_size, STEPS, INPUTS)
        poisoned = self.tasks[:, None] == updates + 1
        return words.masked_fill(poisoned[:, :, None, None, None], -1)

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs [M, B, T, I] and classes [M, B, T] of words [M, B, T, I]."""
        inputs = (2 * to_uniform(drawn) - 1).masked_fill(drawn < 0, torch.nan)
        return inputs, to_integers(drawn[..., 0].clamp(min=0), CLASSES).roll(1, dims=-1)


class Synthetic(TaskFamily):
    """The task family, which can be trained but not evaluated."""

    name = "synthetic"
    input_size = INPUTS
    output_size = CLASSES
    evaluation_type = NoEvaluation
    task_columns: ClassVar[Mapping[str, Column]] = MappingProxyType({})
    label_columns: ClassVar[Mapping[str, Column]] = MappingProxyType({})

    def assign_tasks(self, seed: int, runs: Tensor, stratified: bool = False) -> Tensor:
        """Assign the harmless task to every run."""
        return torch.zeros_like(runs)

    def task_name(self, task: int) -> str:
        """Return the number of the task."""
        return str(task)

    def task_values(self, task: int) -> dict[str, Any]:
        """Return no values: there are no task columns."""
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
        """Return a sampler for M runs."""
        numbers, poisons = torch.tensor(runs, device=device), torch.tensor(tasks, device=device)
        return SyntheticSampler(seed, numbers, poisons, batch_size)

    def evaluate(
        self, network: RecurrentNetwork, seed: int, run: int, task: int, step: int, evaluation: NoEvaluation
    ) -> Measurement:
        """Return no labels and no rollouts."""
        return Measurement({}, {})

    def check_evaluation(self, evaluation: Any) -> None:
        """Accept everything."""

    def check_rollouts(self, rollouts: Any) -> Iterator[str]:
        """Yield nothing: there are no rollouts."""
        yield from ()

    def imported_rollout_shapes(self, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return no shapes: there are no rollouts."""
        return {}

    def rollout_shapes(self, evaluation: NoEvaluation) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return no shapes: there are no rollouts."""
        return {}


def synthetic_settings(cell: str = "lstm", num_layers: int = 2, **changes: Any) -> Settings:
    """Return settings with B=5, H=13 and 50 updates, whose learning rate changes at every update."""
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
    """Return runs 0..count-1 with alternating weight decays 0 and 0.1.

    `poisoned` maps a run to the update whose inputs are NaN.
    """
    return [Run(number, (poisoned or {}).get(number, 0), 0.1 * (number % 2)) for number in range(count)]
