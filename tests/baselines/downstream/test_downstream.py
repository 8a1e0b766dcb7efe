"""Downstream tasks: measures against values by hand, no leaks of labels, planted signals are found and noise is not."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from conftest import ZOOS

from rnn_zoos.baselines.downstream import predictors
from rnn_zoos.baselines.downstream.controls import CONTROLS, control_features, controls_of
from rnn_zoos.baselines.downstream.measures import angular_errors
from rnn_zoos.baselines.downstream.predictors import PREDICTORS, EvaluationSettings, predict, predictor_scores
from rnn_zoos.baselines.downstream.protocols import Rows, guard_against_leaks, protocol_rows
from rnn_zoos.baselines.downstream.targets import family_targets
from rnn_zoos.baselines.emulation.data import SplitData, ZooData, load_data
from rnn_zoos.errors import LeakError, UnknownNameError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny data


def evaluate(data, features, target, settings):
    """Return the scores of a single target."""
    return predictor_scores(data, features, {"target": target}, settings)["target"]


@pytest.fixture(scope="module")
def data(edited_zoo):
    """A tiny zoo with several tasks in every split."""
    edits = {"runs: 7": "runs: 60", "runs: 5": "runs: 40", "strings: 13, rollouts: 4": "strings: 3, rollouts: 2"}
    edits |= {"[0, 2, 11]": "[0, 1, 2]", "[0, 3, 8]": "[0, 1, 2]", "num_layers: 3": "num_layers: 1"}
    return lru_cache(lambda name: load_data(edited_zoo(name, edits)))


@pytest.mark.parametrize("name", ZOOS)
@pytest.mark.parametrize("predictor", ["linear", "boosting", pytest.param("mlp", marks=pytest.mark.long)])
def test_planted_labels_are_predicted_and_permuted_ones_are_not(name, predictor, data):
    """Features that contain the labels of every row, mixed linearly with noise."""
    zoo, random = data(name), np.random.default_rng(0)
    for target in family_targets(name).values():
        if target.from_step:
            continue  # no network of this tiny zoo has that many steps
        labels = {split: target.values(rows) for split, rows in zoo.splits.items()}
        if len(np.unique(labels["train"])) == 1 or len(np.unique(labels["test"])) == 1:
            continue  # no network of this tiny zoo has learned anything
        if target.kind == "angle":
            labels = {split: np.deg2rad(angles) for split, angles in labels.items()}
            labels = {split: np.concatenate([np.sin(a), np.cos(a)], axis=1) for split, a in labels.items()}
        mixing = random.normal(size=(labels["train"].shape[1] + 2, 9))
        if predictor == "boosting":  # trees split on one feature at a time
            mixing = np.eye(len(mixing))
        features = {}
        for split, values in labels.items():
            noise = random.normal(size=(len(values), 2))
            features[split] = np.concatenate([values / labels["train"].std(axis=0), noise], axis=1) @ mixing
        scores, chance = (
            evaluate(zoo, features, target, EvaluationSettings("strict", predictor, 1, permuted, repeats=20))
            for permuted in (False, True)
        )
        assert set(scores) == {"validation", "test", "ood"}
        for measure, score in scores["test"].items():
            assert score["low"] <= score["value"] <= score["high"]
            gain = score["value"] - chance["test"][measure]["value"]
            assert gain < -10 if measure == "degrees" else gain > 0.1, (target, measure, score, chance["test"])


@pytest.mark.parametrize("name", ZOOS)
def test_the_paper_protocol_adds_half_of_the_ood_tasks_to_training(name, data):
    zoo, target = data(name), family_targets(name)["task"]
    features = control_features(zoo, "step only")
    strict, tested = protocol_rows(zoo, features, target, "strict")
    assert len(strict.runs) == len(zoo.splits["train"]) and len(tested["ood"].runs) == len(zoo.splits["ood"])
    paper, half = protocol_rows(zoo, features, target, "paper")
    joined, left = set(paper.tasks) - set(strict.tasks), set(half["ood"].tasks)
    assert joined and left and not joined & left and joined | left == set(tested["ood"].tasks)
    assert abs(len(joined) - len(left)) <= 1
    assert len(paper.runs) + len(half["ood"].runs) == len(strict.runs) + len(tested["ood"].runs)
    with pytest.raises(UnknownNameError, match="Unknown protocol 'loose'; known: strict, paper"):
        protocol_rows(zoo, features, target, "loose")


def test_a_planted_leak_is_detected(data):
    """A training run that is also tested, and a training task that is tested under another run's number."""
    zoo = data("formal-languages")
    train, tested = protocol_rows(
        zoo, control_features(zoo, "mean"), family_targets("formal-languages")["step"], "strict"
    )
    test = tested["test"]
    with pytest.raises(
        LeakError, match=f"1 runs are both in the training rows and in test, for example {train.runs[0]}"
    ):
        guard_against_leaks(
            train, replace(test, runs=np.where(test.runs == test.runs[0], train.runs[0], test.runs)), "test"
        )
    with pytest.raises(LeakError, match="1 tasks are both in the training rows"):
        guard_against_leaks(
            train, replace(test, tasks=np.where(test.runs == test.runs[0], train.tasks[0], test.tasks)), "test"
        )


def test_a_zoo_whose_splits_share_runs_is_not_evaluated(data):
    zoo = data("formal-languages")
    leaking = replace(zoo, splits={**zoo.splits, "test": zoo.splits["train"]})
    features = {split: np.zeros((len(rows), 1)) for split, rows in leaking.splits.items()}
    with pytest.raises(LeakError, match="runs are both in the training rows and in test"):
        evaluate(leaking, features, family_targets("formal-languages")["step"], EvaluationSettings(repeats=2))


