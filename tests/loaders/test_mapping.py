"""Mapped files: verified once, without file descriptors, and bounded by their number and their bytes."""

import os
import shutil
import time

import numpy as np
import pytest

from rnn_zoos.errors import IntegrityError
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.format.tensors import map_tensors, write_tensors
from rnn_zoos.loaders import mapping, source
from rnn_zoos.loaders.mapping import MappedFiles
from rnn_zoos.loaders.zoo import open_zoo

HOUR = 3_600


@pytest.fixture
def copied(zoo, tmp_path):
    """A copy of a zoo whose files were last changed an hour ago."""
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    age(out)
    return out


def age(directory, seconds=HOUR):
    for path in directory.rglob("*.*"):
        os.utime(path, (time.time() - seconds,) * 2)


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files that are hashed, in order."""
    names, check = [], source.check_bytes
    monkeypatch.setattr(source, "check_bytes", lambda path, *rest: (names.append(path.name), check(path, *rest)))
    return names


@pytest.fixture
def bounded(monkeypatch):
    """Return a function that lowers the bounds of mapped files."""

    def lower(max_files=10**6, max_bytes=10**12):
        files = MappedFiles(max_files, max_bytes)
        monkeypatch.setattr(source, "map_file", files)
        return files

    return lower


def read_randomly(directory, times=200):
    zoo = open_zoo(directory)
    index = zoo.index()
    dataset, expected = zoo.torch_dataset(), zoo.take("weights", index.to_pydict())
    random = np.random.default_rng(0)
    for _ in range(times):
        rows = random.integers(len(dataset), size=3).tolist()
        found = dataset.__getitems__(rows)["weights"]
        assert all(np.array_equal(found[name], array[rows]) for name, array in expected.items())
    return zoo


@pytest.mark.parametrize("bound", [{"max_files": 2}, {"max_bytes": 30_000}, {"max_files": 1}])
def test_random_access_beyond_the_bound_hashes_no_file_twice(bound, copied, hashed, bounded):
    files = bounded(**bound)
    zoo = read_randomly(copied)
    shards = [file for file in zoo.manifest.files if file.startswith("shards/")]
    assert len(shards) > 3 and sum(zoo.manifest.files[shard].bytes for shard in shards) > 60_000
    assert len(hashed) == len(set(hashed)) and len(files) <= bound.get("max_files", 2)
    assert {name for name in hashed if name.endswith(".safetensors")} == {shard.split("/")[1] for shard in shards}


def test_all_files_stay_mapped_within_the_bound(copied, bounded):
    files = bounded()
    zoo = read_randomly(copied)
    assert len(files) == sum(file.startswith("shards/") for file in zoo.manifest.files)
    files.cache_clear()
    assert len(files) == 0
    read_randomly(copied, times=1)


def test_a_changed_file_is_hashed_again(copied, hashed, bounded):
    files = bounded()
    place = {"split": ["train"], "shard": [0], "row": [0]}
    path = copied / read_manifest(copied).paths("shards", "train")[0]
    open_zoo(copied).take("weights", place)
    files.cache_clear()
    open_zoo(copied).take("weights", place)
    assert hashed.count(path.name) == 1
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    age(copied)  # the same size and inode, and an old time, but not the same one
    files.cache_clear()
    with pytest.raises(IntegrityError, match=f"{path.name} has sha256"):
        open_zoo(copied).take("weights", place)


def test_a_file_changed_a_moment_ago_is_not_remembered_as_verified(copied, hashed, bounded):
    """Two changes within one tick of the file system's clock leave the same time."""
    files = bounded()
    age(copied, seconds=0)
    for _ in range(2):
        files.cache_clear()
        open_zoo(copied).take("weights", {"split": ["train"], "shard": [0], "row": [0]})
    assert hashed == ["train-00000-of-00002.safetensors"] * 2


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_mapped_files_hold_no_file_descriptors(tmp_path):
    for number in range(50):
        write_tensors(tmp_path / f"{number}.safetensors", {"a": np.full((3, 5), number, np.float32)}, {})
    before = len(os.listdir("/proc/self/fd"))
    mapped = [map_tensors(tmp_path / f"{number}.safetensors")["a"] for number in range(50)]
    assert len(os.listdir("/proc/self/fd")) <= before
    assert all((array == number).all() and not array.flags.writeable for number, array in enumerate(mapped))


@pytest.mark.parametrize("read", ["take", "torch_dataset"])
def test_a_truncated_shard_is_an_error_and_a_restored_one_is_read_again(read, copied, bounded, monkeypatch):
    bounded()
    monkeypatch.setattr(mapping, "_TRUSTED", 0)
    zoo = open_zoo(copied)
    path = copied / zoo.manifest.paths("shards", "train")[0]
    dataset, data = zoo.torch_dataset("train"), path.read_bytes()

    def first():
        if read == "torch_dataset":
            return dataset[0]["weights"]["linear.bias"].numpy()
        return zoo.take("weights", {"split": ["train"], "shard": [0], "row": [0]})["linear.bias"][0]

    before = first()
    os.truncate(path, 8)
    with pytest.raises(IntegrityError, match=f"{path.name} has been truncated since it was opened"):
        first()
    with pytest.raises(IntegrityError, match=path.name):
        first()
    path.write_bytes(data)
    assert np.array_equal(first(), before)


def test_a_replaced_or_removed_shard_keeps_its_content(copied, bounded, monkeypatch):
    bounded()
    monkeypatch.setattr(mapping, "_TRUSTED", 0)
    dataset = open_zoo(copied).torch_dataset("train")
    before = dataset[0]["weights"]["linear.bias"]
    path = copied / dataset.zoo.manifest.paths("shards", "train")[0]
    path.with_suffix(".new").write_bytes(b"short")
    path.with_suffix(".new").replace(path)
    assert dataset[0]["weights"]["linear.bias"].equal(before)
    path.unlink()
    assert dataset[0]["weights"]["linear.bias"].equal(before)
