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
"""strict: trained on `train` alone. paper: half of the `ood` tasks are added to training, and no split tests them."""

EVALUATED_SPLITS = ("validation", "test", "ood")
"""The splits on which encoders and predictors are evaluated."""


UNUSUAL = 1000.0
"""A number above this multiple of the median training label counts as missing; see `outlier_threshold`."""


@dataclass(frozen=True)
class Rows:
    """R rows that predictors are trained or tested on.

    Attributes:
        features: [R, F].
        labels: [R, columns of the target].
        runs: [R] run numbers.
        tasks: [R] names of tasks.
        steps: [R] training steps.
    """

    features: Array
    labels: Array
    runs: Array
    tasks: Array
    steps: Array


def row_numbers(
    data: ZooData, protocol: str = "strict", from_step: int = 0
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return split -> numbers of the rows that a protocol trains on, and split -> of those that it tests.

    Rows before step `from_step` are left out. Raises UnknownNameError for an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError.among("protocol", protocol, PROTOCOLS)
    every = {split: np.flatnonzero(rows.labels("step") >= from_step) for split, rows in data.splits.items()}
    trained, tested = {"train": every["train"]}, {split: every[split] for split in EVALUATED_SPLITS}
    if protocol == "paper":
        tasks = {split: data.splits[split].labels("task").astype(str) for split in tested}
        half = np.unique(tasks["ood"])[::2]
        known = {split: np.isin(tasks[split], half)[rows] for split, rows in tested.items()}
        trained["ood"] = every["ood"][known["ood"]]
        # Of all splits: in a transfer across architectures, `test` has the tasks of `ood`.
        tested = {split: rows[~known[split]] for split, rows in tested.items()}
    return trained, tested


def protocol_rows(
    data: ZooData, features: Features, target: Target, protocol: str = "strict"
) -> tuple[Rows, dict[str, Rows]]:
    """Return the training rows of a protocol, and the tested rows of every evaluated split.

    Rows whose labels are larger than `outlier_threshold` are left out of both.

    Raises UnknownNameError for an unknown protocol, LeakError if training and tested rows share a run or a task.
    """
    trained, tested = row_numbers(data, protocol, target.from_step)
    train = _joined([_rows(data.splits[split], features[split], target, rows) for split, rows in trained.items()])
    test = {split: _rows(data.splits[split], features[split], target, rows) for split, rows in tested.items()}
    largest = outlier_threshold(target, train.labels)
    train, test = _up_to(train, largest), {split: _up_to(rows, largest) for split, rows in test.items()}
    for name, rows in test.items():
        guard_against_leaks(train, rows, name)
    return train, test


def outlier_threshold(target: Target, labels: Array) -> float:
    """Return the absolute value above which a label counts as missing, given the training labels [R, columns].

    The losses of networks whose weights exploded are many powers of ten larger than others. A few would decide what
    predictors learn, and any score. Logarithms, angles and classes have no such size, nor have numbers that are mostly
    zero. It is at least 1: accuracies and other fractions always count.
    """
    median = float(np.median(np.abs(labels))) if len(labels) else 0.0
    return max(1.0, UNUSUAL * median) if target.kind == "number" and not target.log and median > 0 else np.inf


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


def _rows(split: SplitData, features: Array, target: Target, rows: Array) -> Rows:
    """Return the rows of a split with these numbers."""
    every = (
        np.asarray(features, np.float64),
        target.values(split),
        split.labels("run"),
        split.labels("task").astype(str),
        split.labels("step"),
    )
    return Rows(*(column[rows] for column in every))


def _up_to(rows: Rows, largest: float) -> Rows:
    """Return those rows whose labels are not larger."""
    usual = (np.abs(rows.labels) <= largest).all(axis=1)
    return rows if usual.all() else Rows(*(column[usual] for column in vars(rows).values()))


def _joined(parts: list[Rows]) -> Rows:
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return Rows(*(np.concatenate(column) for column in columns))
