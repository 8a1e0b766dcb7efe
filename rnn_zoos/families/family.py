"""What a family of tasks has to say: how tasks are dealt and split, how batches are drawn, what is measured.

A task is a whole number below 2**32; its family knows what the number means. The two families are
`rnn_zoos.families.formal_languages` and `rnn_zoos.families.sequential_mnist`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.randomness import Purpose, fixed_hash, permutation, random_bits, to_integers

SPLITS = ("train", "validation", "test", "ood")
"""In the order of the shards. validation and test: unseen tasks of the same kind; ood: tasks of another kind."""

_SPLIT_SALT = 291  # the first with which the 191 languages that are not ood fall 153 / 19 / 19


@dataclass(frozen=True)
class Column:
    """A column of the index: its Arrow type by name, what it says, and its unit."""

    dtype: str
    description: str
    unit: str = ""


PLAN_COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "run": Column("int32", "number of the training run; all snapshots of a run share it"),
        "step": Column("int32", "number of updates done; 0 is the untouched initialisation", "updates"),
        "split": Column("string", "train, validation, test or ood; a function of the task alone"),
        "task": Column("string", "name of the task"),
        "weight_decay": Column("float32", "weight decay of AdamW"),
        "diverged": Column("bool", "the run met a non-finite loss or weight later on; this snapshot is finite"),
    }
)
PLACE_COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "shard": Column("int32", "number of the shard, within the split, that holds the weights"),
        "row": Column("int32", "row of the weights and rollouts in that shard"),
    }
)

ORIGIN_COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "original_run": Column("int32", "number of the run in the source; runs of its parts may share it"),
        "original_row": Column("int32", "row of the snapshot in the source's arrays, its parts one after the other"),
        "original_step": Column("int32", "step as the source counts; step s of the paper's code is after s+1 updates"),
    }
)
"""Further columns of a zoo that was imported instead of made here: where a snapshot comes from."""


class Sampler(Protocol):
    """The training data of M runs, addressed by the number of the update (0 is the first), on any device.

    Every trainer takes its batches from here, so that there is one implementation of each family's data.
    """

    def draw(self, first_update: int, num_updates: int) -> Tensor:
        """Draw K batches ahead: what is random in them, [M, K, B, ...] of whole numbers."""
        ...

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Turn one drawn update [M, B, ...] into float inputs [M, B, T, I] and target classes [M, B, T]."""
        ...


@dataclass(frozen=True)
class Measured:
    """What the evaluation of one snapshot gives: a number per label, a tensor per rollout."""

    labels: Mapping[str, float]
    rollouts: Mapping[str, Tensor]


