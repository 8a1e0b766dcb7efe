"""The interface of a task family: how tasks are assigned and split, how batches are drawn, what is measured.

A task is a whole number from 0 to 2**32 - 1; its family knows what the number means. The families of this package are
in `rnn_zoos.families.formal_languages`, `sequential_mnist` and `automata`. To add one, subclass `TaskFamily` and list
it in `rnn_zoos.families.registry`, or name it as an entry point of a package of yours (see the registry).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnn_zoos.families.columns import ORIGIN_COLUMNS, PLACE_COLUMNS, PLAN_COLUMNS, Column
from rnn_zoos.families.run_labels import ACCURACY, RUN_LABELS
from rnn_zoos.families.sampler import Sampler
from rnn_zoos.families.view import View
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import unstack_weights
from rnn_zoos.randomness import Purpose, fixed_hash, permutation, random_bits, to_integers

if TYPE_CHECKING:
    from rnn_zoos.families.benchmark import Benchmark
    from rnn_zoos.families.digits import Digits
    from rnn_zoos.families.labels import Label

SPLITS = ("train", "validation", "test", "ood")
"""In the order of the shards. validation and test: unseen tasks of the same kind; ood: tasks of another kind."""

_SPLIT_SALT = 291  # the first that divides the 191 languages outside ood into 153 / 19 / 19


@dataclass(frozen=True)
class Measurement:
    """The result of evaluating one snapshot: a number per label and a tensor per kind of rollout."""

    labels: Mapping[str, float]
    rollouts: Mapping[str, Tensor]


class TaskFamily(ABC):
    """A family of tasks, such as all formal languages of one form. Subclass it to make a zoo of new tasks.

    Everything a family returns is reproducible: it depends on the arguments alone, and randomness comes from
    `rnn_zoos.randomness`, addressed by seed, run and purpose. Batched arguments and results (`runs`, `tasks`: int64
    [M]) are element-wise: the result for a run does not depend on the other runs in the same call.

    Attributes:
        name: Name of the zoo, as on the command line.
        input_size: I, numbers that a network reads per step.
        output_size: O, classes that it predicts per step.
        evaluation_type: A dataclass whose integer fields are the sizes of an evaluation. Its field names are the keys
            of `evaluation` in a preset. One field is `rollouts`, the number of rollouts stored per snapshot. An
            instance of it is passed as `evaluation` below.
        task_columns: Columns of the index that describe a task.
        main_column: The numeric task column on the x-axis of figures.
        benchmark: What encoders imitate and predict; None for families that are not benchmarked.
        view: How the explorer shows it. By default, tasks lie along `main_column` and networks cannot be run.
        label_columns: Columns of the index with what `evaluate` measures.
        fraction_labels: Names of those that are fractions of whole numbers, from 0 to 1, also in imported zoos.
        further_labels: Labels with functions of their own, which come after those of `evaluate` in the index.
        imported_label_columns: Labels of imported zoos: those stored in, or computed from, the source. Empty if nothing
            can be imported.
        data_licenses: Licences of data of others in its zoos, by the Hub's names.
    """

    name: ClassVar[str]
    input_size: ClassVar[int]
    output_size: ClassVar[int]
    evaluation_type: ClassVar[type]
    task_columns: ClassVar[Mapping[str, Column]]
    main_column: ClassVar[str]
    benchmark: ClassVar[Benchmark | None] = None
    view: ClassVar[View] = View()
    label_columns: ClassVar[Mapping[str, Column]]
    fraction_labels: ClassVar[Collection[str]] = (ACCURACY,)
    further_labels: ClassVar[Mapping[str, Label]] = MappingProxyType({})
    imported_label_columns: ClassVar[Mapping[str, Column]] = MappingProxyType({})
    data_licenses: ClassVar[tuple[str, ...]] = ()

    @property
    def digits(self) -> Digits | None:
        """The digits of MNIST that networks read, and that `images` of rollouts refer to; None for other families."""
        return None

    def identify_digits(self) -> dict[str, str] | None:
        """Return `origin` ("embedded" or "mnist") and `sha256` of the digits, as in zoo.json. Raises DigitsError."""
        return None

    @property
    def measured_labels(self) -> dict[str, Column]:
        """The columns of all labels that are measured, in order."""
        return {**self.label_columns, **{name: label.column for name, label in self.further_labels.items()}}

    @property
    def run_labels(self) -> dict[str, Column]:
        """The columns of labels of runs that follow from the measured `accuracy`, in order; none without one."""
        measured = self.measured_labels
        return {name: column for name, column in RUN_LABELS.items() if ACCURACY in measured and name not in measured}

    @property
    def labels(self) -> dict[str, Column]:
        """The columns of all labels, in order."""
        return {**self.measured_labels, **self.run_labels}

    @property
    def columns(self) -> dict[str, Column]:
        """All columns of the index, in order."""
        return {**PLAN_COLUMNS, **self.task_columns, **self.labels, **PLACE_COLUMNS}

    @property
    def imported_columns(self) -> dict[str, Column]:
        """All columns of the index of an imported zoo, in order."""
        labels = {**self.imported_label_columns, **ORIGIN_COLUMNS}
        return {**PLAN_COLUMNS, **self.task_columns, **labels, **PLACE_COLUMNS}

    def architecture(self, cell: str, num_layers: int, hidden_size: int) -> Architecture:
        """Return the architecture of a network with this family's inputs and outputs."""
        return Architecture(cell, num_layers, self.input_size, hidden_size, self.output_size)

    @abstractmethod
    def assign_tasks(self, seed: int, runs: Tensor, stratified: bool = False) -> Tensor:
        """Assign a task to every run.

        Args:
            seed: Seed of the zoo.
            runs: Numbers of M runs, int64 [M], in any order.
            stratified: Spread the tasks evenly over any long stretch of runs instead of drawing each independently.

        Returns:
            Tasks, int64 [M]. The task of a run depends only on `seed`, the run and `stratified`. Draw from
            `Purpose.TASK` with any counter but 1, which draws the weight decay.
        """

    @abstractmethod
    def task_name(self, task: int) -> str:
        """Return the name of a task for the column `task`; different tasks have different names."""

    @abstractmethod
    def task_values(self, task: int) -> dict[str, Any]:
        """Return the values of a task in `task_columns`: column name -> plain Python value of the column's type."""

    @abstractmethod
    def task_of(self, values: Mapping[str, Any]) -> int:
        """Return the task with the given `task_values`, which decides the split of an imported run.

        Args:
            values: A value for every name in `task_columns`; other keys are ignored.

        Returns:
            The task, or the nearest one if the tasks are a grid over continuous values.

        Raises:
            ValueError: No task has these values.
        """

    @abstractmethod
    def is_ood(self, tasks: Tensor) -> Tensor:
        """Tell which tasks are out of distribution: int64 [M] -> bool [M]."""

    def splits(self, tasks: Tensor) -> npt.NDArray[np.str_]:
        """Return the split of each task [M]: ood by `is_ood`; of the others, 10% validation and 10% test by a hash.

        The split depends on the task alone, so a task is in the same split in every zoo of the family.
        """
        tenth = (fixed_hash(self.split_keys(tasks), _SPLIT_SALT) * 10) >> 32
        split = np.array(["validation", "test", *["train"] * 8])[tenth.numpy()]
        return np.where(self.is_ood(tasks).numpy(), "ood", split)

    def split_keys(self, tasks: Tensor) -> Tensor:
        """Return the numbers whose hash decides the split of each task outside ood, int64 [M].

        Equivalent tasks must have equal numbers. By default, they are the tasks themselves.
        """
        return tasks

    def draw_weight_decay(self, seed: int, runs: Tensor, choices: Sequence[float]) -> npt.NDArray[np.float64]:
        """Return the weight decay of each of runs [M], drawn from the choices."""
        bits = random_bits(seed, runs, Purpose.TASK, [1], 1)[:, 0, 0]
        decays: npt.NDArray[np.float64] = np.array(choices, np.float64)[to_integers(bits, len(choices)).numpy()]
        return decays

    @abstractmethod
    def sampler(
        self, seed: int, runs: Sequence[int], tasks: Sequence[int], batch_size: int, device: str = "cpu"
    ) -> Sampler:
        """Return the training data of M runs.

        Args:
            seed: Seed of the zoo.
            runs: Numbers of the M runs; draw from their `Purpose.DATA`.
            tasks: The task of each run.
            batch_size: B, sequences per update.
            device: Where `draw` and `batch` compute; the numbers are the same on every device.
        """

    @abstractmethod
    def check_evaluation(self, evaluation: Any) -> None:  # noqa: ANN401
        """Check the sizes of an evaluation before a zoo is made with them.

        Raises:
            PresetError: A size is larger than the available data.
        """

    @abstractmethod
    def evaluate(
        self,
        network: RecurrentNetwork,
        seed: int,
        run: int,
        task: int,
        step: int,
        evaluation: Any,  # noqa: ANN401
    ) -> Measurement:
        """Evaluate one snapshot.

        Args:
            network: The snapshot, on the CPU. Evaluate it under `torch.no_grad`.
            seed: Seed of the zoo.
            run: Number of the run; draw from its `Purpose.EVALUATION` and `Purpose.ROLLOUTS`.
            task: The task of the run.
            step: Updates done; use it as the counter of draws that differ between the snapshots of a run.
            evaluation: Sizes, an instance of `evaluation_type`.

        Returns:
            Labels: a Python float for every name in `label_columns`, in that order. Rollouts: a CPU tensor for every
            name in `rollout_shapes(evaluation)`, with that dtype and shape. If a label or a rollout is not finite, the
            snapshot and all later ones of the run are left out and the run is marked as diverged.
        """

    def evaluate_stack(
        self,
        stack: NetworkStack,
        seed: int,
        runs: Sequence[int],
        tasks: Sequence[int],
        steps: Sequence[int],
        evaluation: Any,  # noqa: ANN401
    ) -> list[Measurement]:
        """Evaluate M snapshots, on the device of their weights.

        `evaluate` is the reference implementation: the same random numbers, and results that are equal up to rounding.
        By default it is called for one snapshot after the other, on the CPU. A family that overrides this has its
        snapshots measured by the GPUs that train them, many at once.

        Args:
            stack: The snapshots, with weights [M, *shape].
            seed: Seed of the zoo.
            runs, tasks, steps: What `evaluate` takes, for each of the snapshots.
            evaluation: Sizes, an instance of `evaluation_type`.

        Returns:
            What `evaluate` returns, for each of the snapshots.
        """
        weights = unstack_weights({name: tensor.cpu() for name, tensor in stack.weights.items()})
        return [
            self.evaluate(RecurrentNetwork(stack.architecture, named), seed, run, task, step, evaluation)
            for named, run, task, step in zip(weights, runs, tasks, steps, strict=True)
        ]

    def fraction_denominators(self, evaluation: Any) -> dict[str, int]:  # noqa: ANN401
        """Return how many items (strings, digits) each fraction label averages over: label -> count.

        A missing label is assumed to average over the smallest size of the evaluation.
        """
        return {}

    def samples(
        self, network: RecurrentNetwork, seed: int, row: Mapping[str, Any], count: int
    ) -> tuple[str, list[dict[str, Any]]]:
        """Show what one network does with a few inputs.

        Args:
            network: A snapshot.
            seed: Seed of the zoo.
            row: Its row of the index.
            count: Number of inputs.

        Returns:
            What the inputs are, in a few words, and `count` rows of a table. The first column, `verdict`, is "right" or
            "wrong". By default there are none.
        """
        return "this family shows no samples", []

    @abstractmethod
    def rollout_shapes(self, evaluation: Any) -> dict[str, tuple[str, tuple[int, ...]]]:  # noqa: ANN401
        """Describe the rollouts that `evaluate` returns.

        Args:
            evaluation: Sizes, an instance of `evaluation_type`.

        Returns:
            Name -> (safetensors dtype such as "U8", "I32" or "F16", shape of one snapshot's tensor), in stored order.
        """

    def imported_rollout_shapes(self, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Describe the rollouts of an imported zoo with `count` rollouts per snapshot, as `rollout_shapes` does."""
        return {}

    @abstractmethod
    def check_rollouts(self, rollouts: Mapping[str, npt.NDArray[Any]]) -> Iterator[str]:
        """Check the values of stored rollouts.

        Args:
            rollouts: Name -> array [rows, *shape] for the snapshots of a shard. Dtypes and shapes are already checked,
                and floating-point values are finite. For an imported zoo the names are those of
                `imported_rollout_shapes`.

        Yields:
            A phrase per kind of impossible value, without a full stop, such as "labels are above 9".
        """


def assign_in_blocks(seed: int, runs: Tensor, counter: int, count: int) -> Tensor:
    """Return a number 0..count-1 for each of runs [M]: each block of `count` consecutive runs gets a permutation.

    `counter` selects the stream of `Purpose.TASK`, so that one family can assign several things.
    """
    blocks = torch.unique(runs // count)
    shuffles = permutation(random_bits(seed, blocks, Purpose.TASK, [counter], count)[:, 0])
    return shuffles[torch.searchsorted(blocks, runs // count), runs % count]


def to_half(tensor: Tensor) -> Tensor:
    """Round to float16 for storage; values beyond its range become its largest number instead of infinity."""
    largest = torch.finfo(torch.float16).max
    return tensor.clamp(-largest, largest).half()
