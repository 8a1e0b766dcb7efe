from collections import Counter

import pytest

from rnn_zoos.errors import PresetError
from rnn_zoos.families.family import SPLITS
from rnn_zoos.families.registry import ZOOS
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.plan import make_plan, plan_of_zoo


@pytest.mark.parametrize("zoo", ZOOS)
def test_a_plan_of_more_runs_starts_with_the_plan_of_fewer(zoo):
    few, many = make_plan(zoo, "paper", runs=37), make_plan(zoo, "paper", runs=300)
    assert list(many.runs())[:37] == list(few.runs())
    for small in few.shards:
        large = next(shard for shard in many.shards if shard.name == small.name)
        assert large.run_numbers[: len(small.runs)] == small.run_numbers


@pytest.mark.parametrize("zoo", ZOOS)
def test_every_run_is_in_exactly_one_shard_of_its_split(zoo):
    plan = make_plan(zoo, "small")
    splits = {run.run: split for run, split in plan.runs()}
    found = [(number, shard.split) for shard in plan.shards for number in shard.run_numbers]
    assert sorted(found) == sorted(splits.items())
    assert [shard.split for shard in plan.shards] == sorted((s.split for s in plan.shards), key=SPLITS.index)
    for shard in plan.shards:
        assert shard.count == sum(other.split == shard.split for other in plan.shards)
        assert len(shard.runs) <= plan.settings.runs_per_shard
    assert plan.shards[0].path("shards") == f"shards/train-00000-of-{plan.shards[0].count:05d}.safetensors"


def test_seed_and_runs_replace_those_of_the_preset():
    assert [run for run, _ in make_plan("formal-languages", "demo", seed=9).runs()] != [
        run for run, _ in make_plan("formal-languages", "demo").runs()
    ]
    assert make_plan("formal-languages", "demo", runs=3).settings.runs == 3
    with pytest.raises(PresetError, match="runs is 0"):
        make_plan("formal-languages", "demo", runs=0)


def test_weight_decay_is_drawn_evenly():
    counts = Counter(run.weight_decay for run, _ in make_plan("sequential-mnist", "paper").runs())
    assert set(counts) == {0, 0.001, 0.01, 0.1} and min(counts.values()) > 200


def test_the_demo_preset_has_runs_in_every_split():
    for zoo in ZOOS:
        assert {split for _, split in make_plan(zoo, "demo").runs()} == set(SPLITS)


def test_the_rows_of_a_plan_are_plain_data():
    row = next(iter(make_plan("formal-languages", "demo").run_rows()))
    assert list(row) == ["run", "split", "shard", "task", "m_b", "m_c", "m_d", "weight_decay"]
    assert row["shard"].startswith(row["split"])


def test_stratified_tasks_are_checked_and_can_be_planned_again_from_the_manifest(edited_zoo):
    edits = {"  seed: 4\n": "  seed: 4\n  stratified_tasks: true\n"}
    directory = edited_zoo("sequential-mnist", edits)
    assert check_zoo(directory) == []
    manifest = read_manifest(directory)
    assert manifest.settings["stratified_tasks"] is True
    tasks = [run.task for run, _ in plan_of_zoo(manifest).runs()]
    assert tasks != [run.task for run, _ in make_plan("sequential-mnist", "demo", seed=4, runs=5).runs()]
    assert [row["task"] for row in plan_of_zoo(manifest).run_rows()] == [f"{task / 1e6:.6f} degrees" for task in tasks]