class TaskFamily(ABC):
    """A family of tasks; `evaluation` arguments are the family's own dataclass of sizes."""

    name: ClassVar[str]
    input_size: ClassVar[int]
    output_size: ClassVar[int]
    evaluation_type: ClassVar[type]
    task_columns: ClassVar[Mapping[str, Column]]
    label_columns: ClassVar[Mapping[str, Column]]
    imported_label_columns: ClassVar[Mapping[str, Column]]
    """The labels of an imported zoo: those that the source holds or that follow from it; none is made up."""

    @property
    def columns(self) -> dict[str, Column]:
        """All columns of the index, in order."""
        return {**PLAN_COLUMNS, **self.task_columns, **self.label_columns, **PLACE_COLUMNS}

    @property
    def imported_columns(self) -> dict[str, Column]:
        """All columns of the index of an imported zoo, in order."""
        labels = {**self.imported_label_columns, **ORIGIN_COLUMNS}
        return {**PLAN_COLUMNS, **self.task_columns, **labels, **PLACE_COLUMNS}

    def architecture(self, cell: str, num_layers: int, hidden_size: int) -> Architecture:
        """Return the architecture of a network for this family's inputs and outputs."""
        return Architecture(cell, num_layers, self.input_size, hidden_size, self.output_size)

    @abstractmethod
    def assign_tasks(self, seed: int, runs: Tensor, stratified: bool = False) -> Tensor:
        """Return the tasks [M] of runs [M]; what a run gets does not depend on which others are asked for.

        `stratified` spreads the tasks evenly over any long stretch of runs, instead of drawing each independently.
        """

    @abstractmethod
    def task_name(self, task: int) -> str:
        """Return the name of a task, as in the column `task`."""

    @abstractmethod
    def task_values(self, task: int) -> dict[str, Any]:
        """Return the task's own columns (`task_columns`)."""

    @abstractmethod
    def task_of(self, values: Mapping[str, Any]) -> int:
        """Return the task that the task's own columns name: what decides the split of an imported run."""

    @abstractmethod
    def is_ood(self, tasks: Tensor) -> Tensor:
        """Return which tasks [M] are out of distribution."""

    @abstractmethod
    def sampler(
        self, seed: int, runs: Sequence[int], tasks: Sequence[int], batch_size: int, device: str = "cpu"
    ) -> Sampler:
        """Return the training data of M runs and their tasks."""

    @abstractmethod
    def evaluate(
        self,
        network: RecurrentNetwork,
        seed: int,
        run: int,
        task: int,
        step: int,
        evaluation: Any,  # noqa: ANN401
    ) -> Measured:
        """Measure one snapshot; random numbers come from the run's streams at counter `step`."""

    @abstractmethod
    def check_evaluation(self, evaluation: Any) -> None:  # noqa: ANN401
        """Raise PresetError if the sizes ask for more than there is."""

    def draw_weight_decay(self, seed: int, runs: Tensor, choices: Sequence[float]) -> npt.NDArray[np.float64]:
        """Return the weight decay of runs [M]: one of the choices, drawn for each."""
        bits = random_bits(seed, runs, Purpose.TASK, [1], 1)[:, 0, 0]
        decays: npt.NDArray[np.float64] = np.array(choices, np.float64)[to_integers(bits, len(choices)).numpy()]
        return decays

    @abstractmethod
    def check_rollouts(self, rollouts: Mapping[str, npt.NDArray[Any]]) -> Iterator[str]:
        """Yield what cannot be in rollouts [rows, ...] whose dtypes and shapes are right."""

    @abstractmethod
    def rollout_shapes(self, evaluation: Any) -> dict[str, tuple[str, tuple[int, ...]]]:  # noqa: ANN401
        """Return name -> (safetensors dtype, shape without the row axis) of the rollouts."""

    @abstractmethod
    def imported_rollout_shapes(self, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the same of an imported zoo with `count` rollouts a snapshot."""

    def splits(self, tasks: Tensor) -> npt.NDArray[np.str_]:
        """Return the split of each task [M]: ood by `is_ood`; of the rest 10% validation and 10% test by a fixed hash.

        No seed and no neighbour enters, so a task is in the same split in every zoo of the family.
        """
        tenth = (fixed_hash(tasks, _SPLIT_SALT) * 10) >> 32
        split = np.array(["validation", "test", *["train"] * 8])[tenth.numpy()]
        return np.where(self.is_ood(tasks).numpy(), "ood", split)


def assign_in_blocks(seed: int, runs: Tensor, counter: int, count: int) -> Tensor:
    """Return one of 0..count-1 for each of runs [M]: every block of `count` runs gets a shuffle of all of them.

    `counter` addresses the stream of the purpose TASK, so that several things can be dealt.
    """
    blocks = torch.unique(runs // count)
    shuffles = permutation(random_bits(seed, blocks, Purpose.TASK, [counter], count)[:, 0])
    return shuffles[torch.searchsorted(blocks, runs // count), runs % count]


def to_half(tensor: Tensor) -> Tensor:
    """Round to float16 for storage; what is out of its range becomes its largest number instead of infinity."""
    largest = torch.finfo(torch.float16).max
    return tensor.clamp(-largest, largest).half()
