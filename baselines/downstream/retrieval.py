"""Retrieval: is the network whose embedding is nearest a network of the same task?"""

from __future__ import annotations

import numpy as np

from rnn_zoos.baselines.downstream.measures import MEASURES, Predictions, mean_measure
from rnn_zoos.baselines.downstream.predictors import Score, Scores, scores_of
from rnn_zoos.baselines.downstream.protocols import Features, Rows, protocol_rows
from rnn_zoos.baselines.downstream.targets import Target, task_targets
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.format.files import Array


def unit_rows(features: Array) -> Array:
    """Return features [R, F], float64, with every row scaled to length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(np.divide(features, lengths, out=np.zeros(features.shape), where=lengths > 0))


SAME = 1e-9
"""Cosines that differ by less are equal: the same features may differ in their last bits."""


def nearest_of_other_runs(features: Array, runs: Array) -> list[Array]:
    """Return for each of R rows the numbers of the rows of other runs that are nearest by cosine: one, or all tied.

    Args:
        features: [R, F]. The cosine with a row of zeros counts as 0.
        runs: [R] run numbers, of at least two runs.
    """
    unit = unit_rows(features)
    cosines = unit @ unit.T
    cosines[runs[:, None] == runs] = -np.inf
    return [np.flatnonzero(row >= row.max() - SAME) for row in cosines]


def retrieval_scores(data: ZooData, features: Features, repeats: int) -> dict[str, Scores]:
    """Return target -> split -> measure -> score of taking the task of the nearest row of other runs of the split.

    Targets are those of `task_targets`: rows of all networks, and of trained ones among trained ones. Nothing is
    fitted, so that tasks need not be known from training. Where tasks are classes, only rows whose task has several
    runs in the split are counted: the others have no right neighbour. Where tasks are angles, all rows are. Of rows
    that are equally near, the mean counts: features that are the same for all networks are at chance.

    Args:
        data: The zoo.
        features: Split -> the features [R, F] of its rows.
        repeats: Bootstrap resamples of the intervals.
    """
    scores: dict[str, Scores] = {}
    for name, target in task_targets(data.zoo.manifest.zoo).items():
        _, tested = protocol_rows(data, features, target)
        scores[name] = {split: _scores(rows, target, repeats) for split, rows in tested.items()}
    return scores


def _scores(rows: Rows, target: Target, repeats: int) -> dict[str, Score]:
    counted = _has_several_runs(rows) if target.kind == "classes" else np.full(len(rows.runs), True)
    if len(np.unique(rows.runs)) < 2:
        counted[:] = False
    (name, measure), *_ = MEASURES[target.kind].items()
    found = nearest_of_other_runs(rows.features, rows.runs) if counted.any() else []
    values = np.zeros((len(rows.runs), 1))
    for row in np.flatnonzero(counted):  # the order of equal rows must not matter: their mean counts
        nearest = rows.labels[found[row]]
        of_row = Predictions(nearest, np.broadcast_to(rows.labels[row], nearest.shape), rows.steps[found[row]])
        values[row] = measure.value(of_row)
    known = Predictions(values[counted], values[counted], rows.steps[counted])
    return scores_of({name: mean_measure(measure.title, _first_column)}, known, rows.tasks[counted], repeats)


def _first_column(rows: Predictions) -> Array:
    return np.asarray(rows.predicted[:, 0])


def _has_several_runs(rows: Rows) -> Array:
    """Return which rows [R] have a task that several runs have, bool [R]."""
    pairs = np.unique(np.stack([rows.tasks, rows.runs.astype(str)], axis=1), axis=0)
    names, counts = np.unique(pairs[:, 0], return_counts=True)
    return np.isin(rows.tasks, names[counts > 1])
