"""Networks that read a rotated digit tile by tile and classify it after every tile.

A task is an angle, 0 <= angle < 360 degrees, in whole millionths of a degree (Herrmann et al., ICML 2024, section 5).
All digits of a task are rotated by its angle. A rotated digit is cut into 49 tiles of 4 x 4 pixels, which the network
reads after a BOS tile of zeros: 50 steps of 16 numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy.typing as npt
import torch
from torch import Tensor

from rnn_zoos.errors import PresetError
from rnn_zoos.families import behaviours
from rnn_zoos.families.columns import Column
from rnn_zoos.families.digit_inputs import MICRODEGREES, NUM_CLASSES, digit_measure, tile_inputs
from rnn_zoos.families.digit_labels import DIGIT_LABELS, ROTATION_OFFSETS, num_rotated_digits
from rnn_zoos.families.digits import Digits, load_digits
from rnn_zoos.families.family import Measurement, TaskFamily, assign_in_blocks, to_half
from rnn_zoos.families.labels import Label
from rnn_zoos.families.landscape import LANDSCAPE
from rnn_zoos.families.rotation import NUM_TILES, SIDE, TILE, rotation_table
from rnn_zoos.families.view import View
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.randomness import Purpose, permutation, random_bits, to_integers

OOD_FROM = 312
"""Angles of this many degrees and more are out of distribution."""
_STRATA_COUNTER = 2  # counter of Purpose.TASK; 0 draws the angle, 1 the weight decay
_WORDS = 2**23  # random words that order digits at once; sorting takes about ten times their 8 bytes


@dataclass(frozen=True)
class DigitEvaluation:
    """Sizes of the evaluation of a snapshot. The names of the fields are the keys of a preset.

    Attributes:
        held_out_digits: Number of validation digits.
        fit_digits: Number of training digits.
        test_digits: Number of test digits.
        rollouts: Number of training digits whose logits are stored.
    """

    held_out_digits: int
    fit_digits: int
    test_digits: int
    rollouts: int


@dataclass(frozen=True)
class DigitSampler:
    """Training digits of M runs. Every epoch of a run goes through all training digits in a new order.

    Attributes:
        images: Images of all digits, uint8 [N, 785].
        labels: Classes of all digits, int64 [N].
        train: Positions of the training digits among them.
        tables: Rotation table of each run, int64 [M, 784].
        seed: Seed of the zoo.
        runs: Numbers of the runs, [M].
        batch_size: B, digits per update.
    """

    images: Tensor
    labels: Tensor
    train: Tensor
    tables: Tensor
    seed: int
    runs: Tensor
    batch_size: int

    def draw(self, first_update: int, num_updates: int) -> Tensor:
        """Draw K batches of training digits: their positions among all digits, int64 [M, K, B]."""
        count, device = len(self.train), self.runs.device
        first, last = first_update * self.batch_size, (first_update + num_updates) * self.batch_size
        epochs = range(first // count, (last - 1) // count + 1)
        places = torch.arange(first - epochs[0] * count, last - epochs[0] * count, device=device)
        drawn = []
        for runs in self.runs.split(max(1, _WORDS // (len(epochs) * count))):
            shuffles = permutation(random_bits(self.seed, runs, Purpose.DATA, epochs, count, device))
            drawn.append(self.train[shuffles.flatten(1)[:, places]])
        return torch.cat(drawn).view(-1, num_updates, self.batch_size)

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs [M, B, 50, 16] and the class at every step [M, B, 50] of positions [M, B]."""
        labels = self.labels[drawn]
        return tile_inputs(self.images[drawn], self.tables), labels[..., None].expand(*labels.shape, NUM_TILES + 1)


