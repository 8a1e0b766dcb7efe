"""Parts that were generated separately become the same zoo, byte by byte, or are refused with a reason."""

import shutil

import pytest
from conftest import ZOOS, contents, generate_in_process
from damage import edit_index, replace_file

from rnn_zoos.errors import FormatError, IntegrityError, MergeError, PlanMismatchError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.tensors import map_tensors, tensor_bytes
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.engines.local import LocalEngine
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.merge import merge
from rnn_zoos.generation.writing.shards import make_shard
from rnn_zoos.generation.writing.workspace import Workspace


def make_parts(name, preset, folder, count):
    """Make the parts of a zoo, as several machines would, but in this process."""
    plan = make_plan(name, preset)
    for k in range(1, count + 1):
        with locked(folder / str(k)):
            Workspace(folder / str(k), plan).begin_or_resume()
            for shard in plan.shards[k - 1 :: count]:
                make_shard(folder / str(k), plan, shard, lambda updates: None)
    return [folder / str(k) for k in range(1, count + 1)]


def test_a_part_is_every_nth_shard_and_the_last_part_finishes_the_zoo(zoo, tiny_preset, tmp_path):
    plan = make_plan("formal-languages", tiny_preset())
    assert generate(plan, tmp_path / "zoo", LocalEngine(1), (2, 2)) is None
    made = sorted(path.stem for path in (tmp_path / "zoo" / "unfinished").glob("*-*.json"))
    assert made == sorted(shard.name for shard in plan.shards[1::2])
    assert generate(plan, tmp_path / "zoo", LocalEngine(1), (1, 2)) is not None
    assert contents(tmp_path / "zoo") == contents(zoo("formal-languages"))


@pytest.mark.parametrize("name", ZOOS)
def test_merged_parts_have_the_bytes_of_a_zoo_made_in_one_go(name, zoo, tiny_preset, tmp_path):
    parts = make_parts(name, tiny_preset(), tmp_path, 2)
    before = [contents(part) for part in parts]
    (line,) = merge(parts[::-1], tmp_path / "zoo")
    assert contents(tmp_path / "zoo") == contents(zoo(name)) and check_zoo(tmp_path / "zoo") == []
    assert "runs" in line and [contents(part) for part in parts] == before
    merge(parts, tmp_path / "zoo")  # a second merge changes nothing
    assert contents(tmp_path / "zoo") == contents(zoo(name))