def test_predictions_do_not_depend_on_the_labels_of_tested_rows(data):
    zoo, target = data("formal-languages"), family_targets("formal-languages")["step"]
    train, tested = protocol_rows(zoo, control_features(zoo, "weight statistics"), target, "strict")
    before = predict(train, [tested["test"].features], target, "linear", 0)
    tested["test"].labels[:] = -1
    assert np.array_equal(predict(train, [tested["test"].features], target, "linear", 0)[0], before[0])
    assert before[0].shape == (len(tested["test"].runs), 1) and set(before[0].ravel()) <= {0, 1, 2}


def test_controls_have_the_information_that_their_names_claim(data):
    zoo = data("formal-languages")
    steps, accuracy = family_targets("formal-languages")["step"], family_targets("formal-languages")["accuracy"]
    by_step = evaluate(zoo, control_features(zoo, "step only"), steps, EvaluationSettings(repeats=5))
    assert by_step["test"]["accuracy"]["value"] == 1
    constant = evaluate(zoo, control_features(zoo, "mean"), steps, EvaluationSettings(repeats=5))
    assert constant["test"]["accuracy"]["value"] == pytest.approx(1 / 3)
    for name in CONTROLS:
        features = control_features(zoo, name)
        assert {split: len(rows) for split, rows in features.items()} == {s: len(r) for s, r in zoo.splits.items()}
        assert all(np.isfinite(rows).all() for rows in features.values())
        scores = evaluate(zoo, features, accuracy, EvaluationSettings("paper", repeats=3))
        assert scores.keys() == {"validation", "test", "ood"}
    tasks = control_features(zoo, "task mean")
    assert all((rows.sum(axis=1) == 1).all() for rows in tasks.values())
    assert not (tasks["train"].any(axis=0) & tasks["test"].any(axis=0)).any()


def test_the_shortcut_summarises_the_bias_differences_by_three_positive_numbers(data):
    zoo = data("sequential-mnist")
    shortcut = control_features(zoo, "shortcut b_ih - b_hh")
    assert shortcut["train"].shape[1] == 3 and (shortcut["train"] > 0).all()


def test_angles_are_predicted_across_the_wrap_at_360_degrees():
    angles = np.linspace(0, 357, 120)[:, None]
    features = np.concatenate([np.sin(np.deg2rad(angles)), np.cos(np.deg2rad(angles))], axis=1)
    numbers = np.arange(120)
    rows = Rows(features, angles, numbers, numbers.astype(str), numbers)
    (predicted,) = predict(rows, [features], family_targets("sequential-mnist")["task"], "linear", 0)
    assert angular_errors(predicted, angles).max() < 3


def test_controls_that_merging_cannot_change_are_evaluated_only_with_biases_apart(data):
    zoo = data("formal-languages").zoo
    merged = ZooData(zoo, {split: SplitData(zoo, split, "merged") for split in zoo.splits()}, "merged")
    assert controls_of("apart") == list(CONTROLS)
    assert set(controls_of("merged")) == {name for name in CONTROLS if name.startswith("weight")}
    for name in set(CONTROLS) - {"shortcut b_ih - b_hh"}:
        of_apart, of_merged = (control_features(each, name)["train"] for each in (data("formal-languages"), merged))
        assert np.array_equal(of_apart, of_merged) == (name not in controls_of("merged"))


def test_a_column_of_several_targets_is_predicted_once_and_scored_as_if_alone(data, monkeypatch):
    zoo, fitted = data("formal-languages"), []
    features, linear = control_features(zoo, "weight statistics"), PREDICTORS["linear"]

    def counted(problem):
        fitted.append(problem)
        return linear(problem)

    monkeypatch.setattr(predictors, "PREDICTORS", {"linear": counted})
    settings = EvaluationSettings("paper", permuted=True, repeats=20)
    together = predictor_scores(zoo, features, family_targets("formal-languages"), settings)
    assert len(fitted) <= 5  # three offsets, accuracy, step; a column of equal labels is not fitted
    for name, target in family_targets("formal-languages").items():
        assert evaluate(zoo, features, target, settings) == together[name]


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_targets_of_trained_networks_leave_out_earlier_ones_in_training_and_in_tests(data, protocol):
    zoo = data("formal-languages")
    features, every = control_features(zoo, "step only"), family_targets("formal-languages")["step"]
    late = replace(every, from_step=1)
    train, tested = protocol_rows(zoo, features, late, protocol)
    train_all, tested_all = protocol_rows(zoo, features, every, protocol)
    assert set(train.steps) == {1, 2} and set(train_all.steps) == {0, 1, 2}
    assert all(set(rows.steps) == {1, 2} for rows in tested.values())
    assert set(train.runs) == set(train_all.runs) and set(tested["ood"].tasks) == set(tested_all["ood"].tasks)
    assert len(train.runs) * 3 == len(train_all.runs) * 2
    together = predictor_scores(zoo, features, {"every": every, "late": late}, EvaluationSettings(protocol, repeats=20))
    assert together["late"] == evaluate(zoo, features, late, EvaluationSettings(protocol, repeats=20))


def test_scores_without_training_rows_are_undefined(data):
    zoo = data("sequential-mnist")
    for predictor in PREDICTORS:
        settings = EvaluationSettings(predictor=predictor, repeats=20)
        scores = evaluate(
            zoo, control_features(zoo, "step only"), family_targets("sequential-mnist")["task_trained"], settings
        )
        assert scores["test"]["degrees"] == {"value": None, "low": None, "high": None}