class SequentialMnist(TaskFamily):
    """The task family of the zoo `sequential-mnist`.

    Args:
        mnist: Source of the digits: `embedded`, `hub` or a directory (see `rnn_zoos.families.digits.load_digits`).
    """

    name = "sequential-mnist"
    input_size = TILE**2
    output_size = NUM_CLASSES
    evaluation_type = DigitEvaluation
    task_columns: ClassVar[Mapping[str, Column]] = MappingProxyType(
        {"angle": Column("float64", "the digits are turned by this, counter-clockwise", "degrees")}
    )
    benchmark = behaviours.DIGITS
    view = View("digits", picture="wheel", axes=("angle",))
    main_column = "angle"
    label_columns: ClassVar[Mapping[str, Column]] = MappingProxyType(
        {
            "accuracy": Column("float32", "fraction of held-out digits named right after the last tile"),
            "test_accuracy": Column("float32", "the same on the test digits"),
            "eval_loss": Column("float32", "cross-entropy on the held-out digits, mean of all 50 steps", "nats"),
            "train_loss": Column("float32", "the same on a fixed part of the fit digits", "nats"),
            "generalization_gap": Column("float32", "eval_loss - train_loss", "nats"),
        }
    )
    fraction_labels = ("accuracy", "test_accuracy")
    further_labels: ClassVar[Mapping[str, Label]] = MappingProxyType({**DIGIT_LABELS, **LANDSCAPE})
    imported_label_columns: ClassVar[Mapping[str, Column]] = MappingProxyType(
        {
            "accuracy": Column("float32", "fraction of the source's held-out digits named right, as the source says"),
            "eval_loss": Column("float32", "cross-entropy on those digits, mean of all 50 steps", "nats"),
            "train_loss": Column("float32", "the same on the source's part of its fit digits, as it says", "nats"),
            "generalization_gap": Column("float32", "eval_loss - train_loss", "nats"),
        }
    )

    data_licenses = ("cc-by-sa-3.0",)

    def __init__(self, mnist: str = "embedded") -> None:
        self.mnist = mnist

    @property
    def digits(self) -> Digits:
        """The digits, which are loaded when they are first needed. Raises DigitsError."""
        return load_digits(self.mnist)

    def identify_digits(self) -> dict[str, str]:
        """Return `origin` ("embedded" or "mnist") and `sha256` of the digits, as in zoo.json. Raises DigitsError."""
        return {"origin": "embedded" if self.mnist == "embedded" else "mnist", "sha256": self.digits.sha256}

    def assign_tasks(self, seed: int, runs: Tensor, stratified: bool = False) -> Tensor:
        """Assign an angle to every run, drawn uniformly and independently.

        Stratified: each block of 360 runs has one angle within each degree, in random order.
        """
        words = random_bits(seed, runs, Purpose.TASK, [0], 1)[:, 0, 0]
        if not stratified:
            return to_integers(words, 360 * MICRODEGREES)
        degrees = assign_in_blocks(seed, runs, _STRATA_COUNTER, 360)
        return degrees * MICRODEGREES + to_integers(words, MICRODEGREES)

    def task_name(self, task: int) -> str:
        """Return the angle as text, for example `123.456789 degrees`."""
        return f"{task / MICRODEGREES:.6f} degrees"

    def task_values(self, task: int) -> dict[str, float]:
        """Return the angle in degrees."""
        return {"angle": task / MICRODEGREES}

    def task_of(self, values: Mapping[str, Any]) -> int:
        """Return the task nearest to an angle; an imported zoo has angles of full precision."""
        return round(float(values["angle"]) * MICRODEGREES) % (360 * MICRODEGREES)

    def is_ood(self, tasks: Tensor) -> Tensor:
        """Tell which angles are 312 degrees or more."""
        return tasks >= OOD_FROM * MICRODEGREES

    def sampler(
        self, seed: int, runs: Sequence[int], tasks: Sequence[int], batch_size: int, device: str = "cpu"
    ) -> DigitSampler:
        """Return a sampler of the training digits of M runs."""
        digits = self.digits
        return DigitSampler(
            digits.images.to(device),
            digits.labels.to(device),
            digits.train.to(device),
            torch.stack([self.table(task) for task in tasks]).to(device),
            seed,
            torch.tensor(runs, device=device),
            batch_size,
        )

    def table(self, task: int) -> Tensor:
        """Return the rotation table of a task, int64 [784]."""
        return rotation_table(task / MICRODEGREES)

    def check_evaluation(self, evaluation: DigitEvaluation) -> None:
        """Raise PresetError if a size is larger than the number of available digits."""
        parts = {
            "held_out_digits": self.digits.validation,
            "fit_digits": self.digits.train,
            "test_digits": self.digits.test,
            "rollouts": self.digits.train,
        }
        for name, part in parts.items():
            size = getattr(evaluation, name)
            if size > len(part):
                raise PresetError(
                    f"evaluation.{name} is {size:,}, but --mnist {self.mnist} has only {len(part):,} of these digits. "
                    "Use --mnist hub or a directory with all of MNIST, or a preset with smaller sizes."
                )

    @torch.no_grad()
    def evaluate(
        self, network: RecurrentNetwork, seed: int, run: int, task: int, step: int, evaluation: DigitEvaluation
    ) -> Measurement:
        """Measure loss and accuracy on validation, training and test digits.

        The rollouts are logits on training digits, which are the same ones for all snapshots of a run.
        """
        digits, table = self.digits, self.table(task)
        implementation = digit_measure(network)

        def measure(positions: Tensor) -> tuple[float, float]:
            return implementation(digits.images, digits.labels, positions, table)

        eval_loss, accuracy = measure(digits.validation[: evaluation.held_out_digits])
        train_loss, _ = measure(digits.fixed_train[: evaluation.fit_digits])
        _, test_accuracy = measure(digits.test[: evaluation.test_digits])
        shuffle = permutation(random_bits(seed, [run], Purpose.ROLLOUTS, [0], len(digits.train))[0, 0])
        shown = digits.train[shuffle[: evaluation.rollouts]]
        logits = network(tile_inputs(digits.images[shown], table))
        return Measurement(
            {
                "accuracy": accuracy,
                "test_accuracy": test_accuracy,
                "eval_loss": eval_loss,
                "train_loss": train_loss,
                "generalization_gap": eval_loss - train_loss,
            },
            {
                "images": digits.numbers[shown].int(),
                "labels": digits.labels[shown].to(torch.uint8),
                "logits": to_half(logits),
            },
        )

    def evaluate_stack(
        self,
        stack: NetworkStack,
        seed: int,
        runs: Sequence[int],
        tasks: Sequence[int],
        steps: Sequence[int],
        evaluation: DigitEvaluation,
    ) -> list[Measurement]:
        """Do what `evaluate` does for M snapshots, on the device of their weights."""
        from rnn_zoos.families.digit_stacks import evaluate_digits

        return evaluate_digits(self, stack, seed, runs, tasks, evaluation)

    def fraction_denominators(self, evaluation: DigitEvaluation) -> dict[str, int]:
        """Return the number of digits that labels are a fraction of."""
        turned = dict.fromkeys((f"accuracy_{turn}" for turn in ROTATION_OFFSETS), 2 * num_rotated_digits(evaluation))
        return {"accuracy": evaluation.held_out_digits, "test_accuracy": evaluation.test_digits, **turned}

    def samples(
        self, network: RecurrentNetwork, seed: int, row: Mapping[str, Any], count: int
    ) -> tuple[str, list[dict[str, Any]]]:
        """Show digits that no network was trained on."""
        from rnn_zoos.families.samples import digit_samples

        return "digits that no network was trained on", digit_samples(network, self.task_of(row), count)

    def rollout_shapes(self, evaluation: DigitEvaluation) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Describe the rollouts: number in MNIST and class of each digit, and the logits after every tile."""
        count = evaluation.rollouts
        return {
            "images": ("I32", (count,)),
            "labels": ("U8", (count,)),
            "logits": ("F16", (count, NUM_TILES + 1, NUM_CLASSES)),
        }

    def imported_rollout_shapes(self, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Describe the rollouts of an imported zoo: the rotated pixels that the network read, and its logits.

        There are no `images` and `labels`: a source records neither the numbers of its digits nor their classes.
        """
        return {"seen": ("U8", (count, SIDE, SIDE)), "logits": ("F16", (count, NUM_TILES + 1, NUM_CLASSES))}

    def check_rollouts(self, rollouts: Mapping[str, npt.NDArray[Any]]) -> Iterator[str]:
        """Yield impossible values: unknown classes. Imported rollouts have no labels."""
        if "labels" in rollouts and (rollouts["labels"] >= NUM_CLASSES).any():
            yield f"labels are above {NUM_CLASSES - 1}"
