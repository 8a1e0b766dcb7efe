"""Labels of a run: how fast it learned. They follow from the accuracies of its snapshots, which share their values.

A run has reached a percentage of its final accuracy, that of its last snapshot, at the first stored step whose accuracy
is at least that. What the accuracy does afterwards does not matter, and there is no interpolation: between two stored
steps a network may learn at any time. A run that ends with accuracy 0 has reached all of it at its first snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rnn_zoos.families.columns import Column

if TYPE_CHECKING:
    from rnn_zoos.families.family import TaskFamily

ACCURACY = "accuracy"
"""The label that these labels follow from."""
_PERCENTAGES: Mapping[str, int] = MappingProxyType({"steps_to_50": 50, "steps_to_90": 90})
_ROUNDING = 2.0**-22  # 900 of 1,000 strings is 90% of all, but less than 90% of 1 as float32

RUN_LABELS: Mapping[str, Column] = MappingProxyType(
    {
        name: Column("int32", f"first stored step with at least {percentage}% of the run's final accuracy", "updates")
        for name, percentage in _PERCENTAGES.items()
    }
)
"""Labels that every family with an accuracy has, after those that are measured."""


def run_labels(
    runs: npt.NDArray[Any], steps: npt.NDArray[Any], accuracies: npt.NDArray[Any]
) -> dict[str, npt.NDArray[np.int32]]:
    """Return the labels of the runs of N snapshots, which are in any order.

    Args:
        runs: The run of each snapshot, integers [N]; all snapshots of a run are there.
        steps: The step of each, integers [N].
        accuracies: The accuracy of each, floats [N], which count as rounded to float32.

    Returns:
        Name in `RUN_LABELS` -> steps, int32 [N], equal for all snapshots of a run.
    """
    order = np.lexsort((steps, runs))
    steps, accuracies = steps[order], accuracies[order].astype(np.float32).astype(np.float64)
    _, first, run = np.unique(runs[order], return_index=True, return_inverse=True)
    last = np.append(first[1:], len(runs))[: len(first)] - 1
    labels = {}
    for name, percentage in _PERCENTAGES.items():
        reached = accuracies + _ROUNDING >= percentage / 100 * accuracies[last][run]
        reached[last] = True  # even if a damaged zoo has accuracies that are not finite, or negative
        _, earliest = np.unique(run[reached], return_index=True)
        labels[name] = np.empty(len(runs), np.int32)
        labels[name][order] = steps[reached][earliest][run]
    return labels


def with_run_labels(family: TaskFamily, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all rows of some runs, name of the column -> value, with the labels of their runs.

    Rows of a family or of a zoo without accuracies stay as they are.
    """
    if not family.run_labels or not all(ACCURACY in row for row in rows):
        return rows
    labels = run_labels(*(np.array([row[name] for row in rows]) for name in ("run", "step", ACCURACY)))
    values = zip(*(labels[name].tolist() for name in family.run_labels), strict=True)
    return [{**row, **dict(zip(family.run_labels, own, strict=True))} for row, own in zip(rows, values, strict=True)]
