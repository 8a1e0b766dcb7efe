"""Trajectory retrieval: which of many early snapshots is of the same run as a late one? By cosine."""

from __future__ import annotations

import numpy as np

from rnn_zoos.baselines.downstream.measures import Predictions
from rnn_zoos.baselines.downstream.predictors import scores_of
from rnn_zoos.baselines.downstream.protocols import Features, Rows, protocol_rows
from rnn_zoos.baselines.downstream.retrieval import SAME, unit_rows
from rnn_zoos.baselines.downstream.trajectories import TrajectoryScores
from rnn_zoos.baselines.downstream.trajectory_tasks import (
    LEFT_OUT,
    RANK_MEASURES,
    RETRIEVED,
    TRAJECTORY_LABELS,
    at_step,
    early_steps,
    last_snapshots,
)
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.format.files import Array


def ranked(cosines: Array, own: Array, allowed: Array) -> Array:
    """Return how well each of Q late snapshots finds its own run, [Q, 4].

    Columns: whether the own candidate is the first (top-1); one over its rank; the expectation of both for candidates
    in random order. Among equal cosines the order is random, too, and expectations are returned: features that are the
    same for all candidates are at chance exactly.

    Args:
        cosines: Cosines with C candidates, [Q, C].
        own: Number of the own candidate, [Q].
        allowed: Which candidates count, bool [Q, C]; the own one does.
    """
    of_own = cosines[np.arange(len(own)), own][:, None]
    above = (allowed & (cosines > of_own + SAME)).sum(axis=1)
    equal = (allowed & (np.abs(cosines - of_own) <= SAME)).sum(axis=1)
    number = allowed.sum(axis=1)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, cosines.shape[1] + 1))])
    first = np.where(above == 0, 1 / equal, 0.0)
    reciprocal = (harmonic[above + equal] - harmonic[above]) / equal
    return np.stack([first, reciprocal, 1 / number, harmonic[number] / number], axis=1)


def trajectory_retrieval(data: ZooData, features: Features, repeats: int) -> dict[str, TrajectoryScores]:
    """Return `own_snapshot@STEP` and `own_snapshot_of_task@STEP` -> scores, for every early step of the zoo.

    A late snapshot is the last of its run. Candidates are the snapshots at the early step, of all runs of the split or
    of those with the same task. The second asks what an embedding tells beyond the task; only late snapshots whose task
    has several candidates are counted, and where no task has, the scores say so.

    Args:
        data: The zoo.
        features: Split -> the features [R, F] of its rows.
        repeats: Bootstrap resamples of the intervals.
    """
    _, tested = protocol_rows(data, features, TRAJECTORY_LABELS)
    return {
        at_step(name, step): {
            split: _retrieved(rows, step, name == "own_snapshot_of_task", repeats) for split, rows in tested.items()
        }
        for name in RETRIEVED
        for step in early_steps(data.zoo.manifest.snapshots)
    }


def _retrieved(
    rows: Rows, step: int, of_task: bool, repeats: int
) -> dict[str, dict[str, float | None]] | dict[str, str]:
    candidates = np.flatnonzero(rows.steps == step)
    last = last_snapshots(rows.runs, rows.steps)[candidates]
    own = np.flatnonzero(rows.steps[last] > step)
    late, tasks = last[own], rows.tasks[candidates]
    allowed = tasks[own][:, None] == tasks if of_task else np.full((len(own), len(candidates)), True)
    counted = allowed.sum(axis=1) > 1
    if not counted.any():
        several = f"{'a task of which several runs have' if of_task else 'several runs with'} a snapshot at step {step}"
        return {LEFT_OUT: f"there is no later snapshot of {several}"}
    unit = unit_rows(rows.features)
    found = ranked(unit[late] @ unit[candidates].T, own, allowed)[counted]
    kept = late[counted]
    return scores_of(RANK_MEASURES, Predictions(found, found, rows.steps[kept]), rows.tasks[kept], repeats)
