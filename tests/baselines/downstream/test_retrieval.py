"""Retrieval: neighbours are of other runs, and only rows that can have a right neighbour are counted."""

from functools import lru_cache

import numpy as np
import pytest

from rnn_zoos.baselines.downstream.retrieval import nearest_of_other_runs, retrieval_scores
from rnn_zoos.baselines.emulation.data import load_data


@pytest.fixture(scope="module")
def data(edited_zoo):
    edits = {"runs: 7": "runs: 250", "runs: 5": "runs: 40", "strings: 13, rollouts: 4": "strings: 1, rollouts: 1"}
    edits |= {"[0, 2, 11]": "[0, 1]", "[0, 3, 8]": "[0, 1]", "num_layers: 3": "num_layers: 1"}
    edits |= {"num_layers: 2": "num_layers: 1", "hidden_size: 7": "hidden_size: 2"}
    return lru_cache(lambda name: load_data(edited_zoo(name, edits)))


def test_the_nearest_row_is_of_another_run_and_nearest_by_angle():
    features = np.array([[1.0, 0], [2, 0.01], [100, 30], [0, 1], [0, 0]])
    runs = np.array([1, 1, 2, 3, 4])
    found = [rows.tolist() for rows in nearest_of_other_runs(features, runs)]
    assert found == [[2], [2], [1], [2], [0, 1, 2, 3]]  # the last has no direction: all are equally near
    reference = [
        max((i for i in range(4) if runs[i] != runs[row]), key=lambda i, row=row: _cosine(features[i], features[row]))
        for row in range(4)
    ]
    assert np.concatenate(nearest_of_other_runs(features[:4], runs[:4])).tolist() == reference


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_a_language_is_found_if_another_run_has_it(data):
    zoo = data("formal-languages")
    known = {split: _one_hot_tasks(rows.labels("task")) for split, rows in zoo.splits.items()}
    scores = retrieval_scores(zoo, known, 50)
    tasks, runs = (zoo.splits["test"].labels(name) for name in ("task", "run"))
    several = [task for task in set(tasks) if len(set(runs[tasks == task])) > 1]
    assert several and len(several) < len(set(tasks))
    assert scores["task"]["test"]["accuracy"] == {"value": 1, "low": 1, "high": 1}
    assert set(scores["task_trained"]["test"]["accuracy"].values()) == {None}  # no network has that many steps
    noise = {split: np.random.default_rng(0).normal(size=(len(rows), 3)) for split, rows in zoo.splits.items()}
    assert retrieval_scores(zoo, noise, 50)["task"]["test"]["accuracy"]["value"] < 0.5


def test_angles_are_compared_along_the_shorter_arc(data):
    zoo = data("sequential-mnist")
    places = {}
    for split, rows in zoo.splits.items():
        radians = np.deg2rad(rows.labels("angle").astype(float))
        places[split] = np.stack([np.sin(radians), np.cos(radians)], axis=1)
    found = retrieval_scores(zoo, places, 50)["task"]["ood"]["degrees"]
    angles = np.unique(zoo.splits["ood"].labels("angle").astype(float))
    apart = np.abs(angles[:, None] - angles) % 360
    apart = np.minimum(apart, 360 - apart) + 720 * np.eye(len(angles))
    assert found["value"] == pytest.approx(apart.min(axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize("name", ["formal-languages", "sequential-mnist"])
def test_equal_embeddings_are_at_chance(name, data):
    zoo = data(name)
    equal = {split: np.ones((len(rows), 3)) for split, rows in zoo.splits.items()}
    (found,) = retrieval_scores(zoo, equal, 50)["task"]["ood"].values()
    rows = zoo.splits["ood"]
    others = rows.labels("run")[:, None] != rows.labels("run")
    if name == "formal-languages":
        value = rows.labels("task").astype(str)[:, None] == rows.labels("task").astype(str)
        counted = (value & others).any(axis=1)
    else:
        angles = rows.labels("angle").astype(float)
        value, counted = np.abs((angles[:, None] - angles + 180) % 360 - 180), np.full(len(angles), True)
    chance = (value * others).sum(axis=1) / others.sum(axis=1)
    assert found["value"] == pytest.approx(chance[counted].mean()) and found["value"] > 0


def _one_hot_tasks(tasks: np.ndarray) -> np.ndarray:
    return (tasks[:, None] == np.unique(tasks)).astype(float)
