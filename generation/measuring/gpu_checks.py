"""Whether trainers for GPUs are right: gradients compared with autograd, trained weights with the loop trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.sequential_mnist import SequentialMnist
from rnn_zoos.generation.measuring.gpu_work import Rows, Unit
from rnn_zoos.generation.trainers.loop import LoopTrainer
from rnn_zoos.generation.trainers.stacked import StackedRunGroup, StackedTrainer
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun, Trainer
from rnn_zoos.generation.trainers.triton.trainer import TritonRunGroup, TritonTrainer
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.networks.weights import flatten

Methods = Mapping[str, Callable[[], Trainer]]
"""Name of a training method -> function that makes its trainer."""

FAMILIES: tuple[TaskFamily, ...] = (FormalLanguages(), SequentialMnist())
_GRADIENT_TOLERANCE = 1e-5  # relative to the largest element
_WEIGHT_TOLERANCE = 1e-3  # relative, in the Euclidean norm
TRAINED_UPDATES = 20
"""AdamW turns rounding errors of vanishing gradients into steps, and two right trainers separate exponentially.

`native` and `loop` differ by 3e-5 of the weights' norm after 20 and 30 updates of digits, by 8e-3 after 50, and by 0.5
after 100.
"""


@dataclass(frozen=True)
class Sizes:
    """The settings that a trainer reads (`trainer.TrainingSettings`), by default with the paper's sizes."""

    cell: str = "lstm"
    num_layers: int = 2
    hidden_size: int = 32
    batch_size: int = 32
    snapshots: tuple[int, ...] = (TRAINED_UPDATES,)
    learning_rate: Mapping[int, float] = field(default_factory=lambda: {0: 0.01, 10_000: 0.003, 20_000: 0.0003})
    seed: int = 0

    @property
    def num_updates(self) -> int:
        """The number of updates of one run."""
        return self.snapshots[-1]

    def architecture(self, family: TaskFamily) -> Architecture:
        """Return the architecture of every network."""
        return family.architecture(self.cell, self.num_layers, self.hidden_size)


def make_runs(family: TaskFamily, count: int, seed: int = 0) -> list[Run]:
    """Return runs 0 to count - 1 of a family, with the tasks that it assigns to them."""
    tasks = family.assign_tasks(seed, torch.arange(count)).tolist()
    return [Run(number, task, 1e-4) for number, task in enumerate(tasks)]


def final_weights(trainer: Trainer, family: TaskFamily, sizes: Sizes, runs: Sequence[Run]) -> list[Tensor]:
    """Train runs and return the last weights [P] of each, on the CPU: when it returns, the device is done."""
    architecture = sizes.architecture(family)
    trained: list[TrainedRun] = list(trainer.train(family, sizes, runs, lambda updates: None))
    return [flatten(architecture, {name: tensor[-1] for name, tensor in run.weights.items()}) for run in trained]


def check_gradients(methods: Methods, sizes: Sequence[Sizes], families: Sequence[TaskFamily]) -> Iterator[Unit]:
    """Yield units that measure how far loss and gradients of the first update are from those of autograd on the CPU."""
    for case in _cases(sizes, families):
        for name, make in methods.items():
            yield Unit(f"gradients, {case}, {name}", partial(_compare_gradients, name, make, case))


def check_training(methods: Methods, sizes: Sequence[Sizes], families: Sequence[TaskFamily]) -> Iterator[Unit]:
    """Yield units that measure how far final weights are from those of the loop trainer.

    They also check that a run has the same bits, whichever runs it is trained with.
    """
    for case in _cases(sizes, families):
        for name, make in methods.items():
            yield Unit(f"training, {case}, {name}", partial(_compare_training, name, make, case))