def test_nothing_cannot_be_merged(tmp_path):
    with pytest.raises(FormatError, match="There is no directory to be merged"):
        merge([], tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


def test_a_finished_zoo_is_not_merged_into_itself(zoo, tiny_preset, tmp_path):
    own = shutil.copytree(zoo("formal-languages"), tmp_path / "own")
    (part,) = make_parts("formal-languages", tiny_preset(), tmp_path, 1)
    before = contents(own)
    for out in (own, part):
        with pytest.raises(MergeError, match="is one of the directories to be merged, .* Merge into another directory"):
            merge([part, own], tmp_path / "x" / ".." / out.name)
    assert contents(own) == before


def test_missing_shards_are_listed_and_can_be_merged_later_or_generated(zoo, tiny_preset, tmp_path):
    first, second, third = make_parts("formal-languages", tiny_preset(), tmp_path, 3)
    lines = merge([first, second], tmp_path / "zoo")
    assert "is unfinished: 1 of 5 shards are in none of the directories: validation-00000." in lines[0]
    assert "rnn-zoos generate formal-languages" in lines[1] and "--backend loop --out" in lines[1]
    shutil.copytree(tmp_path / "zoo", tmp_path / "other")
    merge([third], tmp_path / "zoo")
    generate_in_process(tmp_path / "other", make_plan("formal-languages", tiny_preset()))
    for out in ("zoo", "other"):
        assert contents(tmp_path / out) == contents(zoo("formal-languages"))


@pytest.mark.parametrize("first", range(1, 7))
def test_a_smaller_zoo_can_be_merged_with_a_larger_one(first, zoo, tiny_preset, tmp_path):
    generate_in_process(tmp_path / "small", make_plan("formal-languages", tiny_preset(), runs=first))
    merge([tmp_path / "small", zoo("formal-languages")], tmp_path / "zoo")
    assert contents(tmp_path / "zoo") == contents(zoo("formal-languages"))


def test_the_runs_of_a_partial_shard_are_kept_and_not_trained_again(zoo, tiny_preset, tmp_path, monkeypatch):
    """Merges a finished zoo with fewer runs and one shard of the larger plan."""
    generate_in_process(tmp_path / "small", make_plan("formal-languages", tiny_preset(), runs=5))
    part = make_parts("formal-languages", tiny_preset(), tmp_path, 4)[0]
    merge([tmp_path / "small", part], tmp_path / "zoo")
    trained = []
    from rnn_zoos.generation.trainers import loop

    train_run = loop._train_run
    monkeypatch.setattr(loop, "_train_run", lambda *args: trained.append(args[2].run) or train_run(*args))
    generate_in_process(tmp_path / "zoo", make_plan("formal-languages", tiny_preset()))
    assert contents(tmp_path / "zoo") == contents(zoo("formal-languages"))
    assert set(trained) <= {5, 6}, "runs of the small zoo are not trained again"


def test_parts_with_different_bytes_of_the_same_run_are_refused(zoo, tiny_preset, tmp_path):
    other = shutil.copytree(zoo("formal-languages"), tmp_path / "other")
    file = sorted(path.name for path in (other / "shards").iterdir())[1]
    tensors = {name: array.copy() for name, array in map_tensors(other / "shards" / file).items()}
    tensors["linear.bias"][1, 2] += 1
    replace_file(other, f"shards/{file}", tensor_bytes(tensors, {})[0])
    with pytest.raises(MergeError, match=r"shard test-00000 differs in .*: linear\.bias of the same runs differs"):
        merge([zoo("formal-languages"), other], tmp_path / "zoo")
    first, second = make_parts("formal-languages", tiny_preset(), tmp_path / "parts", 2)
    merge([first], tmp_path / "kept")
    merge([second, zoo("formal-languages")], tmp_path / "kept")
    whole = contents(tmp_path / "kept")
    merge([first], tmp_path / "begun")
    for begun in ("kept", "begun"):  # a finished and an unfinished merge of other bytes
        with pytest.raises(MergeError, match=r"shard test-00000 differs in .*: linear\.bias of the same runs differs"):
            merge([second, other], tmp_path / begun)
    assert contents(tmp_path / "kept") == whole
    labels = shutil.copytree(zoo("formal-languages"), tmp_path / "labels")
    edit_index(labels, "test", lambda rows: rows[0].update(loss=9.0))
    with pytest.raises(MergeError, match="labels of the same runs differ"):
        merge([labels, zoo("formal-languages")], tmp_path / "zoo2")


def test_parts_of_different_plans_are_refused_with_the_differences(zoo, tiny_preset, tmp_path):
    generate_in_process(tmp_path / "other", make_plan("formal-languages", tiny_preset(), seed=6))
    with pytest.raises(PlanMismatchError, match=r"seed: 6 in .*/other, 13 in "):
        merge([zoo("formal-languages"), tmp_path / "other"], tmp_path / "zoo")
    with pytest.raises(PlanMismatchError, match="zoo: 'sequential-mnist' in"):
        merge([zoo("formal-languages"), zoo("sequential-mnist")], tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


def test_a_directory_without_a_zoo_and_a_damaged_zoo_are_refused(zoo, tiny_preset, tmp_path):
    with pytest.raises(FormatError, match="neither a zoo nor a part of one"):
        merge([tmp_path], tmp_path / "zoo")
    damaged = shutil.copytree(zoo("formal-languages"), tmp_path / "damaged")
    shard = sorted((damaged / "rollouts").iterdir())[0]
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="has sha256.*Generate it again, or leave this directory out"):
        merge([zoo("formal-languages"), damaged], tmp_path / "zoo")
