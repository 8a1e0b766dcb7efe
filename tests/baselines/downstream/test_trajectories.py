"""Trajectory tasks: rows against loops over runs, answers in the features are found, noise is not, gaps are named."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from run_tables import SNAPSHOTS, MadeUpRun, made_up_zoo, random_runs

from rnn_zoos.baselines.downstream.controls import control_features
from rnn_zoos.baselines.downstream.measures import area_under_curve
from rnn_zoos.baselines.downstream.predictors import EvaluationSettings, predict_probability
from rnn_zoos.baselines.downstream.protocols import Rows, protocol_rows
from rnn_zoos.baselines.downstream.trajectories import trajectory_scores
from rnn_zoos.baselines.downstream.trajectory_tasks import (
    TRAJECTORY_LABELS,
    diverged_rows,
    early_steps,
    final_accuracy_rows,
    last_snapshots,
    order_rows,
)
from rnn_zoos.errors import LeakError, UnknownNameError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny data
SETTINGS = EvaluationSettings(repeats=20)
SIZES = {"train": (170, 31, 40), "validation": (23, 7, 5), "test": (67, 13, 19), "ood": (71, 11, 17)}


@pytest.fixture(scope="module")
def zoo():
    """Runs of several tasks in every split; some of them diverged, after the step 50 or 200."""
    return made_up_zoo({split: random_runs(seed, *sizes) for seed, (split, sizes) in enumerate(SIZES.items())})


def features_of(zoo, values) -> dict[str, np.ndarray]:
    """Return features that contain `values(split)` [R], mixed linearly with noise."""
    random = np.random.default_rng(3)
    mixing = random.normal(size=(3, 7))
    return {
        split: np.column_stack([values(rows), random.normal(size=(len(rows), 2))]) @ mixing
        for split, rows in zoo.splits.items()
    }


def noise_of(zoo) -> dict[str, np.ndarray]:
    return {split: np.random.default_rng(len(rows)).normal(size=(len(rows), 3)) for split, rows in zoo.splits.items()}


@pytest.mark.parametrize(
    ("snapshots", "expected"),
    [
        ((0, 100, 200, 500, 1000), (100, 200)),
        ((0, 20, 50, 100, 200, 5000), (50, 100, 200)),
        ((0, 7, 9, 30, 40), (7, 9)),
        ((0, 2, 11), (2,)),
        ((0, 50, 100), (50,)),  # the last step is not early
        ((0, 4), ()),
        ((0,), ()),
        ((300, 9, 4000, 0, 30), (9, 30)),
    ],
)
def test_early_steps_are_the_named_ones_or_the_two_smallest(snapshots, expected):
    assert early_steps(snapshots) == expected


def test_the_last_snapshot_of_a_run_is_that_of_its_largest_step():
    random = np.random.default_rng(0)
    pairs = random.permutation([(run, step) for run in (9, 2, 5, 31) for step in range(0, 10 * run, 7)])
    runs, steps = pairs.T
    expected = [max(np.flatnonzero(runs == run), key=lambda row: steps[row]) for run in runs]
    assert last_snapshots(runs, steps).tolist() == expected
    assert last_snapshots(runs[:0], steps[:0]).shape == (0,)


def test_rows_are_those_of_a_loop_over_runs(zoo):
    """Of runs that diverged: the last snapshot is the last there is, and one without a later snapshot is not asked."""
    rows = zoo.splits["test"]
    features = {split: np.arange(3.0 * len(of)).reshape(-1, 3) ** 2 for split, of in zoo.splits.items()}
    whole = protocol_rows(zoo, features, TRAJECTORY_LABELS)[1]["test"]
    final, diverged, at_200, pairs = {}, {}, {}, []
    for run in np.unique(rows.labels("run")):
        numbers = sorted(np.flatnonzero(rows.labels("run") == run), key=lambda row: rows.labels("step")[row])
        for number in numbers:
            if rows.labels("step")[number] == 200:
                at_200[run] = number
                diverged[run] = float(len(numbers) < len(SNAPSHOTS))
                if number != numbers[-1]:
                    final[run] = rows.labels("accuracy")[numbers[-1]]
        pairs += [(*(features["test"][b] - features["test"][a]), 1.0) for a, b in itertools.pairwise(numbers)]
        pairs += [(*(features["test"][a] - features["test"][b]), 0.0) for a, b in itertools.pairwise(numbers)]
    found = final_accuracy_rows(whole, 200)
    assert dict(zip(found.runs, found.labels[:, 0], strict=True)) == final and len(final) == 67 - 19
    assert (found.features == [features["test"][at_200[run]] for run in found.runs]).all()
    found = diverged_rows(whole, 200)
    assert dict(zip(found.runs, found.labels[:, 0], strict=True)) == diverged and sum(diverged.values()) == 9
    assert set(found.steps) == {200} and (found.features == features["test"][rows.labels("step") == 200]).all()
    found = order_rows(whole, 0)
    assert sorted(map(tuple, np.column_stack([found.features, found.labels]))) == sorted(pairs)
    assert found.labels.mean() == 0.5 and len(found.tasks) == len(found.steps) == len(pairs)


@pytest.mark.parametrize("predictor", ["linear", "boosting", "mlp"])
def test_answers_that_are_in_the_features_are_found_by_every_predictor(zoo, predictor):
    settings = replace(SETTINGS, predictor=predictor)
    least = {"linear": 0.995, "boosting": 0.8, "mlp": 0.8}[predictor]
    final = trajectory_scores(zoo, features_of(zoo, lambda rows: rows.final_accuracies()), settings)
    assert final["final_accuracy@50"]["test"]["r_squared"]["value"] > least
    assert final["final_accuracy@200"]["ood"]["kendall_tau"]["value"] > least - 0.1
    time = trajectory_scores(zoo, features_of(zoo, lambda rows: 50 * np.sqrt(rows.labels("step"))), settings)
    assert time["order"]["test"]["accuracy"]["value"] > least
    flags = trajectory_scores(zoo, features_of(zoo, lambda rows: 9.0 * rows.labels("diverged")), settings)
    assert flags["diverged@50"]["test"]["area_under_curve"]["value"] > least
    assert flags["diverged@50"]["ood"]["accuracy"]["value"] > flags["diverged@50"]["ood"]["majority"]["value"]
    assert flags["diverged@50"]["test"]["majority"]["value"] == pytest.approx(1 - 19 / 67)
    assert flags["diverged@200"]["test"]["majority"]["value"] == pytest.approx(1 - 9 / 57)


def test_features_without_information_are_at_chance(zoo):
    constant = trajectory_scores(zoo, control_features(zoo, "mean"), SETTINGS)
    noise = trajectory_scores(zoo, noise_of(zoo), SETTINGS)
    for split in ("validation", "test", "ood"):
        assert constant["order"][split]["accuracy"] == {"value": 0.5, "low": 0.5, "high": 0.5}
        assert constant["diverged@50"][split]["area_under_curve"]["value"] == 0.5
        assert abs(constant["final_accuracy@200"][split]["r_squared"]["value"]) < 0.1
    for split in ("test", "ood"):
        assert abs(noise["order"][split]["accuracy"]["value"] - 0.5) < 0.12
        assert abs(noise["diverged@50"][split]["area_under_curve"]["value"] - 0.5) < 0.2
        assert noise["final_accuracy@50"][split]["r_squared"]["value"] < 0.1


def test_permuted_labels_are_not_learned(zoo):
    features = features_of(zoo, lambda rows: rows.final_accuracies() + 9 * rows.labels("diverged"))
    scores = trajectory_scores(zoo, features, replace(SETTINGS, permuted=True))
    assert scores["final_accuracy@50"]["test"]["r_squared"]["value"] < 0.2
    flags = scores["diverged@50"]["test"]
    assert flags["accuracy"]["value"] == flags["majority"]["value"] == pytest.approx(1 - 19 / 67)


def test_controls_have_what_their_names_say(zoo):
    """The accuracy at the early step predicts the last one where it is the same; the step tells the order."""
    same = {
        split: [MadeUpRun(run.task, (0.3, 0.2, *run.accuracies[2:3] * 3)) for run in random_runs(seed, 40, 9)]
        for seed, split in enumerate(SIZES)
    }
    scores = trajectory_scores(made_up_zoo(same), control_features(made_up_zoo(same), "accuracy only"), SETTINGS)
    assert scores["final_accuracy@50"]["test"]["r_squared"]["value"] > 0.99
    steps = {split: rows.labels("step")[:, None] == np.array(SNAPSHOTS) for split, rows in zoo.splits.items()}
    scores = trajectory_scores(zoo, {split: known.astype(float) for split, known in steps.items()}, SETTINGS)
    assert scores["order"]["test"]["accuracy"]["value"] == 1
    assert abs(scores["final_accuracy@50"]["test"]["r_squared"]["value"]) < 0.1


def test_the_paper_protocol_trains_on_half_of_the_ood_tasks(zoo):
    flags = features_of(zoo, lambda rows: 9.0 * rows.labels("diverged"))
    strict, paper = (trajectory_scores(zoo, flags, replace(SETTINGS, protocol=name)) for name in ("strict", "paper"))
    tasks = np.unique(zoo.splits["ood"].labels("task"))[::2]
    rows = zoo.splits["ood"]
    tested = (rows.labels("step") == 50) & ~np.isin(rows.labels("task"), tasks)
    majority = 1 - rows.labels("diverged")[tested].mean()
    assert paper["diverged@50"]["ood"]["majority"]["value"] == pytest.approx(majority)
    assert strict["diverged@50"]["test"]["majority"] == paper["diverged@50"]["test"]["majority"]


def test_splits_without_both_classes_are_left_out_with_the_reason(zoo):
    splits = {split: random_runs(seed, 12, 5) for seed, split in enumerate(SIZES)}
    never = made_up_zoo(splits)
    scores = trajectory_scores(never, noise_of(never), SETTINGS)
    reason = {"left_out": "the training rows: no run with such a snapshot diverged"}
    assert scores["diverged@50"] == dict.fromkeys(("validation", "test", "ood"), reason)
    assert set(scores["final_accuracy@50"]["test"]) == {"r_squared", "kendall_tau"}
    splits |= {"train": random_runs(0, 30, 5, 9), "ood": random_runs(3, 6, 2, 6)}
    some = made_up_zoo(splits)
    scores = trajectory_scores(some, noise_of(some), SETTINGS)
    assert scores["diverged@50"]["test"] == {"left_out": "test: no run with such a snapshot diverged"}
    assert scores["diverged@50"]["ood"] == {"left_out": "ood: every run with such a snapshot diverged"}
    assert trajectory_scores(zoo, noise_of(zoo), SETTINGS)["diverged@50"]["ood"].keys() >= {"area_under_curve"}


def test_a_zoo_without_early_snapshots_is_asked_for_the_order_alone():
    splits = {split: random_runs(seed, 9, 4) for seed, split in enumerate(SIZES)}
    short = {split: [MadeUpRun(run.task, run.accuracies[:2]) for run in runs] for split, runs in splits.items()}
    zoo = made_up_zoo(short, SNAPSHOTS[:2])
    assert list(trajectory_scores(zoo, noise_of(zoo), SETTINGS)) == ["order"]


def test_runs_without_later_snapshots_and_single_tasks_are_left_out_with_the_reason():
    """In `test`, every run has diverged by the first early step; in `ood`, no run has a second snapshot."""
    splits = {split: random_runs(seed, 15, 4) for seed, split in enumerate(SIZES)}
    splits["test"] = [MadeUpRun("a", (0.1, 0.2, 0.3)), MadeUpRun("b", (0.1, 0.2, 0.5))]
    splits["ood"] = [MadeUpRun("c", (0.1,))]
    zoo = made_up_zoo(splits)
    scores = trajectory_scores(zoo, noise_of(zoo), SETTINGS)
    assert scores["final_accuracy@50"]["test"] == {"left_out": "test: no run has such snapshots"}
    assert scores["order"]["ood"] == {"left_out": "ood: no run has such snapshots"}
    assert scores["order"]["test"].keys() == {"accuracy"}
    splits["train"] = splits["train"][:1]
    for predictor in ("linear", "mlp"):
        zoo = made_up_zoo(splits)
        scores = trajectory_scores(zoo, noise_of(zoo), replace(SETTINGS, predictor=predictor))
        reason = "the training rows: runs of 1 tasks have such snapshots; expected at least 2"
        assert scores["order"]["validation"] == scores["final_accuracy@50"]["test"] == {"left_out": reason}


def test_leaks_and_unknown_names_are_errors(zoo):
    leaking = replace(zoo, splits={**zoo.splits, "test": zoo.splits["train"]})
    with pytest.raises(LeakError, match="runs are both in the training rows and in test"):
        trajectory_scores(leaking, noise_of(leaking), SETTINGS)
    with pytest.raises(UnknownNameError, match="Unknown predictor 'oracle'; known: linear"):
        trajectory_scores(zoo, noise_of(zoo), replace(SETTINGS, predictor="oracle"))
    rows = Rows(np.zeros((4, 1)), np.array([[0.0], [1], [0], [1]]), np.arange(4), np.arange(4), np.zeros(4))
    with pytest.raises(UnknownNameError, match="Unknown predictor 'oracle'"):
        predict_probability(rows, [rows.features], "oracle", 0)


def test_the_area_under_the_curve_is_the_fraction_of_pairs_in_order():
    random = np.random.default_rng(2)
    scores, labels = random.integers(6, size=31).astype(float), random.integers(2, size=31)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels == 1] for b in scores[labels == 0]]
    assert area_under_curve(scores, labels) == pytest.approx(np.mean(pairs))
    assert area_under_curve(np.array([0.1, 0.9, 0.4]), np.array([0, 1, 0])) == 1
    assert np.isnan(area_under_curve(scores, np.ones(31))) and np.isnan(area_under_curve(scores, np.zeros(31)))
