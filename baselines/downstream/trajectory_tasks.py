"""Trajectory tasks: what snapshots tell about the run that they are of: how it ends, its order, which one it is.

A run may have fewer snapshots than the zoo has steps, because it diverged. Its last snapshot is the last that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np

from rnn_zoos.baselines.downstream.measures import (
    MEASURES,
    Measure,
    Predictions,
    RankMeasure,
    area_under_curve,
    mean_measure,
)
from rnn_zoos.baselines.downstream.protocols import Rows
from rnn_zoos.baselines.downstream.targets import Target
from rnn_zoos.format.files import Array

EARLY_STEPS = (50, 100, 200)
"""Snapshots at these steps are early, if a zoo has them."""

TRAJECTORY_LABELS = Target(("accuracy", "diverged"), "number", ())
"""The columns of the index that trajectory tasks read, in this order, as the labels of `Rows`."""

Answer: TypeAlias = Literal["number", "classes", "probability"]
"""What a predictor is fitted for. probability: of the label 1, where labels are 0 and 1."""

LEFT_OUT = "left_out"
"""The key, in place of measures, of the reason why a task is not asked of a split."""


def early_steps(snapshots: Sequence[int]) -> tuple[int, ...]:
    """Return the early steps of a zoo with snapshots at these steps: 50, 100 and 200, of those that it has.

    If it has none of them, the two smallest steps above 0. The last step is never early, so there may be none.
    """
    between = sorted(step for step in set(snapshots) if 0 < step < max(snapshots))
    return tuple(step for step in between if step in EARLY_STEPS) or tuple(between[:2])


def last_snapshots(runs: Array, steps: Array) -> Array:
    """Return for each of R rows the number of the row with the last step of the same run, [R].

    Args:
        runs: [R] run numbers.
        steps: [R] training steps; those of a run differ.
    """
    descending = np.lexsort((steps, runs))[::-1]
    names, first = np.unique(runs[descending], return_index=True)
    return np.asarray(descending[first][np.searchsorted(names, runs)])


def final_accuracy_rows(rows: Rows, step: int) -> Rows:
    """Return the rows at an early step, with the accuracy of the run's last snapshot as label.

    Runs that have no later snapshot are left out: nothing is to be predicted.
    """
    last = last_snapshots(rows.runs, rows.steps)
    early = np.flatnonzero((rows.steps == step) & (rows.steps[last] > step))
    return replace(chosen(rows, early), labels=rows.labels[last[early], :1])


def diverged_rows(rows: Rows, step: int) -> Rows:
    """Return the rows at an early step, with 1 as label if the run diverged later, else 0."""
    early = np.flatnonzero(rows.steps == step)
    return replace(chosen(rows, early), labels=rows.labels[early, 1:2])


def order_rows(rows: Rows, _step: int) -> Rows:
    """Return two rows for every two successive snapshots of a run: later features minus earlier, label 1, and swapped.

    As each pair is there in both orders, labels are balanced, and features that say nothing are right half of the time.
    """
    order = np.lexsort((rows.steps, rows.runs))
    same_run = rows.runs[order[:-1]] == rows.runs[order[1:]]
    earlier, later = order[:-1][same_run], order[1:][same_run]
    pairs = chosen(rows, np.concatenate([later, earlier]))
    differences = rows.features[later] - rows.features[earlier]
    labels = np.repeat([1.0, 0.0], len(later))[:, None]
    return replace(pairs, features=np.concatenate([differences, -differences]), labels=labels)


def chosen(rows: Rows, numbers: Array) -> Rows:
    """Return the rows with these numbers."""
    return Rows(*(column[numbers] for column in vars(rows).values()))


def _decided_rightly(rows: Predictions) -> Array:
    return np.asarray((rows.predicted[:, 0] > 0.5) == (rows.true[:, 0] > 0.5), float)


def _majority_is_right(rows: Predictions) -> Array:
    return np.asarray(rows.predicted[:, 1] == rows.true[:, 0], float)


@dataclass(frozen=True)
class TrajectoryTask:
    """What a predictor is asked about a run, from features of its snapshots.

    Attributes:
        rows: Function (rows with the labels `TRAJECTORY_LABELS`, early step) -> rows to train or test on, of one label.
        answer: What is predicted.
        measures: Name -> measure. Of a probability, the second column of predictions is the most frequent label of the
            training rows.
        from_early: Whether it is asked at every early step; otherwise once.
    """

    rows: Callable[[Rows, int], Rows]
    answer: Answer
    measures: Mapping[str, Measure]
    from_early: bool = True


TRAJECTORY_TASKS: Mapping[str, TrajectoryTask] = MappingProxyType(
    {
        "final_accuracy": TrajectoryTask(
            final_accuracy_rows, "number", {name: MEASURES["number"][name] for name in ("r_squared", "kendall_tau")}
        ),
        "order": TrajectoryTask(order_rows, "classes", MEASURES["classes"], from_early=False),
        "diverged": TrajectoryTask(
            diverged_rows,
            "probability",
            {
                "area_under_curve": RankMeasure("area under the ROC curve", area_under_curve),
                "accuracy": mean_measure("accuracy", _decided_rightly),
                "majority": mean_measure("accuracy of the majority", _majority_is_right),
            },
        ),
    }
)
"""Name -> task. A new one is an entry."""

RETRIEVED = ("own_snapshot", "own_snapshot_of_task")
"""Candidates are the early snapshots of all runs of the split, or of those runs of it that have the same task."""


def _column(number: int, rows: Predictions) -> Array:
    return np.asarray(rows.predicted[:, number])


_TITLES = {
    "top_1": "top-1",
    "mean_reciprocal_rank": "mean reciprocal rank",
    "chance_top_1": "chance of top-1",
    "chance_mean_reciprocal_rank": "chance of mean reciprocal rank",
}
RANK_MEASURES: Mapping[str, Measure] = MappingProxyType(
    {name: mean_measure(title, partial(_column, number)) for number, (name, title) in enumerate(_TITLES.items())}
)
"""Name -> measure; all are means over late snapshots of the columns of predictions."""


def asked_tasks(steps: Sequence[int]) -> dict[str, tuple[TrajectoryTask, int]]:
    """Return what is asked in a zoo with these early steps: name of the scores, as `diverged@100` -> task and step.

    Tasks that are not asked at early steps have the name `order`, say, and step 0.
    """
    asked: dict[str, tuple[TrajectoryTask, int]] = {}
    for name, task in TRAJECTORY_TASKS.items():
        asked |= {at_step(name, step): (task, step) for step in steps} if task.from_early else {name: (task, 0)}
    return asked


def at_step(task: str, step: int) -> str:
    """Return the name of the scores of a task at an early step."""
    return f"{task}@{step}"
