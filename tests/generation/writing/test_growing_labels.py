"""Zoos that were begun by a version with fewer labels are resumed, extended, merged and verified by one with more."""

import shutil

import pytest
from conftest import contents, generate_in_process
from damage import edit_index
from old_zoos import InlinePool, LabelledLanguages, remove_labels
from test_merge import make_parts

from rnn_zoos.errors import FormatError, MergeError
from rnn_zoos.families import registry
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.writing import relabel as relabelling
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.merge import merge
from rnn_zoos.generation.writing.shards import make_shard
from rnn_zoos.generation.writing.verify import verify
from rnn_zoos.generation.writing.workspace import Workspace

NAME = "formal-languages"


@pytest.fixture
def update(monkeypatch, zoo):
    """Return a function that makes the code a later version with one more label."""
    zoo(NAME)  # is shared by all tests: made before the update
    monkeypatch.setattr(relabelling, "WorkerPool", InlinePool)

    def apply():
        monkeypatch.setitem(registry._FAMILIES, NAME, lambda mnist: LabelledLanguages())

    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    return apply


@pytest.fixture
def new_zoo(zoo, tiny_preset, tmp_path_factory):
    """Return a function: directory of a zoo that the later version makes in one go. Call it after `update`."""

    def make(runs=None):
        out = tmp_path_factory.mktemp("new")
        generate_in_process(out, make_plan(NAME, tiny_preset(), runs=runs))
        assert "square_sum" in read_manifest(out).columns and check_zoo(out) == []
        return out

    return make


def begin(out, plan, count):
    """Make the first shards of a zoo, and leave it unfinished."""
    with locked(out):
        for shard in Workspace(out, plan).begin_or_resume()[:count]:
            make_shard(out, plan, shard, lambda updates: None)


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.long), 3, pytest.param(5, marks=pytest.mark.long)])
@pytest.mark.parametrize("plan_is_lost", [False, True])
def test_a_half_made_zoo_is_finished_with_the_labels_that_all_shards_have(
    count, plan_is_lost, zoo, new_zoo, update, tiny_preset, tmp_path
):
    out = tmp_path / "zoo"
    begin(out, make_plan(NAME, tiny_preset()), count)
    update()
    if plan_is_lost:
        (out / "unfinished" / "plan.json").unlink()
    generate_in_process(out, make_plan(NAME, tiny_preset()))
    assert contents(out) == contents(zoo(NAME)), "as if the earlier version had finished it"
    assert check_zoo(out) == []
    assert relabelling.relabel(out).labels == ("square_sum",)
    assert contents(out) == contents(new_zoo()) and check_zoo(out) == []


@pytest.mark.parametrize("first", [1, 4, 6])
def test_an_extended_zoo_keeps_its_columns(first, zoo, new_zoo, update, tiny_preset, tmp_path):
    """The first runs of a shard that grows lack the label, its last runs have it."""
    out = tmp_path / "zoo"
    generate_in_process(out, make_plan(NAME, tiny_preset(), runs=first))
    update()
    generate_in_process(out, make_plan(NAME, tiny_preset()))
    assert contents(out) == contents(zoo(NAME)) and check_zoo(out) == []
    relabelling.relabel(out)
    assert contents(out) == contents(new_zoo())


def test_a_zoo_of_a_later_version_is_read_but_not_extended_or_merged(
    new_zoo, update, tiny_preset, tmp_path, monkeypatch
):
    update()
    out = new_zoo(runs=5)
    before = contents(out)
    monkeypatch.setitem(registry._FAMILIES, NAME, lambda mnist: LabelledLanguages.__base__())
    assert check_zoo(out) == []
    with pytest.raises(FormatError, match="has the labels square_sum, which a later version.*Update rnn-zoos"):
        generate_in_process(out, make_plan(NAME, tiny_preset()))
    with pytest.raises(FormatError, match="Update rnn-zoos"):
        merge([out], tmp_path / "merged")
    assert contents(out) == before and not (tmp_path / "merged").exists()
    generate_in_process(out, make_plan(NAME, tiny_preset(), runs=5))  # finished: nothing to do


@pytest.mark.parametrize("reverse", [pytest.param(False, marks=pytest.mark.long), True])
def test_merged_parts_of_different_versions_have_the_labels_of_both(
    reverse, zoo, new_zoo, update, tiny_preset, tmp_path
):
    old = make_parts(NAME, tiny_preset(), tmp_path / "old", 2)
    update()
    new = make_parts(NAME, tiny_preset(), tmp_path / "new", 2)
    parts = [old[0], new[1]]
    lines = merge(parts[::-1] if reverse else parts, tmp_path / "zoo")
    assert lines[1:] == [f"It lacks the labels square_sum. Add them with: rnn-zoos relabel {tmp_path / 'zoo'}"]
    assert contents(tmp_path / "zoo") == contents(zoo(NAME))
    relabelling.relabel(tmp_path / "zoo")
    assert contents(tmp_path / "zoo") == contents(new_zoo())
    assert len(merge(new, tmp_path / "all-new")) == 1, "nothing is missing"


@pytest.mark.parametrize("reverse", [False, pytest.param(True, marks=pytest.mark.long)])
def test_of_the_same_runs_those_with_more_labels_are_merged(reverse, zoo, update, new_zoo, tmp_path):
    """The labels that both have are compared."""
    update()
    new, old = new_zoo(), remove_labels(shutil.copytree(zoo(NAME), tmp_path / "old"), "loss")
    parts = [new, old][:: -1 if reverse else 1]
    merge(parts, tmp_path / "zoo")
    assert contents(tmp_path / "zoo") == contents(new)
    edit_index(old, "train", lambda rows: rows[0].update(accuracy=0.75))
    with pytest.raises(MergeError, match="labels of the same runs differ"):
        merge(parts, tmp_path / "refused")


@pytest.mark.slow
@pytest.mark.parametrize("backend", [None, pytest.param("stacked", marks=pytest.mark.long)])
def test_an_old_zoo_is_verified_by_the_labels_that_it_has(backend, zoo, tmp_path):
    """The verifying workers measure more labels than the zoo has."""
    out = remove_labels(shutil.copytree(zoo(NAME), tmp_path / "zoo"), "count_accuracy", "loss")
    assert verify(out, runs=2, seed=0, backend=backend).findings == []
    edit_index(out, "train", lambda rows: [row.update(finished=1 - row["finished"]) for row in rows])
    assert any("label" in finding for finding in verify(out, runs=7, backend=backend).findings)
