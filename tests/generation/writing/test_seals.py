"""Files whose size and time of modification are known are not read again, and nothing else is trusted."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import contents, generate_in_process

from rnn_zoos.errors import IntegrityError, StorageError
from rnn_zoos.format import files as format_files
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.hashed_json import read_hashed_json, write_hashed_json
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.writing.directory import OutputPaths, locked
from rnn_zoos.generation.writing.merge import merge
from rnn_zoos.generation.writing.seals import SEALS, read_seals
from rnn_zoos.generation.writing.shards import make_shard
from rnn_zoos.generation.writing.workspace import Workspace


@pytest.fixture
def plan(tiny_preset) -> Plan:
    return make_plan("formal-languages", tiny_preset())


@pytest.fixture
def finished(zoo, tmp_path) -> Path:
    """A copy of a finished zoo, with its times of modification."""
    return Path(shutil.copytree(zoo("formal-languages"), tmp_path / "zoo"))


@pytest.fixture
def unfinished(plan, tmp_path) -> Path:
    """A directory with three of the five shards of a zoo."""
    directory = tmp_path / "zoo"
    with locked(directory):
        for shard in Workspace(directory, plan).begin_or_resume()[:3]:
            make_shard(directory, plan, shard, lambda updates: None)
    return directory


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """The names of all files that are hashed."""
    names: list[str] = []
    real = format_files.sha256_of
    monkeypatch.setattr(format_files, "sha256_of", lambda path: names.append(path.name) or real(path))
    return names


def shard_files(directory: Path) -> list[Path]:
    return sorted((directory / "shards").iterdir()) + sorted((directory / "rollouts").iterdir())


def make_sparse(path: Path) -> None:
    """Replace a file by a hole of the same size and time: whoever reads it finds the wrong hash."""
    stat = path.stat()
    path.unlink()
    path.touch()
    os.truncate(path, stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def resume(directory: Path, plan: Plan, rehash: bool = False) -> list[str] | None:
    """Return the names of the shards that are missing, None if the zoo is finished."""
    with locked(directory):
        pending = Workspace(directory, plan).begin_or_resume(rehash=rehash)
    return None if pending is None else [shard.name for shard in pending]


def forget(directory: Path) -> None:
    """Make a directory one of version 0.1, which kept no times."""
    (directory / SEALS).unlink(missing_ok=True)
    for path in OutputPaths(directory).existing_records():
        record = read_hashed_json(path, "")
        del record["modified"]
        write_hashed_json(path, record)


@pytest.mark.parametrize("state", ["unfinished", "finished"])
def test_resuming_reads_no_file_that_is_as_it_was_left(state, request, plan, hashed):
    directory = request.getfixturevalue(state)
    expected = None if state == "finished" else [shard.name for shard in plan.shards[3:]]
    for path in shard_files(directory):
        make_sparse(path)
    assert resume(directory, plan) == expected
    assert hashed == []
    with pytest.raises(IntegrityError, match=r"train-00000-of-.* has sha256 .* Delete it and run the same command"):
        resume(directory, plan, rehash=True)


@pytest.mark.parametrize("state", ["unfinished", "finished"])
def test_a_file_with_another_time_is_read_once_and_a_damaged_one_is_an_error(state, request, plan, hashed):
    directory = request.getfixturevalue(state)
    touched, damaged = shard_files(directory)[1], shard_files(directory)[2]
    os.utime(touched, ns=(1, 1))
    assert resume(directory, plan) == resume(directory, plan)
    assert hashed == [touched.name]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=f"{damaged.name} has sha256"):
        resume(directory, plan)
    damaged.unlink()
    (missing,) = set(resume(directory, plan) or []) - {shard.name for shard in plan.shards[3:]} or {"validation-00000"}
    assert damaged.name.startswith(missing)


@pytest.mark.parametrize("state", ["unfinished", "finished"])
def test_what_an_earlier_version_left_is_read_once(state, request, plan, hashed):
    directory = request.getfixturevalue(state)
    forget(directory)
    first = resume(directory, plan)
    count = len(shard_files(directory))
    assert len(hashed) == count + (len(list((directory / "index").iterdir())) if state == "finished" else 0)
    assert resume(directory, plan) == first and len(hashed) == len(set(hashed)) + count // 2, "each file once"


def test_an_extension_and_the_zoo_that_it_becomes_keep_the_times(plan, tiny_preset, zoo, tmp_path, hashed):
    directory = tmp_path / "zoo"
    generate_in_process(directory, make_plan("formal-languages", tiny_preset(), runs=5))
    generate_in_process(directory, plan)
    assert contents(directory) == contents(zoo("formal-languages"))
    grown = {"train-00001.shards.safetensors", "train-00001.rollouts.safetensors"}
    assert set(hashed) == {f"{split}.parquet" for split in ("train", "validation", "test")} | grown, (
        "what is read is hashed: the index, and the shard that grows"
    )
    hashed.clear()
    assert resume(directory, plan) is None and hashed == []


def test_seals_are_no_part_of_the_zoo(finished, plan, tmp_path):
    seals = read_seals(finished)
    assert seals.keys() == read_manifest(finished).files.keys() and check_zoo(finished) == []
    merge([finished], tmp_path / "merged")
    assert read_seals(tmp_path / "merged") != seals and contents(tmp_path / "merged") == contents(finished)
    left = tmp_path / "left"
    (left / SEALS).parent.mkdir(parents=True)
    shutil.copy(finished / SEALS, left / SEALS)
    (left / ".lock").touch()
    assert not OutputPaths(left).has_foreign_files(), "what remains when a user has deleted a zoo"
    (left / SEALS).with_name("mine").touch()
    assert OutputPaths(left).has_foreign_files()


def test_damaged_seals_are_not_used_and_a_disk_that_is_full_does_not_matter(finished, plan, hashed, monkeypatch):
    (finished / SEALS).write_text(json.dumps({"shards": 1}))
    assert resume(finished, plan) is None and len(hashed) == len(read_manifest(finished).files)

    def full(*args):
        raise StorageError("full")

    monkeypatch.setattr("rnn_zoos.generation.writing.workspace.write_seals", full)
    (finished / SEALS).unlink()
    assert resume(finished, plan) is None


def test_a_seal_of_other_contents_is_not_used(finished, plan):
    """As after `relabel`, which replaces the index and the manifest."""
    seals = read_seals(finished)
    path = next(iter(seals))
    write_hashed_json(finished / SEALS, {**seals, path: ("0" * 64, seals[path].modified)})
    make_sparse(finished / path)
    with pytest.raises(IntegrityError, match="has sha256"):
        resume(finished, plan)
