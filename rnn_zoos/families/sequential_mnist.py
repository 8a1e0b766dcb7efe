"""Networks that read a rotated digit tile by tile and name it after every tile.

A task is an angle (Herrmann et al., ICML 2024, section 5): whole millionths of a degree, 0 <= angle < 360. The digit is
rotated, cut into 49 tiles of 4 x 4, and read after a BOS tile of zeros: 50 steps of 16 numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.errors import PresetError
from rnn_zoos.families.digits import Digits, load_digits
from rnn_zoos.families.family import Column, Measured, TaskFamily, assign_in_blocks, to_half
from rnn_zoos.families.rotation import NUM_TILES, SIDE, TILE, rotation_table, to_tiles
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.randomness import Purpose, permutation, random_bits, to_integers

MEAN, STD = 0.1307, 0.3081
"""Of the pixels of MNIST's training digits, in units of white."""
NUM_CLASSES = 10
MICRODEGREES = 1_000_000
OOD_FROM = 312
"""Degrees from which on an angle is out of distribution."""
_STRATA_COUNTER = 2  # of the purpose TASK: 0 draws the angle, 1 the weight decay
_CHUNK = 1000  # digits evaluated at once: 50 steps of them stay in cache


@dataclass(frozen=True)
class DigitEvaluation:
    """Sizes of the evaluation of a snapshot: digits of each part that are measured, and fit digits that are shown."""

    held_out_digits: int
    fit_digits: int
    test_digits: int
    rollouts: int


def tile_inputs(images: Tensor, tables: Tensor) -> Tensor:
    """Turn images uint8 [..., B, 785] and rotation tables [..., 784] into inputs float32 [..., B, 50, 16].

    The first of the 50 steps is BOS, a tile of zeros; then come the 49 tiles of the rotated digit.
    """
    sources = to_tiles(tables).flatten(-2)[..., None, :]
    tiles = images.take_along_dim(sources, dim=-1).unflatten(-1, (NUM_TILES, TILE**2))
    inputs = torch.zeros(*images.shape[:-1], NUM_TILES + 1, TILE**2, device=images.device)
    inputs[..., 1:, :] = (tiles / 255 - MEAN) / STD
    return inputs


