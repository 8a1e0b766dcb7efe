"""Exports to parquet: the same bits as the zoo, shapes in the metadata, and no file of a user lost."""

import json
import shutil
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from command import run_command
from conftest import ZOOS

from rnn_zoos.errors import StorageError
from rnn_zoos.format.files import sha256_of
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.publishing import export_directory, parquet
from rnn_zoos.generation.publishing.export import export_parquet
from rnn_zoos.generation.publishing.export_directory import MARK
from rnn_zoos.generation.publishing.preparing import prepare_publication
from rnn_zoos.loaders.zoo import open_zoo


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def exported(zoo, tmp_path) -> Path:
    export_parquet(zoo("formal-languages"), tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize("name", ZOOS)
def test_parquet_has_the_same_rows_and_the_same_bits(name, zoo, tmp_path, monkeypatch):
    """With several files per split and several row groups per file, the last of each not full."""
    monkeypatch.setattr(parquet, "_MAX_GROUP_ROWS", 2)
    monkeypatch.setattr(parquet, "_FILE_BYTES", 2 * 4 * read_manifest(zoo(name)).architecture.num_parameters)
    export_parquet(zoo(name), tmp_path / "out")
    plain = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    labels = datasets.load_dataset(str(tmp_path / "out"), "index", cache_dir=str(tmp_path / "cache"))
    ours = open_zoo(zoo(name))
    assert set(plain) == set(ours.splits()) == set(labels)
    for split in ours.splits():
        index = ours.index(split).to_pylist()
        assert index == labels[split].to_list() == plain[split].select_columns(list(index[0])).to_list()
        rows = plain[split].with_format("numpy")[:]
        for key, tensors in ours.take("weights", ours.index(split).to_pydict()).items():
            assert rows[key].dtype == np.float32 and np.array_equal(rows[key], tensors.reshape(len(index), -1))
    assert len(list((tmp_path / "out" / "data").glob("train-*"))) > 1


@pytest.mark.parametrize("name", ZOOS)
def test_every_data_file_has_the_shapes_of_its_parameters_and_the_architecture(name, zoo, tmp_path):
    export_parquet(zoo(name), tmp_path / "out")
    manifest = json.loads((zoo(name) / "zoo.json").read_text())
    for path in (tmp_path / "out" / "data").iterdir():
        metadata = pq.read_schema(path).metadata
        about = json.loads(metadata[b"rnn_zoos"])
        assert about == {key: manifest[key] for key in ("format", "zoo", "architecture", "parameters")}
        assert set(metadata) == {b"rnn_zoos"}, "none that `datasets` would take for its own"


def test_the_mark_lists_every_other_file_with_its_hash(exported, zoo):
    mark = json.loads((exported / MARK).read_text())
    assert mark["zoo"]["sha256"] == open_zoo(zoo("formal-languages")).identity and mark["complete"]
    found = {
        path: {"sha256": sha256_of(exported / path), "bytes": len(data)}
        for path, data in files_below(exported).items()
        if path != MARK
    }
    assert mark["files"] == found and len(found) > 6


def test_exporting_again_replaces_the_files_of_the_earlier_export(exported, zoo, monkeypatch):
    before = files_below(exported)
    assert sorted(export_parquet(zoo("formal-languages"), exported)) == sorted(exported / path for path in before)
    assert files_below(exported) == before, "same bytes"
    monkeypatch.setattr(parquet, "_MAX_GROUP_ROWS", 2)
    monkeypatch.setattr(parquet, "_FILE_BYTES", 1)
    export_parquet(zoo("formal-languages"), exported)
    (exported / "figures" / "tasks.png").unlink()
    count = len(list((exported / "data").glob("train-*")))
    monkeypatch.undo()
    export_parquet(zoo("sequential-mnist"), exported)
    after = files_below(exported)
    assert after.keys() - {MARK} == json.loads(after[MARK])["files"].keys()
    assert count > 1 == len(list((exported / "data").glob("train-*"))) and b"sequential-mnist" in after["README.md"]


def test_datasets_does_not_mistake_an_export_for_another_one_in_a_directory_of_the_same_name(exported, zoo, tmp_path):
    load = partial(datasets.load_dataset, str(exported), split="train", cache_dir=str(tmp_path / "cache"))
    first = load()["task"][:]
    export_parquet(zoo("formal-languages", "gru"), exported)
    assert "gru.weight_ih_l0" in load().column_names and load()["task"][:] == first
    assert (
        load("index")["accuracy"][:] == open_zoo(zoo("formal-languages", "gru")).index("train")["accuracy"].to_pylist()
    )


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda out: put(out / "data" / "mine.parquet", b"1"), "data/mine.parquet was not written by an export"),
        (lambda out: put(out / "data" / "train-00007-of-00009.parquet", b"1"), "train-00007-of-00009.parquet was not"),
        (lambda out: put(out / "notes" / ".hidden", b"1"), "notes/.hidden was not written"),
        (lambda out: put(out / "README.md", b"my own card"), "README.md was edited since the export"),
        (lambda out: put(out / "data" / ".mine.17.tmp", b"1"), "data/.mine.17.tmp was not written"),
        (lambda out: (out / "link").symlink_to("README.md"), "link was not written by an export"),
        (lambda out: (out / MARK).unlink(), f"is not empty and has no {MARK}"),
        (lambda out: put(out / MARK, b'{"files": {"README.md": 3}}'), f"{MARK} is not the list of files"),
        (lambda out: put(out / MARK, b"[]"), f"{MARK} is not the list of files"),
    ],
)
def test_a_directory_with_files_of_the_user_is_refused_before_anything_is_changed(change, message, exported, zoo):
    change(exported)
    before = files_below(exported)
    with pytest.raises(StorageError, match=message) as refused:
        export_parquet(zoo("formal-languages"), exported)
    assert files_below(exported) == before and "hoose a new" in str(refused.value)


