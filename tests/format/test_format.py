"""The files of format 1: tensors, JSON, the index and the manifest, intact and damaged."""

import hashlib
import os
import shutil
import stat

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
from conftest import ZOOS
from damage import edit_manifest

from rnn_zoos.errors import FormatError, IntegrityError, StorageError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.files import FileEntry, check_bytes, write_atomically
from rnn_zoos.format.hashed_json import read_hashed_json, write_hashed_json
from rnn_zoos.format.index import read_index, write_index
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.format.tensors import map_tensors, write_tensors

TENSORS = {"b.weight": np.arange(12, dtype=np.float32).reshape(2, 3, 2), "a": np.array([[1], [2]], np.uint8)}


def test_tensors_survive_a_round_trip_and_equal_content_gives_equal_bytes(tmp_path):
    about = {"zeta": 1, "alpha": [2, 3]}
    entries = [write_tensors(tmp_path / f"{number}.safetensors", TENSORS, about) for number in range(3)]
    assert len({entry.sha256 for entry in entries}) == 1 and entries[0].rows == 2
    mapped = map_tensors(tmp_path / "0.safetensors")
    assert mapped.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert np.array_equal(mapped[name], tensor) and mapped[name].dtype == tensor.dtype
        assert not mapped[name].flags.owndata and not mapped[name].flags.writeable
    loaded = safetensors.numpy.load_file(tmp_path / "0.safetensors")
    assert all(np.array_equal(loaded[name], tensor) for name, tensor in TENSORS.items())


def test_a_written_file_is_complete_and_readable_by_others_and_a_failed_write_leaves_nothing_behind(
    tmp_path, monkeypatch
):
    previous = os.umask(0o022)
    try:
        write_atomically(tmp_path / "new" / "file", b"abc")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "new" / "file").stat().st_mode) == 0o644
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(
        StorageError, match=r"file \(5 bytes\) could not be written: No space left on device.*Free disk space"
    ):
        write_atomically(tmp_path / "new" / "file", b"12345")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
    assert (tmp_path / "new" / "file").read_bytes() == b"abc"
    with pytest.raises(StorageError, match="could not be written: File name too long"):
        write_atomically(tmp_path / ("long" * 80), b"12345")
    with pytest.raises(StorageError, match="could not be written: (File exists|Not a directory)"):
        write_atomically(tmp_path / "new" / "file" / "below", b"a file is in the way")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:6],
        lambda data: data[:40],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: (2**40).to_bytes(8, "little") + data[8:],
        lambda data: data.replace(b'"F32"', b'"Q32"'),
        lambda data: data.replace(b"[2,3,2]", b"[2,3,3]"),
        lambda data: b"<html>quota exceeded</html>",
    ],
)
def test_the_error_about_a_damaged_shard_names_the_file(tmp_path, damage):
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS, {})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FormatError, match=r"x\.safetensors"):
        map_tensors(path)


def test_an_unsupported_dtype_and_a_missing_file_are_errors(tmp_path):
    safetensors.numpy.save_file({"a": np.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(FormatError, match="a has dtype F64; format 1 allows F32"):
        map_tensors(tmp_path / "x.safetensors")
    with pytest.raises(FormatError, match="cannot be read: No such file"):
        map_tensors(tmp_path / "y.safetensors")


def test_check_bytes_distinguishes_missing_truncated_and_changed_files(tmp_path):
    path = tmp_path / "x"
    entry = FileEntry(write_atomically(path, b"abcd"), 4, 1)
    check_bytes(path, entry, "Do this.")
    for content, message in (
        (b"abc", "has 3 bytes; expected 4. Do this."),
        (b"abcx", "has sha256 .*expected .* Do this."),
    ):
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match=message):
            check_bytes(path, entry, "Do this.")
    path.unlink()
    with pytest.raises(IntegrityError, match="is missing. Do this."):
        check_bytes(path, entry, "Do this.")


def test_an_index_survives_a_round_trip_and_a_damaged_one_is_reported(tmp_path):
    table = pa.table({"run": pa.array([3, 4], pa.int32()), "task": ["x", "y"], "ok": [True, False]})
    path = tmp_path / "index.parquet"
    first = write_index(path, [table], table.schema)
    assert write_index(path, [table[:1], table[1:]], table.schema) == first and first.rows == 2
    assert read_index(path) == table
    data = path.read_bytes()
    for damaged in (data[:-3], b""):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="index.parquet is not a readable parquet index"):
            read_index(path)


def test_hashed_json_survives_a_round_trip_and_detects_every_changed_byte(tmp_path):
    path = tmp_path / "record.json"
    data = {"runs": [3], "loss": float(np.float32(0.1)), "text": "grüße"}
    write_hashed_json(path, data)
    assert read_hashed_json(path, "Do this.") == data
    whole = path.read_bytes()
    for damaged in (*(whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(len(whole))), whole[:-1], b""):
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match=r"record.json is damaged.*Do this"):
            read_hashed_json(path, "Do this.")


