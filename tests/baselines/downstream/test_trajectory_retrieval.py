"""Trajectory retrieval: ranks against all orders of equal candidates, own runs are found, noise is at chance."""

import itertools

import numpy as np
import pytest
from run_tables import SNAPSHOTS, MadeUpRun, made_up_zoo, random_runs

from rnn_zoos.baselines.downstream.trajectory_retrieval import ranked, trajectory_retrieval

SIZES = {"train": (9, 4, 2), "validation": (11, 5, 3), "test": (29, 7, 8), "ood": (23, 5, 4)}


@pytest.fixture(scope="module")
def zoo():
    return made_up_zoo({split: random_runs(seed, *sizes) for seed, (split, sizes) in enumerate(SIZES.items())})


def test_ranks_are_the_means_over_all_orders_of_equal_candidates():
    random = np.random.default_rng(1)
    cosines = random.integers(3, size=(13, 5)) / 4
    own, allowed = random.integers(5, size=13), random.random((13, 5)) < 0.7
    allowed[np.arange(13), own] = True
    for query, found in enumerate(ranked(cosines, own, allowed)):
        candidates = np.flatnonzero(allowed[query]).tolist()
        orders = list(itertools.permutations(candidates))
        ordered = [sorted(order, key=lambda place, query=query: -cosines[query, place]) for order in orders]
        ranks = np.array([[order.index(own[query]) + 1 for order in of] for of in (ordered, orders)])
        expected = [(ranks[0] == 1).mean(), (1 / ranks[0]).mean(), (ranks[1] == 1).mean(), (1 / ranks[1]).mean()]
        assert found == pytest.approx(expected)


def test_cosines_that_differ_in_their_last_bits_are_equal():
    cosines = np.array([[0.5, 0.5 + 1e-16, 0.5 - 3e-16, 0.2]])
    assert ranked(cosines, np.array([2]), np.full((1, 4), True))[0, :2] == pytest.approx(
        [1 / 3, (1 + 1 / 2 + 1 / 3) / 3]
    )


def test_features_of_the_run_find_it_and_features_without_information_are_at_chance(zoo):
    """Of 29 test runs, 8 diverged: 4 of them have no snapshot after step 50. All have candidates."""
    of_run = {
        split: (rows.labels("run")[:, None] == np.unique(rows.labels("run"))).astype(float)
        for split, rows in zoo.splits.items()
    }
    found = trajectory_retrieval(zoo, of_run, 20)
    assert set(found) == {f"{name}@{step}" for name in ("own_snapshot", "own_snapshot_of_task") for step in (50, 200)}
    for scores in found.values():
        for split in ("validation", "test", "ood"):
            assert scores[split]["top_1"]["value"] == scores[split]["mean_reciprocal_rank"]["value"] == 1
    constant = trajectory_retrieval(zoo, {split: np.ones((len(rows), 3)) for split, rows in zoo.splits.items()}, 20)
    noise = {split: np.random.default_rng(8).normal(size=(len(rows), 3)) for split, rows in zoo.splits.items()}
    guessed = trajectory_retrieval(zoo, noise, 20)
    for name, scores in constant.items():
        for measure in ("top_1", "mean_reciprocal_rank"):
            chance = scores["test"][f"chance_{measure}"]["value"]
            assert scores["test"][measure]["value"] == pytest.approx(chance)
            assert guessed[name]["test"][f"chance_{measure}"]["value"] == chance
            assert abs(guessed[name]["test"][measure]["value"] - chance) < 0.2
    assert constant["own_snapshot@50"]["test"]["chance_top_1"]["value"] == pytest.approx(1 / 29)
    harmonic = sum(1 / rank for rank in range(1, 26))  # 4 of 29 runs do not reach step 200
    assert constant["own_snapshot@200"]["test"]["chance_mean_reciprocal_rank"]["value"] == pytest.approx(harmonic / 25)


def test_candidates_of_the_same_task_are_those_of_a_loop(zoo):
    noise = {split: np.random.default_rng(5).normal(size=(len(rows), 4)) for split, rows in zoo.splits.items()}
    found = trajectory_retrieval(zoo, noise, 20)["own_snapshot_of_task@200"]["ood"]
    rows, features = zoo.splits["ood"], noise["ood"]
    runs, steps, tasks = (rows.labels(name) for name in ("run", "step", "task"))
    reciprocal = []
    for run in np.unique(runs):
        late = max(np.flatnonzero(runs == run), key=lambda row: steps[row])
        candidates = np.flatnonzero((steps == 200) & (tasks == tasks[late]))
        if steps[late] <= 200 or len(candidates) < 2:
            continue
        cosines = [features[late] @ features[row] / np.linalg.norm(features[row]) for row in candidates]
        ordered = runs[candidates[np.argsort(cosines)[::-1]]].tolist()
        reciprocal.append(1 / (ordered.index(run) + 1))
    assert found["mean_reciprocal_rank"]["value"] == pytest.approx(np.mean(reciprocal))
    assert found["top_1"]["value"] == pytest.approx(np.mean(np.array(reciprocal) == 1))


def test_what_has_a_single_candidate_is_left_out_with_the_reason():
    splits = {split: random_runs(seed, 6, 6) for seed, split in enumerate(SIZES)}
    splits["ood"] = splits["ood"][:1]
    splits["validation"] = [MadeUpRun(run.task, run.accuracies[:3]) for run in splits["validation"]]
    zoo = made_up_zoo(splits)
    found = trajectory_retrieval(zoo, {split: np.ones((len(rows), 2)) for split, rows in zoo.splits.items()}, 20)
    reason = "there is no later snapshot of several runs with a snapshot at step 50"
    assert found["own_snapshot@50"]["ood"] == found["own_snapshot@50"]["validation"] == {"left_out": reason}
    assert found["own_snapshot@50"]["test"]["chance_top_1"]["value"] == pytest.approx(1 / 6)
    reason = "there is no later snapshot of a task of which several runs have a snapshot at step 50"
    assert found["own_snapshot_of_task@50"] == {key: {"left_out": reason} for key in ("validation", "test", "ood")}


def test_a_zoo_without_early_snapshots_is_not_asked():
    splits = {split: random_runs(seed, 3, 3) for seed, split in enumerate(SIZES)}
    zoo = made_up_zoo(splits, SNAPSHOTS[::4])
    assert trajectory_retrieval(zoo, {split: np.ones((len(rows), 2)) for split, rows in zoo.splits.items()}, 20) == {}
