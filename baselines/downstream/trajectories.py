"""Scores of trajectory tasks: a predictor is fitted to runs of the training rows, and tested on runs of other tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from rnn_zoos.baselines.downstream.measures import Predictions
from rnn_zoos.baselines.downstream.predictors import (
    EvaluationSettings,
    Score,
    predict,
    predict_probability,
    scores_of,
)
from rnn_zoos.baselines.downstream.protocols import Features, Rows, protocol_rows
from rnn_zoos.baselines.downstream.targets import Target
from rnn_zoos.baselines.downstream.trajectory_tasks import (
    LEFT_OUT,
    TRAJECTORY_LABELS,
    TrajectoryTask,
    asked_tasks,
    early_steps,
)
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.format.files import Array

TrajectoryScores: TypeAlias = dict[str, dict[str, Score] | dict[str, str]]
"""Split -> measure -> score, or `left_out` -> the reason why there are none."""


def trajectory_scores(data: ZooData, features: Features, settings: EvaluationSettings) -> dict[str, TrajectoryScores]:
    """Return `TASK@STEP` -> scores, for every early step of the zoo, and `order` -> scores.

    A predictor is fitted for each of them. A split of which something cannot be asked, as whether runs diverge where
    none does, has the reason in place of scores.

    Args:
        data: The zoo.
        features: Split -> the features [R, F] of its rows.
        settings: Protocol, predictor, seed, permutation of the training labels, bootstrap resamples.

    Raises:
        FormatError: The zoo has no accuracy.
        LeakError: Training and tested rows share a run or a task.
        UnknownNameError: There is no such protocol or predictor.
    """
    train, tested = protocol_rows(data, features, TRAJECTORY_LABELS, settings.protocol)
    scores = {}
    for name, (task, step) in asked_tasks(early_steps(data.zoo.manifest.snapshots)).items():
        of_split = {split: task.rows(rows, step) for split, rows in tested.items()}
        scores[name] = _task_scores(task, task.rows(train, step), of_split, settings)
    return scores


def _task_scores(
    task: TrajectoryTask, train: Rows, tested: Mapping[str, Rows], settings: EvaluationSettings
) -> TrajectoryScores:
    reasons = {split: _why_left_out(task, train, rows, split) for split, rows in tested.items()}
    asked = {split: rows for split, rows in tested.items() if reasons[split] is None}
    scores: TrajectoryScores = {split: {LEFT_OUT: reason} for split, reason in reasons.items() if reason is not None}
    if asked:
        if settings.permuted:
            train = replace(train, labels=np.random.default_rng(settings.seed).permutation(train.labels))
        predicted = _predict(task, train, [rows.features for rows in asked.values()], settings)
        for (split, rows), answers in zip(asked.items(), predicted, strict=True):
            predictions = Predictions(answers, rows.labels, rows.steps)
            scores[split] = scores_of(task.measures, predictions, rows.tasks, settings.repeats)
    return {split: scores[split] for split in tested}


def _why_left_out(task: TrajectoryTask, train: Rows, tested: Rows, split: str) -> str | None:
    """Return why a task cannot be asked of a split; None if it can."""
    known = len(np.unique(train.tasks))
    if known < 2:  # an MLP holds one of them out
        return f"the training rows: runs of {known} tasks have such snapshots; expected at least 2"
    for name, rows in (("the training rows", train), (split, tested)):
        if len(rows.labels) == 0:
            return f"{name}: no run has such snapshots"
        if task.answer == "probability" and len(np.unique(rows.labels)) < 2:
            return f"{name}: {'every' if rows.labels[0, 0] else 'no'} run with such a snapshot diverged"
    return None


def _predict(task: TrajectoryTask, train: Rows, tested: list[Array], settings: EvaluationSettings) -> list[Array]:
    """Return predictions [R, 1] for features, or [R, 2]: probabilities and the majority of the training labels."""
    if task.answer != "probability":
        target = Target((), task.answer, ())
        return predict(train, tested, target, settings.predictor, settings.seed)
    majority = float(train.labels.mean() > 0.5)
    found = predict_probability(train, tested, settings.predictor, settings.seed)
    return [np.stack([column, np.full(len(column), majority)], axis=1) for column in found]