@pytest.mark.parametrize("target", ["files", "zoo", "file"])
def test_a_directory_that_is_no_export_is_refused(target, zoo, tmp_path):
    """Not even the directory of a zoo: its own index would be replaced."""
    out = Path(shutil.copytree(zoo("formal-languages"), tmp_path / "zoo"))
    if target != "zoo":
        out = tmp_path / "mine"
        put(out / "data" / "train-00000-of-00001.parquet" if target == "files" else out, b"the user's")
    before = files_below(tmp_path)
    finished = run_command("export", zoo("formal-languages"), "--to", "parquet", "--out", out)
    assert finished.status == 1 and finished.err.startswith(f"Error: {out} is ")
    assert files_below(tmp_path) == before


def test_an_export_that_was_killed_is_done_again_by_the_same_command(exported, zoo, tmp_path, monkeypatch):
    """It is killed while it writes its first file, its fourth, and so on."""
    expected, out = files_below(exported), tmp_path / "again"
    write, calls, last = export_directory.write_atomically, [], 0

    def killed(path, data):
        calls.append(path)
        if len(calls) == last:
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / f".{path.name}.4711.tmp").write_bytes(data[:3])
            raise KeyboardInterrupt
        return write(path, data)

    monkeypatch.setattr(export_directory, "write_atomically", killed)
    for last in range(1, len(expected), 3):  # noqa: B007 - read by `killed`
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            export_parquet(zoo("formal-languages"), out)
        assert not json.loads((out / MARK).read_text())["complete"]
    monkeypatch.undo()
    export_parquet(zoo("formal-languages"), out)
    assert files_below(out).keys() == expected.keys()


def test_a_full_disk_leaves_an_export_that_can_be_done_again(exported, zoo, monkeypatch):
    def full(path, data):
        raise StorageError("no space")

    monkeypatch.setattr(export_directory, "write_atomically", full)
    with pytest.raises(StorageError, match="no space"):
        export_parquet(zoo("formal-languages"), exported)
    monkeypatch.undo()
    export_parquet(zoo("formal-languages"), exported)
    assert json.loads((exported / MARK).read_text())["complete"]


def test_a_card_that_was_edited_by_hand_is_not_replaced_by_publishing(zoo, tmp_path):
    own_zoo = Path(shutil.copytree(zoo("formal-languages"), tmp_path / "zoo"))
    prepare_publication(own_zoo, "rnn-zoos/tiny")
    put(own_zoo / "published" / "README.md", b"my own card")
    with pytest.raises(StorageError, match=r"README\.md was edited since the export"):
        prepare_publication(own_zoo, "rnn-zoos/tiny")
    assert (own_zoo / "published" / "README.md").read_bytes() == b"my own card"


def test_plots_replace_earlier_plots_and_no_other_pictures(zoo, tmp_path):
    assert run_command("plot", zoo("formal-languages"), "--out", tmp_path / "figures").status == 0
    assert run_command("plot", zoo("sequential-mnist"), "--out", tmp_path / "figures").status == 0
    put(tmp_path / "figures" / "tasks.png", b"\x89PNG the user's")
    before = files_below(tmp_path)
    finished = run_command("plot", zoo("formal-languages"), "--out", tmp_path / "figures")
    assert finished.status == 1 and "tasks.png exists, and this version of rnn-zoos did not draw it" in finished.err
    assert files_below(tmp_path) == before
