"""Shards are bounded by bytes: which runs they hold follows from the settings, and old zoos keep their shards."""

import shutil

import pytest
import yaml
from conftest import contents

from rnn_zoos.errors import PlanMismatchError
from rnn_zoos.families.registry import ZOOS
from rnn_zoos.generation import presets
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.engines.local import LocalEngine
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.presets import load_preset, preset_names
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.workspace import Workspace


@pytest.mark.parametrize("name", ZOOS)
def test_the_presets_of_the_package_keep_the_shards_that_they_had(name):
    for preset in preset_names():
        written = yaml.safe_load((presets._FOLDER / f"{preset}.yaml").read_text())
        assert load_preset(preset, name).runs_per_shard == written[name]["runs_per_shard"]


@pytest.mark.parametrize(("hidden_size", "runs"), [(32, 20), (290, 3), (600, 1), (3000, 1)])
def test_the_shards_of_large_networks_hold_fewer_runs_and_at_least_one(hidden_size, runs, tmp_path):
    content = yaml.safe_load((presets._FOLDER / "paper.yaml").read_text())
    content["formal-languages"]["hidden_size"] = hidden_size
    path = tmp_path / "sized.yaml"
    path.write_text(yaml.safe_dump(content))
    plan = make_plan("formal-languages", str(path), runs=50)
    assert plan.settings.runs_per_shard == runs == max(len(shard.table) for shard in plan.shards)


@pytest.fixture
def bounded(monkeypatch, tiny_preset, zoo):
    """The plan of the tiny zoo with one run per shard, instead of the two that its preset asks for and the zoo has."""
    zoo("formal-languages")  # made before there is a bound
    monkeypatch.setattr(presets, "SHARD_BYTES", 1)
    plan = make_plan("formal-languages", tiny_preset())
    assert plan.settings.runs_per_shard == 1
    return plan


def test_a_zoo_with_larger_shards_of_an_earlier_version_is_continued(bounded, zoo, tmp_path):
    shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    next((tmp_path / "zoo" / "shards").glob("train-00000-*")).unlink()
    assert generate(bounded, tmp_path / "zoo", LocalEngine(1)) is not None
    assert contents(tmp_path / "zoo") == contents(zoo("formal-languages"))


def test_a_directory_keeps_its_shards_only_where_the_bound_explains_them(bounded, zoo, tmp_path, monkeypatch):
    shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    workspace = Workspace(tmp_path / "zoo", bounded)
    with locked(tmp_path / "zoo"):
        assert workspace.begin_or_resume() is None
    assert workspace.plan.settings == bounded.settings.model_copy(update={"runs_per_shard": 2})
    monkeypatch.undo()
    with pytest.raises(PlanMismatchError, match="runs_per_shard: 2 in the directory, 1 requested"):
        Workspace(tmp_path / "zoo", bounded).check_directory()
