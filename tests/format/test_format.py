"""The zoo format: files, manifest, index, and what `check` finds when something is wrong."""

import os
import shutil
import stat

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
from conftest import ZOOS
from damage import change, rewrite_index

from rnn_zoos.errors import FormatError, IntegrityError, StorageError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.files import (
    FileEntry,
    check_bytes,
    map_tensors,
    read_sealed_json,
    write_atomically,
    write_sealed_json,
    write_tensors,
)
from rnn_zoos.format.index import read_index, write_index
from rnn_zoos.format.manifest import read_manifest

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
    theirs = safetensors.numpy.load_file(tmp_path / "0.safetensors")
    assert all(np.array_equal(theirs[name], tensor) for name, tensor in TENSORS.items())


def test_files_appear_whole_readable_by_others_and_without_leftovers(tmp_path, monkeypatch):
    previous = os.umask(0o022)
    try:
        write_atomically(tmp_path / "new" / "file", b"abc")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "new" / "file").stat().st_mode) == 0o644
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(
        StorageError, match=r"file \(5 bytes\) could not be written: No space left on device.*make room"
    ):
        write_atomically(tmp_path / "new" / "file", b"12345")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
    assert (tmp_path / "new" / "file").read_bytes() == b"abc"
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
def test_a_damaged_shard_is_an_error_that_names_it(tmp_path, damage):
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS, {})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FormatError, match=r"x\.safetensors"):
        map_tensors(path)


def test_a_foreign_dtype_and_a_missing_file_are_errors(tmp_path):
    safetensors.numpy.save_file({"a": np.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(FormatError, match="a has dtype F64; format 1 knows F32"):
        map_tensors(tmp_path / "x.safetensors")
    with pytest.raises(FormatError, match="cannot be read: No such file"):
        map_tensors(tmp_path / "y.safetensors")


def test_check_bytes_tells_missing_shorter_and_changed(tmp_path):
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


def test_index_survives_a_round_trip_and_damage_is_named(tmp_path):
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


def test_a_record_survives_a_round_trip_and_no_changed_byte(tmp_path):
    path = tmp_path / "record.json"
    data = {"runs": [3], "loss": float(np.float32(0.1)), "text": "grüße"}
    write_sealed_json(path, data)
    assert read_sealed_json(path, "Do this.") == data
    whole = path.read_bytes()
    for damaged in (*(whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(len(whole))), whole[:-1], b""):
        path.write_bytes(damaged)
        with pytest.raises(IntegrityError, match=r"record.json is damaged.*Do this"):
            read_sealed_json(path, "Do this.")


@pytest.mark.parametrize("name", ZOOS)
def test_manifest_survives_a_round_trip(name, zoo, tmp_path):
    manifest = read_manifest(zoo(name))
    manifest.write(tmp_path)
    assert read_manifest(tmp_path) == manifest
    assert (tmp_path / "zoo.json").read_bytes() == (zoo(name) / "zoo.json").read_bytes()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: data.update(format=2), "not of format 1"),
        (lambda data: data.pop("seed"), "not a manifest of format 1 .*seed"),
        (lambda data: data["files"].update({"../../etc/passwd": data["files"]["index/train.parquet"]}), "not inside"),
        (lambda data: data["files"].update({"/etc/passwd": data["files"]["index/train.parquet"]}), "not inside"),
        (lambda data: data["architecture"].update(cell="lstn"), "Unknown cell 'lstn'"),
        (lambda data: data["parameters"].reverse(), "list of parameters does not fit"),
        (lambda data: data.update(files=3), "not a manifest"),
        (lambda data: data["architecture"].update(num_layers=10**12), "10 parameters do not fit"),
        (lambda data: data["splits"]["train"].update(shards=10**12), "cannot hold all the shards"),
        (lambda data: data["splits"]["train"].update(rows=-1), "whole numbers of at least 0"),
        (lambda data: data["splits"].pop("ood"), "runs, rows and shards of train, validation, test, ood"),
        (lambda data: data["files"]["index/train.parquet"].update(bytes="1"), "expected a sha256, bytes and rows"),
        (lambda data: data["files"]["index/train.parquet"].update(sha256="../x"), "expected a sha256, bytes and rows"),
        (lambda data: data["rollouts"].update(log_probs=["F64", [2]]), "the rollouts log_probs are F64"),
        (lambda data: data["rollouts"].update(log_probs=["F16", [-1]]), "the rollouts log_probs are F16"),
        (lambda data: data["columns"]["run"].update(dtype="object"), "the column run is"),
        (lambda data: data["made"].pop("versions"), "made lacks"),
    ],
)
def test_a_wrong_manifest_is_refused(zoo, tmp_path, edit, message):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    change(out / "zoo.json", edit)
    with pytest.raises((FormatError, LookupError), match=message):
        read_manifest(out)


