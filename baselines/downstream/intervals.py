"""Bootstrap intervals: 95% intervals of measures over tasks, which are resampled with all their runs.

The runs of a task, and the snapshots of a run, resemble each other: what is uncertain is which tasks were drawn. Seeds
are resampled too where a value is a mean over seeds.
"""

from __future__ import annotations

import math

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


def seed_weights(seeds: int, repeats: int, seed: int) -> Array:
    """Return the weight of each of S seeds in each of B resamples of S seeds, [B, S]; the weights of one sum to 1.

    The deviations from 1/S are widened by sqrt(S / (S - 1)): the variance of a resampled mean of few seeds is too small
    by that factor squared. A single seed has weight 1: its interval does not contain the variation over seeds.
    """
    equal = np.full((repeats, seeds), 1 / seeds)
    if seeds == 1:
        return equal
    drawn = resampled_counts(seeds, repeats, seed) / seeds
    return np.asarray(equal + (drawn - equal) * math.sqrt(seeds / (seeds - 1)))


def interval_of(resampled: Array, clusters: int) -> tuple[float, float]:
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


def bootstrap_interval(
    measure: Measure, rows: Predictions, tasks: Array, repeats: int = REPEATS, seed: int = 0
) -> tuple[float, float]:
    """Return the 95% interval of a measure; tasks, named by `tasks` [R], are resampled with all their rows."""
    names, clusters = np.unique(tasks, return_inverse=True)
    if len(names) < 2:
        return math.nan, math.nan
    counts = resampled_counts(len(names), repeats, seed)
    return interval_of(measure.resampled(rows, clusters, counts), len(names))
