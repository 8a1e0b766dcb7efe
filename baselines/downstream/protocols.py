"""Protocols: which rows of a zoo predictors are trained on, which they are tested on, and the check against leaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from rnn_zoos.baselines.downstream.targets import Target
from rnn_zoos.baselines.emulation.data import SplitData, ZooData
from rnn_zoos.errors import LeakError, UnknownNameError
from rnn_zoos.format.files import Array

Features: TypeAlias = Mapping[str, Array]
"""Split -> the features [R, F] of its rows that predictors read."""

PROTOCOLS = ("strict", "paper")
"""strict: trained on `train` alone. paper: half of the `ood` tasks are added to training, the other half is tested."""

EVALUATED_SPLITS = ("validation", "test", "ood")
"""The splits on which encoders and predictors are evaluated."""


@dataclass(frozen=True)
class Rows:
    """R rows that predictors are trained or tested on.

    Attributes:
        features: [R, F].
        labels: [R, columns of the target].
        runs: [R] run numbers.
        tasks: [R] names of tasks.
    """

    features: Array
    labels: Array
    runs: Array
    tasks: Array


def protocol_rows(
    data: ZooData, features: Features, target: Target, protocol: str = "strict"
) -> tuple[Rows, dict[str, Rows]]:
    """Return the training rows of a protocol, and the tested rows of every evaluated split.

    Raises UnknownNameError for an unknown protocol, LeakError if training and tested rows share a run or a task.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError.among("protocol", protocol, PROTOCOLS)
    rows = {name: _rows(split, features[name], target) for name, split in data.splits.items()}
    train, tested = rows["train"], {name: rows[name] for name in EVALUATED_SPLITS}
    if protocol == "paper":
        known = np.isin(rows["ood"].tasks, np.unique(rows["ood"].tasks)[::2])
        train, tested["ood"] = _joined(train, _where(rows["ood"], known)), _where(rows["ood"], ~known)
    for name, test in tested.items():
        guard_against_leaks(train, test, name)
    return train, tested


def guard_against_leaks(train: Rows, test: Rows, name: str) -> None:
    """Raise LeakError if training rows and the tested rows of split `name` share a run or a task.

    A predictor could then recognise the run or the task, and recall its label.
    """
    for what, trained, tested in (("runs", train.runs, test.runs), ("tasks", train.tasks, test.tasks)):
        shared = np.intersect1d(trained, tested)
        if len(shared):
            raise LeakError(
                f"{len(shared)} {what} are both in the training rows and in {name}, for example {shared[0]}. Split "
                "rows by run and by task."
            )


def _rows(split: SplitData, features: Array, target: Target) -> Rows:
    tasks = split.labels("task").astype(str)
    return Rows(np.asarray(features, np.float64), target.values(split), split.labels("run"), tasks)


def _where(rows: Rows, kept: Array) -> Rows:
    return Rows(rows.features[kept], rows.labels[kept], rows.runs[kept], rows.tasks[kept])


def _joined(one: Rows, other: Rows) -> Rows:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return Rows(*(np.concatenate(pair) for pair in pairs))