def test_a_flipped_bit_in_the_manifest_is_noticed(zoo, tmp_path):
    whole = (zoo("formal-languages") / "zoo.json").read_bytes()
    random = np.random.default_rng(0)
    for place, bit in zip(random.integers(len(whole), size=200), random.integers(8, size=200), strict=True):
        (tmp_path / "zoo.json").write_bytes(
            whole[:place] + bytes([whole[place] ^ (1 << int(bit))]) + whole[place + 1 :]
        )
        with pytest.raises((FormatError, LookupError)):
            read_manifest(tmp_path)


def test_what_is_no_zoo_is_explained(tmp_path):
    with pytest.raises(FormatError, match=r"is not a zoo: it has no zoo.json"):
        check_zoo(tmp_path)
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(FormatError, match="unfinished zoo. Run the same `rnn-zoos generate` again"):
        check_zoo(tmp_path)
    shutil.rmtree(tmp_path / "unfinished")
    (tmp_path / "zoo.json").write_text("{")
    with pytest.raises(FormatError, match="not a manifest"):
        check_zoo(tmp_path)


@pytest.mark.parametrize("name", ZOOS)
def test_check_names_every_damaged_byte(name, zoo, tmp_path):
    out = shutil.copytree(zoo(name), tmp_path / "zoo")
    for path in sorted(read_manifest(out).files):
        whole = (out / path).read_bytes()
        middle = len(whole) // 2
        (out / path).write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        findings = check_zoo(out)
        assert len(findings) == 1 and path in findings[0] and "sha256" in findings[0], path
        (out / path).unlink()
        assert [path in finding and "missing" in finding for finding in check_zoo(out)] == [True]
        (out / path).write_bytes(whole)
    (out / "shards" / "more.safetensors").write_bytes(b"")
    assert check_zoo(out) == ["shards/more.safetensors is not listed in zoo.json."]


@pytest.mark.parametrize(
    ("edit", "messages"),
    [
        (lambda rows: rows[0].update(accuracy=1.5), ["accuracy is 1.5; expected 0 to 1"]),
        (lambda rows: rows[0].update(loss=float("nan")), ["loss is nan"]),
        (lambda rows: rows[0].update(split="test"), ["split 'test' in index/train.parquet"]),
        (lambda rows: rows[0].update(step=1), ["step 1: not a snapshot", "has the steps"]),
        (lambda rows: rows[4].update(m_b=rows[4]["m_b"] + 1), ["m_b is"]),
        (lambda rows: rows[4].update(task="b+0 c+0 d+0"), ["task is 'b+0 c+0 d+0'; its seed gives it"]),
        (lambda rows: rows[4].update(weight_decay=-1.0), ["weight_decay is -1.0; its seed gives it"]),
        (lambda rows: rows[4].update(diverged=True), ["diverged is False and True"]),
        (lambda rows: [row.update(diverged=True) for row in rows], ["diverged is True"]),
        (lambda rows: rows[4].update(loss=-0.5), ["loss is -0.5; expected at least 0"]),
        (
            lambda rows: rows.pop(),
            ["has the steps", "names the rows", "counts 12 rows of train"],
        ),
        (lambda rows: rows.reverse(), ["not sorted", "names the rows"]),
        (
            lambda rows: [row.update(task="b+0 c+0 d+0") for row in rows[:3]],
            ["task is 'b+0 c+0 d+0'; its seed gives it"],
        ),
        (lambda rows: rows[0].update(shard=1), ["in several shards", "names the rows"]),
    ],
)
def test_check_finds_what_an_index_says_wrongly(zoo, tmp_path, edit, messages):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    rewrite_index(out, "train", edit)
    findings = "\n".join(check_zoo(out))
    assert all(message in findings for message in messages), findings