@dataclass(frozen=True)
class DigitSampler:
    """Training digits of M runs: a new shuffle of the fit digits every time that a run has seen them all.

    images uint8 [N, 785] and labels [N] of all digits, fit positions in them, rotation tables [M, 784].
    """

    images: Tensor
    labels: Tensor
    fit: Tensor
    tables: Tensor
    seed: int
    runs: Tensor
    batch_size: int

    def draw(self, first_update: int, num_updates: int) -> Tensor:
        """Draw K batches ahead: positions of digits, int64 [M, K, B]."""
        count, device = len(self.fit), self.runs.device
        first, last = first_update * self.batch_size, (first_update + num_updates) * self.batch_size
        epochs = range(first // count, (last - 1) // count + 1)
        shuffles = permutation(random_bits(self.seed, self.runs, Purpose.DATA, epochs, count, device))
        places = torch.arange(first - epochs[0] * count, last - epochs[0] * count, device=device)
        return self.fit[shuffles.flatten(1)[:, places]].view(-1, num_updates, self.batch_size)

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Turn positions [M, B] into inputs [M, B, 50, 16] and the class at every step [M, B, 50]."""
        labels = self.labels[drawn]
        return tile_inputs(self.images[drawn], self.tables), labels[..., None].expand(*labels.shape, NUM_TILES + 1)


@runtime_checkable
class MeasuresDigits(Protocol):
    """A network that has a faster way than `measure_digits`, its naive twin."""

    def measure_digits(self, images: Tensor, labels: Tensor, positions: Tensor, table: Tensor) -> tuple[float, float]:
        """Return what the function of this name returns."""
        ...


@torch.no_grad()
def measure_digits(
    network: RecurrentNetwork, images: Tensor, labels: Tensor, positions: Tensor, table: Tensor
) -> tuple[float, float]:
    """Return mean loss of all steps, and accuracy of the last, on the digits at `positions` [N].

    images uint8 [*, 785] and labels [*] of all digits, rotation table [784].
    """
    loss, right = 0.0, 0
    for chunk in positions.split(_CHUNK):
        logits = network(tile_inputs(images[chunk], table))  # [B, 50, 10]
        every_step = labels[chunk, None].expand(logits.shape[:2])
        loss += F.cross_entropy(logits.flatten(0, 1), every_step.flatten(), reduction="sum").item()
        right += int((logits[:, -1].argmax(dim=-1) == labels[chunk]).sum())
    return loss / (len(positions) * (NUM_TILES + 1)), right / len(positions)


class SequentialMnist(TaskFamily):
    """The zoo `sequential-mnist`."""

    name = "sequential-mnist"
    input_size = TILE**2
    output_size = NUM_CLASSES
    evaluation_type = DigitEvaluation
    task_columns: ClassVar[Mapping[str, Column]] = MappingProxyType(
        {"angle": Column("float64", "the digits are turned by this, counter-clockwise", "degrees")}
    )
    label_columns: ClassVar[Mapping[str, Column]] = MappingProxyType(
        {
            "accuracy": Column("float32", "fraction of held-out digits named right after the last tile"),
            "test_accuracy": Column("float32", "the same on the test digits"),
            "eval_loss": Column("float32", "cross-entropy on the held-out digits, mean of all 50 steps", "nats"),
            "train_loss": Column("float32", "the same on a fixed part of the fit digits", "nats"),
            "generalization_gap": Column("float32", "eval_loss - train_loss", "nats"),
        }
    )
    imported_label_columns: ClassVar[Mapping[str, Column]] = MappingProxyType(
        {
            "accuracy": Column("float32", "fraction of the source's held-out digits named right, as the source says"),
            "eval_loss": Column("float32", "cross-entropy on those digits, mean of all 50 steps", "nats"),
            "train_loss": Column("float32", "the same on the source's part of its fit digits, as it says", "nats"),
            "generalization_gap": Column("float32", "eval_loss - train_loss", "nats"),
        }
    )

    def __init__(self, mnist: str = "embedded") -> None:
        self.mnist = mnist

    @property
    def digits(self) -> Digits:
        """The digits of `mnist` (embedded, hub or a directory), loaded when they are first needed."""
        return load_digits(self.mnist)

    def assign_tasks(self, seed: int, runs: Tensor, stratified: bool = False) -> Tensor:
        """Deal every run an angle of its own, uniform; stratified: each block of 360 runs has one angle per degree."""
        words = random_bits(seed, runs, Purpose.TASK, [0], 1)[:, 0, 0]
        if not stratified:
            return to_integers(words, 360 * MICRODEGREES)
        degrees = assign_in_blocks(seed, runs, _STRATA_COUNTER, 360)
        return degrees * MICRODEGREES + to_integers(words, MICRODEGREES)

    def task_name(self, task: int) -> str:
        """Return for example `123.456789 degrees`."""
        return f"{task / MICRODEGREES:.6f} degrees"

    def task_values(self, task: int) -> dict[str, float]:
        """Return the angle in degrees."""
        return {"angle": task / MICRODEGREES}

    def task_of(self, values: Mapping[str, Any]) -> int:
        """Return the task next to an angle (a source has angles of full precision)."""
        return round(float(values["angle"]) * MICRODEGREES) % (360 * MICRODEGREES)

    def is_ood(self, tasks: Tensor) -> Tensor:
        """Return the angles of 312 degrees and more."""
        return tasks >= OOD_FROM * MICRODEGREES

    def sampler(
        self, seed: int, runs: Sequence[int], tasks: Sequence[int], batch_size: int, device: str = "cpu"
    ) -> DigitSampler:
        """Return the training digits of M runs."""
        digits = self.digits
        return DigitSampler(
            digits.images.to(device),
            digits.labels.to(device),
            digits.fit.to(device),
            torch.stack([self.table(task) for task in tasks]).to(device),
            seed,
            torch.tensor(runs, device=device),
            batch_size,
        )

    def check_evaluation(self, evaluation: DigitEvaluation) -> None:
        """Raise PresetError if more digits are asked for than there are."""
        parts = {
            "held_out_digits": self.digits.held_out,
            "fit_digits": self.digits.fit,
            "test_digits": self.digits.test,
            "rollouts": self.digits.fit,
        }
        for name, part in parts.items():
            if getattr(evaluation, name) > len(part):
                asked = f"{getattr(evaluation, name):,}"
                raise PresetError(
                    f"evaluation.{name} is {asked}, but --mnist {self.mnist} has {len(part):,} such "
                    "digits. Use --mnist hub or a directory with all of MNIST, or a preset that asks for fewer."
                )

    def table(self, task: int) -> Tensor:
        """Return the rotation table [784] of a task."""
        return rotation_table(task / MICRODEGREES)

    @torch.no_grad()
    def evaluate(
        self, network: RecurrentNetwork, seed: int, run: int, task: int, step: int, evaluation: DigitEvaluation
    ) -> Measured:
        """Measure loss and accuracy on held-out, fit and test digits; the rollouts are 100 fit digits fixed per run."""
        digits, table = self.digits, self.table(task)
        own = network.measure_digits if isinstance(network, MeasuresDigits) else partial(measure_digits, network)
        measure = partial(own, digits.images, digits.labels, table=table)
        eval_loss, accuracy = measure(digits.held_out[: evaluation.held_out_digits])
        train_loss, _ = measure(digits.fixed_fit[: evaluation.fit_digits])
        _, test_accuracy = measure(digits.test[: evaluation.test_digits])
        shuffle = permutation(random_bits(seed, [run], Purpose.ROLLOUTS, [0], len(digits.fit))[0, 0])
        shown = digits.fit[shuffle[: evaluation.rollouts]]
        logits = network(tile_inputs(digits.images[shown], table))
        return Measured(
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

    def check_rollouts(self, rollouts: Mapping[str, npt.NDArray[Any]]) -> Iterator[str]:
        """Yield what cannot be: classes that there are not."""
        if "labels" in rollouts and (rollouts["labels"] >= NUM_CLASSES).any():
            yield f"labels are above {NUM_CLASSES - 1}"

    def rollout_shapes(self, evaluation: DigitEvaluation) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the tensors of a rollout: which digits were shown, their classes, the logits after every tile."""
        count = evaluation.rollouts
        return {
            "images": ("I32", (count,)),
            "labels": ("U8", (count,)),
            "logits": ("F16", (count, NUM_TILES + 1, NUM_CLASSES)),
        }

    def imported_rollout_shapes(self, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the tensors of an imported rollout: the pixels as the network saw them, turned, and its logits.

        A source says neither which digit of MNIST that is nor its class, so neither `images` nor `labels` are there.
        """
        return {"seen": ("U8", (count, SIDE, SIDE)), "logits": ("F16", (count, NUM_TILES + 1, NUM_CLASSES))}
