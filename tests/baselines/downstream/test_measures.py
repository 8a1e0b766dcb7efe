"""Measures against values by hand, and their resampling by sums against the measure of rows that are really drawn."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from rnn_zoos.baselines.downstream.measures import MEASURES, Predictions, angular_errors, kendall_tau

NUMBERS = MEASURES["number"]


def numbers(predicted, true, steps=None) -> Predictions:
    true = np.array(true, float)
    steps = np.zeros(len(true)) if steps is None else np.array(steps)
    return Predictions(np.array(predicted, float)[:, None], true[:, None], steps)


def planted(kind: str, columns: int = 1, rows: int = 83) -> Predictions:
    """Return random predictions that are partly right, of four steps."""
    random = np.random.default_rng(5)
    if kind == "number":
        true = random.normal(7, 0.3, size=(rows, 1))
        predicted = true + random.normal(0, 0.2, size=true.shape)
    else:
        true = random.integers(0, 3 if kind == "classes" else 360, size=(rows, columns)).astype(float)
        predicted = np.where(random.random(true.shape) < 0.6, true, true[::-1])
    return Predictions(predicted, true, random.choice([0, 200, 500, 1000], size=rows))


def test_measures_of_numbers_agree_with_values_computed_by_hand():
    true = [1, 2, 3, 4]
    assert NUMBERS["r_squared"].value(numbers(true, true)) == 1
    assert NUMBERS["r_squared"].value(numbers([2.5] * 4, true)) == pytest.approx(0)
    assert NUMBERS["r_squared"].value(numbers([1, 2, 3, 5], true)) == pytest.approx(1 - 1 / 5)
    assert np.isnan(NUMBERS["r_squared"].value(numbers(true, [0.1] * 4)))
    assert kendall_tau(np.array(true)[::-1], np.array(true)) == -1
    assert kendall_tau(np.array([1.0, 3, 2, 4]), np.array(true)) == pytest.approx(4 / 6)
    assert kendall_tau(np.ones(4), np.array(true)) == 0 and np.isnan(kendall_tau(np.ones(0), np.ones(0)))
    assert angular_errors(np.array([350.0, 10, 0, 725]), np.array([10.0, 350, 180, 5])).tolist() == [20, 20, 180, 0]


def test_r_squared_within_steps_counts_the_mean_of_every_step_as_known():
    steps, true = [0, 0, 0, 9, 9, 9], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]
    by_step = [0.2] * 3 + [0.8] * 3
    within = NUMBERS["r_squared_within_steps"]
    assert NUMBERS["r_squared"].value(numbers(by_step, true, steps)) > 0.9
    assert within.value(numbers(by_step, true, steps)) == pytest.approx(0)
    assert within.value(numbers(true, true, steps)) == 1
    shifted = [value + 0.1 for value in true]
    assert within.value(numbers(shifted, true, steps)) == pytest.approx(1 - 6 * 0.01 / 0.04)
    assert within.value(numbers(true, true)) == NUMBERS["r_squared"].value(numbers(true, true))
    assert np.isnan(within.value(numbers(true, by_step, steps)))


def test_a_row_is_right_if_all_its_columns_are():
    predicted = np.array([[1, 2], [1, 2], [3, 2], [1, 2]])
    rows = Predictions(predicted, np.array([[1, 2]] * 4), np.arange(4))
    assert MEASURES["classes"]["accuracy"].value(rows) == 0.75
    angles = Predictions(np.array([[350.0], [20]]), np.array([[10.0], [30]]), np.arange(2))
    assert MEASURES["angle"]["degrees"].value(angles) == 15


@pytest.mark.parametrize(("kind", "columns"), [("number", 1), ("classes", 2), ("angle", 1)])
def test_resampled_measures_are_the_measures_of_the_rows_drawn(kind, columns):
    rows, random = planted(kind, columns), np.random.default_rng(0)
    clusters = random.integers(7, size=len(rows.true))
    counts = random.multinomial(7, np.full(7, 1 / 7), size=5)
    for measure in MEASURES[kind].values():
        found = measure.resampled(rows, clusters, counts)
        for count, value in zip(counts, found, strict=True):
            drawn = np.concatenate([np.flatnonzero(clusters == c) for c in range(7) for _ in range(count[c])])
            expected = measure.value(Predictions(rows.predicted[drawn], rows.true[drawn], rows.steps[drawn]))
            assert value == pytest.approx(expected, rel=1e-9), measure.title
        assert len(set(found.tolist())) == len(found)


def test_measures_without_rows_are_undefined():
    for kind, measures in MEASURES.items():
        empty = Predictions(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
        assert all(np.isnan(measure.value(empty)) for measure in measures.values()), kind


def test_large_labels_lose_no_digits():
    true = 1e6 + np.random.default_rng(0).normal(0, 5, 100)
    shift = np.random.default_rng(1).normal(0, 5, 100)
    expected = 1 - (shift**2).sum() / ((true - true.mean()) ** 2).sum()
    assert NUMBERS["r_squared"].value(numbers(true + shift, true)) == pytest.approx(expected, rel=1e-8)


def test_kendalls_tau_is_resampled_a_hundred_times():
    rows, counts = planted("number"), np.ones((130, 1), int)
    found = NUMBERS["kendall_tau"].resampled(rows, np.zeros(len(rows.true), int), counts)
    assert len(found) == 100
    assert found[0] == pytest.approx(kendalltau(rows.predicted[:, 0], rows.true[:, 0]).statistic)
