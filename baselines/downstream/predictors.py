"""Reading labels from features of networks: predictors, protocols, and the guard against rows that know each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rnn_zoos.baselines.downstream.targets import MEASURES, Target, bootstrap_interval
from rnn_zoos.baselines.emulation.data import SplitData, ZooData
from rnn_zoos.errors import LeakError, UnknownNameError
from rnn_zoos.format.files import Array

Features: TypeAlias = Mapping[str, Array]
"""Of every split, what predictors read: [R, F]."""

PROTOCOLS = ("strict", "paper")
"""strict: trained on `train` alone. paper: half of the tasks of `ood` join it, the other half is tested."""


@dataclass(frozen=True)
class Rows:
    """Rows that predictors are trained on or tested on."""

    features: Array
    labels: Array
    runs: Array
    tasks: Array


def _linear(kind: str, seed: int) -> Any:  # noqa: ANN401 - scikit-learn has no types
    return Ridge(alpha=1.0) if kind != "classes" else LogisticRegression(max_iter=2000)


def _mlp(kind: str, seed: int) -> Any:  # noqa: ANN401
    """An MLP that stops by a tenth of its own training rows."""
    made = MLPRegressor if kind != "classes" else MLPClassifier
    sizes = {"hidden_layer_sizes": (128, 128), "max_iter": 300, "n_iter_no_change": 15}
    return made(**sizes, early_stopping=True, random_state=seed)


def _boosting(kind: str, seed: int) -> Any:  # noqa: ANN401
    """Gradient-boosted trees, what Unterthiner et al. (2020) read accuracy with."""
    made = HistGradientBoostingRegressor if kind != "classes" else HistGradientBoostingClassifier
    return made(max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=seed)


PREDICTORS: Mapping[str, Callable[[str, int], Any]] = MappingProxyType(
    {"linear": _linear, "mlp": _mlp, "boosting": _boosting}
)


def protocol_rows(
    data: ZooData, features: Features, target: Target, protocol: str = "strict"
) -> tuple[Rows, dict[str, Rows]]:
    """Return the training rows of a protocol, and the rows that are tested, by split. Raises UnknownNameError.

    Raises LeakError if a run, or a task, is on both sides.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError.among("protocol", protocol, PROTOCOLS)
    rows = {name: _rows(split, features[name], target) for name, split in data.splits.items()}
    train, tested = rows["train"], {name: rows[name] for name in ("validation", "test", "ood")}
    if protocol == "paper":
        known = np.isin(rows["ood"].tasks, np.unique(rows["ood"].tasks)[::2])
        train, tested["ood"] = _joined(train, _where(rows["ood"], known)), _where(rows["ood"], ~known)
    for name, test in tested.items():
        guard_against_leaks(train, test, name)
    return train, tested


def _rows(split: SplitData, features: Array, target: Target) -> Rows:
    return Rows(
        np.asarray(features, np.float64), target.values(split), split.labels("run"), split.labels("task").astype(str)
    )


def _where(rows: Rows, kept: Array) -> Rows:
    return Rows(rows.features[kept], rows.labels[kept], rows.runs[kept], rows.tasks[kept])


def _joined(one: Rows, other: Rows) -> Rows:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return Rows(*(np.concatenate(pair) for pair in pairs))


def guard_against_leaks(train: Rows, test: Rows, name: str) -> None:
    """Raise LeakError if training and tested rows share a run or a task: then labels could be recognised, not read."""
    for what, ours, theirs in (("runs", train.runs, test.runs), ("tasks", train.tasks, test.tasks)):
        shared = np.intersect1d(ours, theirs)
        if len(shared):
            raise LeakError(
                f"{len(shared)} {what} are among the training rows and in {name}, such as {shared[0]}. Split rows by "
                "run and by task."
            )


def predict(train: Rows, tested: Sequence[Array], target: Target, predictor: str, seed: int) -> list[Array]:
    """Fit one predictor a column to training rows, and return predictions [R, columns] for features of other rows.

    An angle is predicted as its sine and cosine. The predictor sees no labels but those of the training rows.
    """
    if predictor not in PREDICTORS:
        raise UnknownNameError.among("predictor", predictor, PREDICTORS)
    labels = train.labels
    if target.kind == "angle":
        radians = np.deg2rad(labels[:, 0])
        labels = np.stack([np.sin(radians), np.cos(radians)], axis=1)
    columns = [_predict_column(train.features, column, tested, target.kind, predictor, seed) for column in labels.T]
    predicted = [np.stack([column[place] for column in columns], axis=1) for place in range(len(tested))]
    if target.kind == "angle":
        predicted = [np.rad2deg(np.arctan2(pair[:, :1], pair[:, 1:])) % 360 for pair in predicted]
    return predicted


def _predict_column(
    features: Array, labels: Array, tested: Sequence[Array], kind: str, predictor: str, seed: int
) -> list[Array]:
    """Fit one predictor to labels [R] and return its predictions [R'] for each of the other features."""
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) == 1:  # nothing to fit
        return [np.full(len(rows), classes[0]) for rows in tested]
    model = make_pipeline(StandardScaler(), PREDICTORS[predictor](kind, seed))
    model.fit(features, codes if kind == "classes" else labels)
    predicted = [model.predict(rows) for rows in tested]
    return [classes[codes] for codes in predicted] if kind == "classes" else predicted


def evaluate(
    data: ZooData,
    features: Features,
    target: Target,
    protocol: str = "strict",
    predictor: str = "linear",
    seed: int = 0,
    permuted: bool = False,
    repeats: int = 500,
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return split -> measure -> value, low, high: how well a predictor reads a target; 95% intervals over runs.

    A value that does not exist, as R^2 of equal labels, is None. `permuted` deals the labels of training rows anew, as
    a control: then nothing can be read but chance.
    """
    train, tested = protocol_rows(data, features, target, protocol)
    if permuted:
        train = replace(train, labels=np.random.default_rng(seed).permutation(train.labels))
    predicted = predict(train, [rows.features for rows in tested.values()], target, predictor, seed)
    return measured(target, tested, predicted, repeats, seed)


def measured(
    target: Target, tested: Mapping[str, Rows], predictions: Sequence[Array], repeats: int, seed: int
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return split -> measure -> value, low, high of predictions [R, columns], one for each split."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for (name, rows), predicted in zip(tested.items(), predictions, strict=True):
        found[name] = {}
        for measure, function in MEASURES[target.kind].items():
            low, high = bootstrap_interval(function, predicted, rows.labels, rows.runs, repeats, seed)
            told = {"value": function(predicted, rows.labels), "low": low, "high": high}
            found[name][measure] = {key: None if np.isnan(value) else value for key, value in told.items()}
    return found
