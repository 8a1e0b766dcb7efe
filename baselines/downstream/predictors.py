"""Predictors: scikit-learn models that predict labels from features of networks, and their scores on other splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from rnn_zoos.baselines.downstream.intervals import REPEATS, bootstrap_interval
from rnn_zoos.baselines.downstream.measures import MEASURES, Measure, Predictions
from rnn_zoos.baselines.downstream.mlp import EarlyStoppedMLP
from rnn_zoos.baselines.downstream.protocols import Features, Rows, protocol_rows
from rnn_zoos.baselines.downstream.scaling import FeatureScaler
from rnn_zoos.baselines.downstream.targets import Target
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.errors import UnknownNameError
from rnn_zoos.format.files import Array

Score: TypeAlias = dict[str, float | None]
"""`value`, `low` and `high`: a measure and its 95% interval. None if it is undefined, as R² of equal labels is."""

Scores: TypeAlias = dict[str, dict[str, Score]]
"""Split -> measure -> score."""


@dataclass(frozen=True)
class Problem:
    """One column of labels to predict.

    Attributes:
        features: [R, F].
        labels: [R]; numbers of classes if `classes`.
        tasks: [R] names of tasks.
        classes: Whether to classify; otherwise to regress.
        seed: Seed of the predictor.
    """

    features: Array
    labels: Array
    tasks: Array
    classes: bool
    seed: int


def _linear(problem: Problem) -> Any:  # noqa: ANN401 - scikit-learn has no types
    """Fit ridge or logistic regression."""
    model = LogisticRegression(max_iter=2000) if problem.classes else Ridge(alpha=1.0)
    return make_pipeline(FeatureScaler(), model).fit(problem.features, problem.labels)


def _mlp(problem: Problem) -> Any:  # noqa: ANN401
    """Fit an MLP that is stopped early by its loss on a tenth of the tasks."""
    return EarlyStoppedMLP(problem.classes, problem.seed).fit(problem.features, problem.labels, problem.tasks)


def _boosting(problem: Problem) -> Any:  # noqa: ANN401
    """Fit gradient-boosted trees, with which Unterthiner et al. (2020) predict accuracy."""
    model = HistGradientBoostingClassifier if problem.classes else HistGradientBoostingRegressor
    trees = model(max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=problem.seed)
    return trees.fit(problem.features, problem.labels)


PREDICTORS: Mapping[str, Callable[[Problem], Any]] = MappingProxyType(
    {"linear": _linear, "mlp": _mlp, "boosting": _boosting}
)
"""Name -> function that fits a model to a problem; `model.predict` maps features [R', F] to labels [R'].

