"""Bootstrap intervals: tasks are resampled with their runs; intervals contain the true value as often as claimed."""

import time

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp, ttest_ind

from rnn_zoos.baselines.downstream.intervals import (
    add_seed_variance,
    bootstrap_interval,
    percentile_interval,
    resampled_counts,
)
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
        low, high = percentile_interval(counts @ random.normal(size=tasks) / tasks, tasks)
        contained += low <= 0 <= high
    assert 0.91 <= contained / 400 <= 0.98


def test_an_interval_of_one_task_or_of_undefined_values_is_undefined():
    assert np.isnan(bootstrap_interval(ACCURACY, judged(np.ones(4)), np.zeros(4))).all()
    assert np.isnan(percentile_interval(np.full(9, np.nan), 5)).all()
    assert percentile_interval(np.array([np.nan, 2, 2, 2]), 5) == (2, 2)


def test_without_variation_over_tasks_an_interval_over_seeds_is_that_of_student_and_welch():
    a, b = [0.3, 0.5, 1.3], [0.1, 0.15]
    expected = ttest_1samp(a, 0).confidence_interval()
    assert add_seed_variance(0.7, (0.7, 0.7), [a]) == pytest.approx((expected.low, expected.high))
    expected, value = ttest_ind(a, b, equal_var=False).confidence_interval(), 0.7 - 0.125
    assert add_seed_variance(value, (value, value), [a, b], 19) == pytest.approx((expected.low, expected.high))


def test_a_single_seed_and_equal_seeds_do_not_widen_an_interval():
    for means in ([[0.5]], [[0.5, 0.5], [0.1]]):
        assert add_seed_variance(0.5, (0.4, 0.7), means, 7) == pytest.approx((0.4, 0.7))
    assert np.isnan(add_seed_variance(0.5, (np.nan, np.nan), [[0.4, 0.6]])).all()
    assert add_seed_variance(0.5, (0.5, 0.5), [[0.5, 0.5]]) == (0.5, 0.5)


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("noise", [0.1, 1, 5])
def test_intervals_over_tasks_and_seeds_contain_the_mean_about_as_often_as_claimed(noise, seeds):
    """`noise` is the deviation of the mean over seeds, in units of that of the mean over 19 tasks."""
    random, contained = np.random.default_rng(3), 0
    for _ in range(1000):
        tasks, own = random.normal(size=19), noise * np.sqrt(seeds / 19) * random.normal(size=seeds)
        over_tasks = tasks.mean() + np.array([-1, 1]) * t.ppf(0.975, 18) * tasks.std(ddof=1) / np.sqrt(19)
        mean = tasks.mean() + own.mean()
        low, high = add_seed_variance(mean, tuple(over_tasks + own.mean()), [tasks.mean() + own], 19)
        contained += low <= 0 <= high
    assert (0.93 if seeds == 3 else 0.9) <= contained / 1000 <= 0.97


def test_a_thousand_resamples_take_milliseconds():
    random = np.random.default_rng(0)
    rows = Predictions(random.normal(size=(840, 1)), random.normal(size=(840, 1)), random.integers(7, size=840))
    started = time.perf_counter()
    bootstrap_interval(MEASURES["number"]["r_squared_within_steps"], rows, random.integers(50, size=840))
    assert time.perf_counter() - started < 0.2