def test_check_finds_a_task_that_leaks_between_splits(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    manifest = read_manifest(out)
    other = next(split for split in ("ood", "test", "validation") if manifest.splits[split]["rows"])
    train = read_index(out / "index" / "train.parquet").to_pylist()
    leaked = {key: train[0][key] for key in ("task", "m_b", "m_c", "m_d")}
    rewrite_index(out, other, lambda rows: [row.update(leaked) for row in rows])
    assert any("is in several splits" in finding for finding in check_zoo(out))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda t: t.update({"linear.bias": t["linear.bias"] * np.float32("nan")}),
            "linear.bias has values that are not",
        ),
        (lambda t: t.update({"linear.bias": t["linear.bias"].astype(np.float16)}), "linear.bias as float16"),
        (
            lambda t: t.update({"linear.bias": t["linear.bias"][:, :-1]}),
            r"linear.bias as float32 \(6, 5\); expected F32 \(6, 6\)",
        ),
        (lambda t: t.pop("linear.bias"), "has the tensors"),
        (lambda t: t.update({n: a[:-1] for n, a in t.items()}), "has 5 rows"),
    ],
)
def test_check_finds_wrong_tensors_under_right_hashes(zoo, tmp_path, edit, message):
    import re

    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    path = next(path for path in read_manifest(out).files if path.startswith("shards/train-00000"))
    tensors = {name: np.array(tensor) for name, tensor in map_tensors(out / path).items()}
    edit(tensors)
    entry = write_tensors(out / path, tensors, {})
    change(out / "zoo.json", lambda data: data["files"].update({path: vars(entry)}))
    findings = check_zoo(out)
    assert findings and any(re.search(message, finding) for finding in findings), findings


def test_check_finds_digits_that_are_not_there(zoo, tmp_path):
    out = shutil.copytree(zoo("sequential-mnist"), tmp_path / "zoo")
    digits = {name: np.array(tensor)[1:] for name, tensor in map_tensors(out / "digits.safetensors").items()}
    entry = write_tensors(out / "digits.safetensors", digits, {})
    change(out / "zoo.json", lambda data: data["files"].update({"digits.safetensors": vars(entry)}))
    assert any("shows digits that are not in digits.safetensors" in finding for finding in check_zoo(out))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: data.update(runs=100), "settings.runs is 7; expected 100"),
        (lambda data: data["settings"].update(cell="gru"), "architecture is"),
        (lambda data: data["settings"].update(seed=1), "settings.seed is 1"),
        (lambda data: data.update(seed=1), "its seed gives it"),
        (lambda data: data["splits"]["train"].update(runs=99), "runs of all splits"),
        (lambda data: data["columns"]["accuracy"].update(dtype="float64"), "columns is"),
        (lambda data: data["rollouts"].pop("log_probs"), "rollouts is"),
        (lambda data: data["settings"].pop("evaluation"), "settings lack something"),
        (lambda data: data["settings"].update(evaluation={"strings": 1}), "settings lack something"),
    ],
)
def test_check_finds_a_manifest_that_contradicts_itself(zoo, tmp_path, edit, message):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    change(out / "zoo.json", edit)
    assert any(message in finding for finding in check_zoo(out)), check_zoo(out)


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("formal-languages", lambda t: t["sequences"].__setitem__((0, 0, 5), 200), "symbols that there are not"),
        ("formal-languages", lambda t: t["sequences"].__setitem__((0, 0, 0), 1), "do not begin with BOS"),
        ("formal-languages", lambda t: t["log_probs"].__setitem__((0, 0, 0, 0), 0.5), "above zero"),
        ("sequential-mnist", lambda t: t["labels"].__setitem__((0, 0), 99), "above 9"),
        ("sequential-mnist", lambda t: t["labels"].__iadd__(t["labels"] < 9), "not those of the digits"),
    ],
)
def test_check_finds_rollouts_that_cannot_be(zoo, tmp_path, name, edit, message):
    out = shutil.copytree(zoo(name), tmp_path / "zoo")
    path = next(path for path in read_manifest(out).files if path.startswith("rollouts/train-00000"))
    tensors = {key: np.array(tensor) for key, tensor in map_tensors(out / path).items()}
    edit(tensors)
    entry = write_tensors(out / path, tensors, {})
    change(out / "zoo.json", lambda data: data["files"].update({path: vars(entry)}))
    assert any(message in finding for finding in check_zoo(out)), check_zoo(out)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop("images"), "has the tensors"),
        (lambda t: t.update(images=t["images"][:, :27]), "expected U8"),
        (lambda t: t.update(numbers=t["numbers"][::-1]), "numbers are not ascending"),
    ],
)
def test_check_finds_wrong_digits(zoo, tmp_path, edit, message):
    out = shutil.copytree(zoo("sequential-mnist"), tmp_path / "zoo")
    digits = {key: np.array(tensor) for key, tensor in map_tensors(out / "digits.safetensors").items()}
    edit(digits)
    entry = write_tensors(out / "digits.safetensors", digits, {})
    change(out / "zoo.json", lambda data: data["files"].update({"digits.safetensors": vars(entry)}))
    assert any(message in finding for finding in check_zoo(out)), check_zoo(out)
