"""Intervals: 95% intervals of measures over tasks, which are resampled with all their runs, and over seeds.

The runs of a task, and the snapshots of a run, resemble each other: what is uncertain is which tasks were drawn. Two or
three seeds are too few to be resampled: where a value is a mean over seeds, their variance is added.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm, t

from rnn_zoos.baselines.downstream.measures import Measure, Predictions
from rnn_zoos.format.files import Array

REPEATS = 1000
"""Resamples behind every interval."""


def resampled_counts(clusters: int, repeats: int, seed: int) -> Array:
    """Return how often each of C clusters is drawn in each of B resamples of C clusters, [B, C]."""
    equal = np.full(clusters, 1 / clusters)
    return np.asarray(np.random.default_rng(seed).multinomial(clusters, equal, size=repeats))


def percentile_interval(resampled: Array, clusters: int) -> tuple[float, float]:
    """Return the 95% expanded percentile interval of the values [B] of resamples of `clusters` clusters.

    Percentiles of few clusters are too narrow: values vary too little by a factor (C - 1) / C, and the normal
    distribution stands for Student's t. The expanded interval (Hesterberg, What Teachers Should Know About the
    Bootstrap, The American Statistician 2015) takes percentiles further out, 1.5% and 98.5% for 19 clusters. Undefined
    values are left out; with fewer than two clusters, or without values, the interval is (nan, nan).
    """
    finite = resampled[np.isfinite(resampled)]
    if clusters < 2 or len(finite) == 0:
        return math.nan, math.nan
    level = norm.cdf(-math.sqrt(clusters / (clusters - 1)) * t.ppf(0.975, clusters - 1))
    low, high = np.quantile(finite, [level, 1 - level])
    return float(low), float(high)


def add_seed_variance(
    value: float, interval: tuple[float, float], means: Sequence[Sequence[float]], clusters: float = math.inf
) -> tuple[float, float]:
    """Return a 95% interval over tasks, widened by the variation over seeds.

    The variances of tasks and of means over seeds add up, and Student's t has the degrees of freedom of Welch and
    Satterthwaite: two seeds say little about how much others would differ. In simulations, intervals contain the true
    value in 93% to 96% of cases, and for the mean of an encoder with two seeds in 91%. A single seed adds nothing: the
    interval then does not contain the variation over seeds.

    Args:
        value: A mean over seeds, or a difference of two such means.
        interval: Its 95% interval over tasks, from a percentile or Student's t of `clusters` tasks.
        means: The values by seed: of the mean, or of each of the two.
        clusters: Number of tasks, at least 2; infinite if it is not known, but many.
    """
    parts = [(float(np.var(values, ddof=1)) / len(values), len(values) - 1) for values in means if len(values) > 1]
    quantile = float(t.ppf(0.975, clusters - 1))
    bounds = []
    for bound, sign in zip(interval, (-1, 1), strict=True):
        terms = [((bound - value) / quantile) ** 2, *(variance for variance, _ in parts)]
        freedom = [clusters - 1, *(number for _, number in parts)]
        variance = sum(terms)
        if variance > 0:  # not for nan, nor for a value without any variation
            inverse = sum((term / variance) ** 2 / number for term, number in zip(terms, freedom, strict=True))
            effective = 1 / inverse if inverse > 0 else math.inf
            bound = value + sign * float(t.ppf(0.975, effective)) * math.sqrt(variance)
        bounds.append(bound)
    return bounds[0], bounds[1]


def bootstrap_interval(
    measure: Measure, rows: Predictions, tasks: Array, repeats: int = REPEATS, seed: int = 0
) -> tuple[float, float]:
    """Return the 95% interval of a measure; tasks, named by `tasks` [R], are resampled with all their rows."""
    names, clusters = np.unique(tasks, return_inverse=True)
    if len(names) < 2:
        return math.nan, math.nan
    counts = resampled_counts(len(names), repeats, seed)
    return percentile_interval(measure.resampled(rows, clusters, counts), len(names))