@pytest.mark.parametrize("name", ZOOS)
def test_a_manifest_survives_a_round_trip(name, zoo, tmp_path):
    manifest = read_manifest(zoo(name))
    manifest.write(tmp_path)
    assert read_manifest(tmp_path) == manifest
    assert (tmp_path / "zoo.json").read_bytes() == (zoo(name) / "zoo.json").read_bytes()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: data.update(format=3), "has format 3; only the formats 1 and 2 are supported"),
        (lambda data: data.pop("seed"), "not a manifest of format 1 .*seed"),
        (lambda data: data["files"].update({"../../etc/passwd": data["files"]["index/train.parquet"]}), "not inside"),
        (lambda data: data["files"].update({"/etc/passwd": data["files"]["index/train.parquet"]}), "not inside"),
        (lambda data: data["architecture"].update(cell="lstn"), "Unknown cell 'lstn'"),
        (lambda data: data["parameters"].reverse(), "list of parameters does not match"),
        (lambda data: data.update(files=3), "not a manifest"),
        (lambda data: data["architecture"].update(num_layers=10**12), "10 parameters do not match"),
        (
            lambda data: data["splits"]["train"].update(shards=10**12),
            "splits counts 1[0-9]* shards, but files has only",
        ),
        (lambda data: data["splits"]["train"].update(rows=-1), "must be non-negative integers"),
        (lambda data: data["splits"].pop("ood"), "runs, rows and shards of train, validation, test, ood"),
        (lambda data: data["files"]["index/train.parquet"].update(bytes="1"), "expected a sha256, bytes and rows"),
        (lambda data: data["files"]["index/train.parquet"].update(sha256="../x"), "expected a sha256, bytes and rows"),
        (lambda data: data["rollouts"].update(log_probs=["F64", [2]]), "the rollouts log_probs have dtype F64"),
        (lambda data: data["rollouts"].update(log_probs=["F16", [-1]]), "the rollouts log_probs have dtype F16"),
        (lambda data: data["columns"]["run"].update(dtype="object"), "the column run is described as"),
        (lambda data: data["made"].pop("versions"), "made must have"),
    ],
)
def test_an_invalid_manifest_is_rejected(zoo, tmp_path, edit, message):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    edit_manifest(out / "zoo.json", edit)
    with pytest.raises((FormatError, LookupError), match=message):
        read_manifest(out)


def test_a_flipped_bit_in_the_manifest_is_detected(zoo, tmp_path):
    whole = (zoo("formal-languages") / "zoo.json").read_bytes()
    random = np.random.default_rng(0)
    for place, bit in zip(random.integers(len(whole), size=200), random.integers(8, size=200), strict=True):
        (tmp_path / "zoo.json").write_bytes(
            whole[:place] + bytes([whole[place] ^ (1 << int(bit))]) + whole[place + 1 :]
        )
        with pytest.raises((FormatError, LookupError)):
            read_manifest(tmp_path)


def test_the_error_explains_why_a_directory_is_not_a_zoo(tmp_path):
    with pytest.raises(FormatError, match=r"is not a zoo: it has no zoo.json"):
        check_zoo(tmp_path)
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(FormatError, match="unfinished zoo. Run the same `rnn-zoos generate` again"):
        check_zoo(tmp_path)
    shutil.rmtree(tmp_path / "unfinished")
    (tmp_path / "zoo.json").write_text("{")
    with pytest.raises(FormatError, match="not a manifest"):
        check_zoo(tmp_path)


def test_directories_are_not_synced_where_they_cannot_be_opened(tmp_path, monkeypatch):
    """As on Windows, where opening one is an error."""

    def refuse(path, flags):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        write_atomically(tmp_path / "a", b"1")
    monkeypatch.setattr("rnn_zoos.format.files._DIRECTORIES_CAN_BE_OPENED", False)
    write_atomically(tmp_path / "b", b"2")
    assert (tmp_path / "b").read_bytes() == b"2"


def test_a_zoo_of_one_architecture_has_the_identity_that_version_0_1_gave_it(zoo):
    """Places and embeddings hold it. It was the hash of the manifest's repr, which had these fields in this order."""
    manifest = read_manifest(zoo("formal-languages"))
    names = [
        "zoo",
        "preset",
        "settings",
        "seed",
        "runs",
        "architecture",
        "rollouts",
        "columns",
        "splits",
        "digits",
        "made",
        "files",
        "imported",
    ]
    values = {name: getattr(manifest, name) for name in names} | {"made": {}}
    text = f"Manifest({', '.join(f'{name}={value!r}' for name, value in values.items())})"
    assert manifest.identity() == hashlib.sha256(text.encode()).hexdigest()
