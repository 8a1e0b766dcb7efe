"""Labels of the family `sequential-mnist` beyond accuracies and losses at the angle of the task."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from rnn_zoos.families.calibration import calibration_error
from rnn_zoos.families.columns import Column
from rnn_zoos.families.digit_inputs import MICRODEGREES, digit_measure, tile_inputs
from rnn_zoos.families.labels import Label
from rnn_zoos.families.rotation import rotation_table

if TYPE_CHECKING:
    from rnn_zoos.families.labels import Snapshot, SnapshotStack
    from rnn_zoos.families.sequential_mnist import DigitEvaluation, SequentialMnist

ROTATION_OFFSETS = (15, 30, 60)
"""Degrees by which digits are turned away from the angle of the task."""
_DIGITS = 500  # held-out digits, at most, per angle


def num_rotated_digits(evaluation: DigitEvaluation) -> int:
    """Return on how many held-out digits the labels of this module are measured, per angle."""
    return min(_DIGITS, evaluation.held_out_digits)


def rotated_accuracy(family: SequentialMnist, snapshot: Snapshot, turn: int) -> float:
    """Return the accuracy on held-out digits that are turned by so many degrees more, and less, than in training."""
    digits = family.digits
    shown = digits.validation[: num_rotated_digits(snapshot.evaluation)]
    measure = digit_measure(snapshot.network)
    angles = [snapshot.task / MICRODEGREES + sign * turn for sign in (1, -1)]
    return sum(measure(digits.images, digits.labels, shown, rotation_table(angle))[1] for angle in angles) / 2


@torch.no_grad()
def digit_calibration(family: SequentialMnist, snapshot: Snapshot) -> float:
    """Return the calibration error after the last tile on held-out digits."""
    digits = family.digits
    shown = digits.validation[: num_rotated_digits(snapshot.evaluation)]
    logits = snapshot.network(tile_inputs(digits.images[shown], family.table(snapshot.task)))
    return calibration_error(logits[:, -1], digits.labels[shown])


@torch.no_grad()
def rotated_accuracies(family: SequentialMnist, snapshots: SnapshotStack, turn: int) -> list[float]:
    """Do what `rotated_accuracy` does for M snapshots."""
    from rnn_zoos.families.digit_stacks import DigitStack

    shown = family.digits.validation[: num_rotated_digits(snapshots.evaluation)]
    sums = [0.0] * snapshots.stack.num_networks
    for sign in (1, -1):
        tables = [rotation_table(task / MICRODEGREES + sign * turn) for task in snapshots.tasks]
        _, accuracies = DigitStack(family, snapshots.stack, tables).on(shown)
        sums = [total + accuracy for total, accuracy in zip(sums, accuracies, strict=True)]
    return [total / 2 for total in sums]


@torch.no_grad()
def digit_calibrations(family: SequentialMnist, snapshots: SnapshotStack) -> list[float]:
    """Do what `digit_calibration` does for M snapshots."""
    from rnn_zoos.families.digit_stacks import DigitStack

    shown = family.digits.validation[: num_rotated_digits(snapshots.evaluation)]
    stack = DigitStack(family, snapshots.stack, [family.table(task) for task in snapshots.tasks])
    last = stack.last_logits(shown).cpu()
    return [calibration_error(logits, family.digits.labels[shown]) for logits in last]


DIGIT_LABELS: Mapping[str, Label] = MappingProxyType(
    {
        **{
            f"accuracy_{turn}": Label(
                Column("float32", f"fraction of held-out digits named right that are turned {turn} degrees away"),
                partial(rotated_accuracy, turn=turn),
                fraction=True,
                measure_stack=partial(rotated_accuracies, turn=turn),
            )
            for turn in ROTATION_OFFSETS
        },
        "calibration_error": Label(
            Column("float32", "expected calibration error after the last tile on held-out digits"),
            digit_calibration,
            rounding=0.02,
            measure_stack=digit_calibrations,
        ),
    }
)
"""Name -> label, in the order of the index."""