@dataclass(frozen=True)
class _Case:
    """What trainers are compared on: three runs of a family with networks of some sizes."""

    family: TaskFamily
    sizes: Sizes
    runs: list[Run]

    def __str__(self) -> str:
        return f"{self.family.name}, {self._sizes}"

    @property
    def _sizes(self) -> str:
        s = self.sizes
        return f"{s.cell} L={s.num_layers} H={s.hidden_size} B={s.batch_size}"

    def describe(self, method: str) -> dict[str, Any]:
        """Return the first columns of a row."""
        return {"zoo": self.family.name, "sizes": self._sizes, "way": method}

    @cached_property
    def first_gradients(self) -> list[tuple[float, Tensor]]:
        """Loss and flat gradient [P] of each run's first batch, by autograd on the CPU."""
        return [_autograd(self, run) for run in self.runs]

    @cached_property
    def trained(self) -> list[Tensor]:
        """The last weights [P] of each run, by the loop trainer."""
        return final_weights(LoopTrainer(), self.family, self.sizes, self.runs)


def _cases(sizes: Sequence[Sizes], families: Sequence[TaskFamily]) -> Iterator[_Case]:
    for family in families:
        for size in sizes:
            yield _Case(family, size, make_runs(family, 3))


def _compare_gradients(method: str, make: Callable[[], Trainer], case: _Case) -> Rows:
    expected = case.first_gradients
    losses, gradients = _first_gradients(make(), case)
    gradient_error = max(
        _relative_error(gradient, reference) for gradient, (_, reference) in zip(gradients, expected, strict=True)
    )
    loss_error = max(abs(loss.item() / reference - 1) for loss, (reference, _) in zip(losses, expected, strict=True))
    right = max(gradient_error, loss_error) < _GRADIENT_TOLERANCE
    return [{**case.describe(method), "loss": loss_error, "gradients": gradient_error, "right": right}]


def _autograd(case: _Case, run: Run) -> tuple[float, Tensor]:
    """Return loss and flat gradient [P] of a run's first batch."""
    architecture, seed = case.sizes.architecture(case.family), case.sizes.seed
    network = RecurrentNetwork(architecture, initial_weights(architecture, seed, run.run))
    sampler = case.family.sampler(seed, [run.run], [run.task], case.sizes.batch_size)
    inputs, targets = sampler.batch(sampler.draw(0, 1)[:, 0])
    loss = F.cross_entropy(network(inputs[0]).flatten(0, 1), targets.flatten())
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    named = zip((name for name, _ in network.named_parameters()), gradients, strict=True)
    return loss.item(), flatten(architecture, dict(named))


def _first_gradients(trainer: Trainer, case: _Case) -> tuple[Tensor, Tensor]:
    """Return losses [M] and gradients [M, P] of the first update."""
    if isinstance(trainer, TritonTrainer):
        launch = TritonRunGroup(
            case.family, case.sizes, case.runs, trainer.device, trainer.precision, trainer.num_warps
        )
        launch.advance(1)
        return launch.losses, launch.gradients[:, : launch.shape.num_parameters]
    assert isinstance(trainer, StackedTrainer)
    group = StackedRunGroup(case.family, case.sizes, case.runs, trainer.device)
    losses, gradients = group.losses_and_gradients()
    return losses, gradients[:, group.parameter_indices]


def _compare_training(method: str, make: Callable[[], Trainer], case: _Case) -> Rows:
    trainer = make()
    together = final_weights(trainer, case.family, case.sizes, case.runs)
    trainer.runs_at_once = 2
    grouped = final_weights(trainer, case.family, case.sizes, case.runs[::-1])[::-1]
    error = max(_distance(weights, reference) for weights, reference in zip(together, case.trained, strict=True))
    same_bits = all(torch.equal(first, second) for first, second in zip(together, grouped, strict=True))
    row = {**case.describe(method), "updates": case.sizes.num_updates, "weights": error, "same bits": same_bits}
    return [row | {"right": (same_bits or not trainer.same_bits) and error < _WEIGHT_TOLERANCE}]


def _relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found.cpu() - expected).abs().max() / expected.abs().max()).item()


def _distance(found: Tensor, expected: Tensor) -> float:
    return float((found.cpu() - expected).norm() / expected.norm())