Models of classes have `predict_proba`, which maps features to the probabilities [R', C] of the classes.
"""


@dataclass(frozen=True)
class EvaluationSettings:
    """How targets are predicted and scored.

    Attributes:
        protocol: One of `PROTOCOLS`.
        predictor: One of `PREDICTORS`.
        seed: Seed of the predictor and of the permutation.
        permuted: Permute the labels of the training rows, as a control: scores should then be at chance.
        repeats: Bootstrap resamples behind every interval.
    """

    protocol: str = "strict"
    predictor: str = "linear"
    seed: int = 0
    permuted: bool = False
    repeats: int = REPEATS


_DEFAULTS = EvaluationSettings()


def predictor_scores(
    data: ZooData, features: Features, targets: Mapping[str, Target], settings: EvaluationSettings = _DEFAULTS
) -> dict[str, Scores]:
    """Fit predictors to the training rows; return target -> scores on the tested rows of every evaluated split.

    A column that several targets have is predicted once. Raises UnknownNameError for an unknown protocol or predictor,
    LeakError if training and tested rows share a run or a task.
    """
    found: dict[tuple[str, int], list[Array]] = {}  # by column and first step
    scores = {}
    for name, target in targets.items():
        train, tested = protocol_rows(data, features, target, settings.protocol)
        columns = [(column, target.from_step) for column in target.columns]
        if any(column not in found for column in columns):
            if settings.permuted:
                train = replace(train, labels=np.random.default_rng(settings.seed).permutation(train.labels))
            others = [rows.features for rows in tested.values()]
            predicted = predict(train, others, target, settings.predictor, settings.seed)
            found |= {column: [rows[:, n] for rows in predicted] for n, column in enumerate(columns)}
        parts = zip(*(found[column] for column in columns), strict=True)
        scores[name] = score_predictions(target, tested, [np.stack(part, axis=1) for part in parts], settings.repeats)
    return scores


def predict(train: Rows, tested: Sequence[Array], target: Target, predictor: str, seed: int) -> list[Array]:
    """Fit one predictor per column to the training rows, and return predictions [R, columns] for all other features.

    An angle is predicted as its sine and cosine. The predictor sees no labels but those of the training rows. Raises
    UnknownNameError for an unknown predictor.
    """
    fit, labels = _predictor(predictor), train.labels
    if target.kind == "angle":
        radians = np.deg2rad(labels[:, 0])
        labels = np.stack([np.sin(radians), np.cos(radians)], axis=1)
    classes = target.kind == "classes"
    problems = [Problem(train.features, column, train.tasks, classes, seed) for column in labels.T]
    columns = [_predict_column(problem, tested, fit) for problem in problems]
    predicted = [np.stack([column[number] for column in columns], axis=1) for number in range(len(tested))]
    if target.kind == "angle":
        predicted = [np.rad2deg(np.arctan2(pair[:, :1], pair[:, 1:])) % 360 for pair in predicted]
    return predicted


def predict_probability(train: Rows, tested: Sequence[Array], predictor: str, seed: int) -> list[Array]:
    """Fit a classifier to training rows with labels 0 and 1, and return the probabilities [R] of 1 for other features.

    Both labels must occur. Raises UnknownNameError for an unknown predictor.
    """
    problem = Problem(train.features, train.labels[:, 0].astype(int), train.tasks, True, seed)
    model = _predictor(predictor)(problem)
    return [np.asarray(model.predict_proba(rows)[:, 1]) for rows in tested]


def _predictor(name: str) -> Callable[[Problem], Any]:
    if name not in PREDICTORS:
        raise UnknownNameError.among("predictor", name, PREDICTORS)
    return PREDICTORS[name]


def _predict_column(problem: Problem, tested: Sequence[Array], fit: Callable[[Problem], Any]) -> list[Array]:
    """Fit one predictor and return its predictions [R'] for each of the other features."""
    classes, codes = np.unique(problem.labels, return_inverse=True)
    if len(classes) < 2:  # scikit-learn's classifiers refuse a single class, and all predictors no rows
        return [np.full(len(rows), classes[0] if len(classes) else np.nan) for rows in tested]
    model = fit(replace(problem, labels=codes if problem.classes else problem.labels))
    predicted = [model.predict(rows) for rows in tested]
    return [classes[codes.astype(int)] for codes in predicted] if problem.classes else predicted


def score_predictions(target: Target, tested: Mapping[str, Rows], predictions: Sequence[Array], repeats: int) -> Scores:
    """Return the scores of predictions [R, columns], one array per split of `tested`; 95% intervals over tasks."""
    return {
        split: scores_of(MEASURES[target.kind], Predictions(predicted, rows.labels, rows.steps), rows.tasks, repeats)
        for (split, rows), predicted in zip(tested.items(), predictions, strict=True)
    }


def scores_of(measures: Mapping[str, Measure], rows: Predictions, tasks: Array, repeats: int) -> dict[str, Score]:
    """Return the score of R rows by each of some measures; their intervals are over the tasks, named by `tasks` [R]."""
    scores = {}
    for name, measure in measures.items():
        low, high = bootstrap_interval(measure, rows, tasks, repeats)
        found = {"value": measure.value(rows), "low": low, "high": high}
        scores[name] = {key: None if np.isnan(value) else float(value) for key, value in found.items()}
    return scores
