"""Predictors: scikit-learn models that predict labels from features of networks, and their scores on other splits."""

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

from rnn_zoos.baselines.downstream.protocols import Features, Rows, protocol_rows
from rnn_zoos.baselines.downstream.targets import MEASURES, Kind, Target, bootstrap_interval
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.errors import UnknownNameError
from rnn_zoos.format.files import Array

Score: TypeAlias = dict[str, float | None]
"""`value`, `low` and `high`: a measure and its 95% interval. None if it is undefined, as R² of equal labels is."""

Scores: TypeAlias = dict[str, dict[str, Score]]
"""Split -> measure -> score."""


def _linear(kind: Kind, seed: int) -> Any:  # noqa: ANN401 - scikit-learn has no types
    return Ridge(alpha=1.0) if kind != "classes" else LogisticRegression(max_iter=2000)


def _mlp(kind: Kind, seed: int) -> Any:  # noqa: ANN401
    """Return an MLP with early stopping on a tenth of its training rows."""
    model = MLPRegressor if kind != "classes" else MLPClassifier
    sizes = {"hidden_layer_sizes": (128, 128), "max_iter": 300, "n_iter_no_change": 15}
    return model(**sizes, early_stopping=True, random_state=seed)


def _boosting(kind: Kind, seed: int) -> Any:  # noqa: ANN401
    """Return gradient-boosted trees, with which Unterthiner et al. (2020) predict accuracy."""
    model = HistGradientBoostingRegressor if kind != "classes" else HistGradientBoostingClassifier
    return model(max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=seed)


PREDICTORS: Mapping[str, Callable[[Kind, int], Any]] = MappingProxyType(
    {"linear": _linear, "mlp": _mlp, "boosting": _boosting}
)
"""Name -> function of the kind of target and a seed that returns an unfitted scikit-learn model."""


@dataclass(frozen=True)
class EvaluationSettings:
    """How a target is predicted and scored.

    Attributes:
        protocol: One of `PROTOCOLS`.
        predictor: One of `PREDICTORS`.
        seed: Seed of the predictor, of the permutation and of the bootstrap.
        permuted: Permute the labels of the training rows, as a control: scores should then be at chance.
        repeats: Bootstrap samples behind every interval.
    """

    protocol: str = "strict"
    predictor: str = "linear"
    seed: int = 0
    permuted: bool = False
    repeats: int = 500


_DEFAULTS = EvaluationSettings()


def evaluate(data: ZooData, features: Features, target: Target, settings: EvaluationSettings = _DEFAULTS) -> Scores:
    """Fit a predictor to the training rows, and return its scores on the tested rows of every evaluated split.

    Raises UnknownNameError for an unknown protocol or predictor, LeakError if training and tested rows share a run or
    a task.
    """
    train, tested = protocol_rows(data, features, target, settings.protocol)
    if settings.permuted:
        train = replace(train, labels=np.random.default_rng(settings.seed).permutation(train.labels))
    predicted = predict(train, [rows.features for rows in tested.values()], target, settings.predictor, settings.seed)
    return score_predictions(target, tested, predicted, settings.repeats, settings.seed)


def predict(train: Rows, tested: Sequence[Array], target: Target, predictor: str, seed: int) -> list[Array]:
    """Fit one predictor per column to the training rows, and return predictions [R, columns] for all other features.

    An angle is predicted as its sine and cosine. The predictor sees no labels but those of the training rows. Raises
    UnknownNameError for an unknown predictor.
    """
    if predictor not in PREDICTORS:
        raise UnknownNameError.among("predictor", predictor, PREDICTORS)
    labels = train.labels
    if target.kind == "angle":
        radians = np.deg2rad(labels[:, 0])
        labels = np.stack([np.sin(radians), np.cos(radians)], axis=1)
    columns = [_predict_column(train.features, column, tested, target.kind, predictor, seed) for column in labels.T]
    predicted = [np.stack([column[number] for column in columns], axis=1) for number in range(len(tested))]
    if target.kind == "angle":
        predicted = [np.rad2deg(np.arctan2(pair[:, :1], pair[:, 1:])) % 360 for pair in predicted]
    return predicted


def _predict_column(
    features: Array, labels: Array, tested: Sequence[Array], kind: Kind, predictor: str, seed: int
) -> list[Array]:
    """Fit one predictor to labels [R] and return its predictions [R'] for each of the other features."""
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) == 1:  # scikit-learn's classifiers refuse a single class
        return [np.full(len(rows), classes[0]) for rows in tested]
    model = make_pipeline(StandardScaler(), PREDICTORS[predictor](kind, seed))
    model.fit(features, codes if kind == "classes" else labels)
    predicted = [model.predict(rows) for rows in tested]
    return [classes[codes] for codes in predicted] if kind == "classes" else predicted


def score_predictions(
    target: Target, tested: Mapping[str, Rows], predictions: Sequence[Array], repeats: int, seed: int
) -> Scores:
    """Return the scores of predictions [R, columns], one array per split of `tested`; 95% intervals over runs."""
    scores: Scores = {}
    for (split, rows), predicted in zip(tested.items(), predictions, strict=True):
        scores[split] = {}
        for measure, function in MEASURES[target.kind].items():
            low, high = bootstrap_interval(function, predicted, rows.labels, rows.runs, repeats, seed)
            score = {"value": function(predicted, rows.labels), "low": low, "high": high}
            scores[split][measure] = {key: None if np.isnan(value) else value for key, value in score.items()}
    return scores
