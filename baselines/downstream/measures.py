"""Measures of how well labels are predicted, and what they need to be computed on thousands of resamples at once.

A new measure is an entry of `MEASURES`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from scipy.stats import kendalltau, rankdata

from rnn_zoos.families.benchmark import TargetKind
from rnn_zoos.format.files import Array

Kind: TypeAlias = TargetKind

_RANK_RESAMPLES = 100  # Kendall's tau is computed anew for every resample, which takes milliseconds
_CONSTANT = 1e-12  # labels whose variance is below this fraction of their squared size count as equal


@dataclass(frozen=True)
class Predictions:
    """Predictions for R rows.

    Attributes:
        predicted: [R, columns of the target].
        true: True labels, [R, columns].
        steps: Training step of each row, [R].
    """

    predicted: Array
    true: Array
    steps: Array


class Measure(ABC):
    """A number that tells how well labels are predicted.

    Attributes:
        title: Its name in tables and figures.
    """

    title: str

    @abstractmethod
    def value(self, rows: Predictions) -> float:
        """Return the measure; nan if it is undefined."""

    @abstractmethod
    def resampled(self, rows: Predictions, clusters: Array, counts: Array) -> Array:
        """Return the measure of resampled rows, [B], or of the first of them if it takes long.

        Args:
            rows: R predictions.
            clusters: Number 0..C-1 of the cluster that each row belongs to, [R].
            counts: How often each cluster is drawn in each of B resamples, [B, C].
        """


@dataclass(frozen=True)
class RatioMeasure(Measure):
    """A measure that follows from sums over rows; sums of resamples are one matrix product.

    Attributes:
        title: Its name in tables and figures.
        terms: Function of predictions that returns what is summed, [R, K].
        combine: Function of sums [..., K] that returns measures [...]; nan where a measure is undefined.
    """

    title: str
    terms: Callable[[Predictions], Array]
    combine: Callable[[Array], Array]

    def value(self, rows: Predictions) -> float:
        """Return the measure; nan if it is undefined."""
        return float(self.combine(self.terms(rows).sum(axis=0)))

    def resampled(self, rows: Predictions, clusters: Array, counts: Array) -> Array:
        """Return the measure of resampled rows, [B]; see `Measure.resampled`."""
        return self.combine(counts @ cluster_sums(self.terms(rows), clusters, counts.shape[1]))


@dataclass(frozen=True)
class RankMeasure(Measure):
    """A measure of all pairs of rows, computed anew for each of the first 100 resamples.

    Attributes:
        title: Its name in tables and figures.
        function: Function of predicted and true labels [R] that returns the measure.
    """

    title: str
    function: Callable[[Array, Array], float]

    def value(self, rows: Predictions) -> float:
        """Return the measure of the first column."""
        return self.function(rows.predicted[:, 0], rows.true[:, 0])

    def resampled(self, rows: Predictions, clusters: Array, counts: Array) -> Array:
        """Return the measure of resampled rows, [B]; see `Measure.resampled`."""
        predicted, true = rows.predicted[:, 0], rows.true[:, 0]
        drawn = (np.repeat(np.arange(len(true)), count[clusters]) for count in counts[:_RANK_RESAMPLES])
        return np.array([self.function(predicted[numbers], true[numbers]) for numbers in drawn])


def cluster_sums(terms: Array, clusters: Array, number: int) -> Array:
    """Return the sums [C, K] of the terms [R, K] of each of `number` clusters; `clusters` [R] has their numbers."""
    sums = np.zeros((number, terms.shape[1]))
    np.add.at(sums, clusters, terms)
    return sums


def angular_errors(predicted: Array, true: Array) -> Array:
    """Return the absolute differences between angles in degrees, along the shorter arc: 0 to 180."""
    apart = np.abs(predicted - true) % 360
    return np.asarray(np.minimum(apart, 360 - apart))


def kendall_tau(predicted: Array, true: Array) -> float:
    """Return Kendall's tau-b, which accounts for ties; 0 for constant predictions, nan without rows."""
    if len(predicted) == 0:
        return float("nan")
    if (predicted == predicted[0]).all():
        return 0.0
    return float(kendalltau(predicted, true).statistic)


