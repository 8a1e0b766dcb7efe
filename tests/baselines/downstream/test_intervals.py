"""Bootstrap intervals: tasks are resampled with their runs; intervals contain the true value as often as claimed."""

import time

import numpy as np
import pytest

from rnn_zoos.baselines.downstream.intervals import bootstrap_interval, interval_of, resampled_counts, seed_weights
from rnn_zoos.baselines.downstream.measures import MEASURES, Predictions

ACCURACY = MEASURES["classes"]["accuracy"]


def judged(right: np.ndarray) -> Predictions:
    return Predictions(right[:, None].astype(float), np.ones((len(right), 1)), np.zeros(len(right)))


def test_tasks_are_resampled_and_not_rows():
    """240 rows of 8 tasks, each predicted correctly or wrongly as a whole: as uncertain as 8 coin flips."""
    tasks, right = np.repeat(np.arange(8), 30), np.repeat([0, 1] * 4, 30)
    low, high = bootstrap_interval(ACCURACY, judged(right), tasks)
    assert low <= 0.125 and high >= 0.875
    assert (low, high) == bootstrap_interval(ACCURACY, judged(right), tasks)
    low, high = bootstrap_interval(ACCURACY, judged(right), np.arange(240))
    assert 0.42 < low < 0.46 and 0.54 < high < 0.58


@pytest.mark.parametrize("tasks", [6, 19])
def test_intervals_of_few_tasks_contain_the_mean_about_as_often_as_claimed(tasks):
    """Plain percentiles of 6 tasks contain it in 83 of 100 cases."""
    random, contained = np.random.default_rng(3), 0
    counts = resampled_counts(tasks, 1000, 0)
    for _ in range(400):
        low, high = interval_of(counts @ random.normal(size=tasks) / tasks, tasks)
        contained += low <= 0 <= high
    assert 0.91 <= contained / 400 <= 0.98


def test_an_interval_of_one_task_or_of_undefined_values_is_undefined():
    assert np.isnan(bootstrap_interval(ACCURACY, judged(np.ones(4)), np.zeros(4))).all()
    assert np.isnan(interval_of(np.full(9, np.nan), 5)).all()
    assert interval_of(np.array([np.nan, 2, 2, 2]), 5) == (2, 2)


def test_weights_of_seeds_have_the_variance_of_a_mean_of_that_many_seeds():
    weights, values = seed_weights(3, 100_000, 1), np.array([0.3, 0.5, 1.3])
    assert weights.sum(axis=1) == pytest.approx(1)
    assert (weights @ values).mean() == pytest.approx(values.mean(), abs=5e-3)
    assert (weights @ values).var() == pytest.approx(values.var(ddof=1) / 3, rel=0.02)
    assert (seed_weights(1, 4, 0) == 1).all()


def test_a_thousand_resamples_take_milliseconds():
    random = np.random.default_rng(0)
    rows = Predictions(random.normal(size=(840, 1)), random.normal(size=(840, 1)), random.integers(7, size=840))
    started = time.perf_counter()
    bootstrap_interval(MEASURES["number"]["r_squared_within_steps"], rows, random.integers(50, size=840))
    assert time.perf_counter() - started < 0.2