def area_under_curve(predicted: Array, true: Array) -> float:
    """Return the area under the ROC curve of scores [R] for labels [R] of 0 and 1; nan unless both labels occur.

    It is the probability that a row with label 1 has a higher score than one with label 0, where ties count half.
    """
    positive = true > 0
    number, others = int(positive.sum()), int((~positive).sum())
    if number == 0 or others == 0:
        return float("nan")
    above = rankdata(predicted)[positive].sum() - number * (number + 1) / 2
    return float(above / (number * others))


def _divide(numerator: Array, denominator: Array) -> Array:
    """Return the quotients, nan where the denominator is 0."""
    quotient = np.full(np.shape(numerator), np.nan)
    return np.asarray(np.divide(numerator, denominator, out=quotient, where=np.asarray(denominator) > 0))


def mean_measure(title: str, values: Callable[[Predictions], Array]) -> RatioMeasure:
    """Return the measure that is the mean over rows of `values`, a function of predictions that returns floats [R]."""

    def terms(rows: Predictions) -> Array:
        return np.stack([values(rows), np.ones(len(rows.true))], axis=1)

    return RatioMeasure(title, terms, lambda sums: _divide(sums[..., 0], sums[..., 1]))


def _all_right(rows: Predictions) -> Array:
    return np.asarray((rows.predicted == rows.true).all(axis=1), float)


def _degrees_off(rows: Predictions) -> Array:
    return np.asarray(angular_errors(rows.predicted, rows.true).mean(axis=1))


def _variance_terms(rows: Predictions, groups: Array) -> Array:
    """Return the terms of R²: squared error, then number, label and squared label for each of G groups, [R, 1 + 3 G].

    `groups` [R, G] says which group a row is in. Labels are taken from their mean, so that no digits are lost, and
    divided by their largest size.
    """
    if len(rows.true) == 0:
        return np.zeros((0, 4))
    centred = rows.true[:, 0] - rows.true[:, 0].mean()
    size = np.abs(rows.true).max() or 1.0
    error, label = (rows.predicted[:, 0] - rows.true[:, 0]) / size, centred / size
    parts = [groups, groups * label[:, None], groups * label[:, None] ** 2]
    return np.concatenate([(error**2)[:, None], np.stack(parts, axis=2).reshape(len(label), -1)], axis=1)


def _overall_terms(rows: Predictions) -> Array:
    return _variance_terms(rows, np.ones((len(rows.true), 1)))


def _within_terms(rows: Predictions) -> Array:
    return _variance_terms(rows, (rows.steps[:, None] == np.unique(rows.steps)).astype(float))


def _explained(sums: Array) -> Array:
    """Return 1 - squared error / sum over groups of the squared deviations from the group's mean; nan if that is 0."""
    number, label, squared = np.moveaxis(sums[..., 1:].reshape(*sums.shape[:-1], -1, 3), -1, 0)
    scattered = squared - _divide(label**2, np.maximum(number, 1))
    variance = scattered.sum(axis=-1)
    known = np.where(variance > _CONSTANT * number.sum(axis=-1), variance, 0)
    return 1 - _divide(sums[..., 0], known)


MEASURES: Mapping[Kind, Mapping[str, Measure]] = MappingProxyType(
    {
        "number": {
            "r_squared": RatioMeasure("R²", _overall_terms, _explained),
            # The training step explains most of the variance of accuracy. Here the true mean of each step counts as
            # known, so that 0 is what knowing the step alone gives.
            "r_squared_within_steps": RatioMeasure("R² within steps", _within_terms, _explained),
            "kendall_tau": RankMeasure("Kendall's tau", kendall_tau),
        },
        "classes": {"accuracy": mean_measure("accuracy", _all_right)},
        "angle": {"degrees": mean_measure("error (degrees)", _degrees_off)},
    }
)
"""Kind of target -> name -> measure."""

_FRACTIONS = (
    "accuracy", "majority", "area_under_curve",
    "top_1", "mean_reciprocal_rank", "chance_top_1", "chance_mean_reciprocal_rank",
)  # fmt: skip
LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "r_squared": (-math.inf, 1.0),
        "r_squared_within_steps": (-math.inf, 1.0),
        "kendall_tau": (-1.0, 1.0),
        "degrees": (0.0, 180.0),
        **dict.fromkeys(_FRACTIONS, (0.0, 1.0)),
    }
)
"""Name of a measure, of targets or of trajectory tasks -> the lowest and the highest value that it can have."""


def limits_of(measure: str) -> tuple[float, float]:
    """Return the lowest and the highest value that a measure can have, given its name; a new one has no limits."""
    return LIMITS.get(measure, (-math.inf, math.inf))
