"""Files are compared in threads with the errors of a loop; a file that cannot be read is called that, not damaged."""

import builtins
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rnn_zoos.errors import IntegrityError, PresetError, StorageError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.files import FileEntry
from rnn_zoos.format.hashing import check_files, copy_checked, damages
from rnn_zoos.format.index import read_index
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.presets import load_preset
from rnn_zoos.generation.writing.merge import merge

SIZE = (1 << 20) + 17  # more than what is read at once


@pytest.fixture
def files(tmp_path) -> list[tuple[Path, FileEntry]]:
    """Seven files with their entries."""
    found = []
    for number in range(7):
        data = bytes([number]) * SIZE
        (tmp_path / str(number)).write_bytes(data)
        found.append((tmp_path / str(number), FileEntry(hashlib.sha256(data).hexdigest(), SIZE, 1)))
    return found


def forbid(monkeypatch, end: str) -> None:
    """Let no file be opened whose path ends like this: permissions do not keep root out."""
    opened = builtins.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith(end):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", refuse)


def test_the_error_is_that_of_the_first_damaged_file(files):
    check_files(files, "Do this.")
    files[2][0].write_bytes(b"short")
    files[5][0].unlink()
    with pytest.raises(IntegrityError, match=r"2 has 5 bytes; expected 1,048,593\. Do this\."):
        check_files(files, "Do this.")
    found = damages(files, "Do this.")
    assert [number for number, damage in enumerate(found) if damage] == [2, 5] and "5 is missing" in found[5]


def test_a_file_that_cannot_be_read_is_no_damaged_one(files, monkeypatch):
    forbid(monkeypatch, "/3")
    with pytest.raises(StorageError, match=r"3 cannot be read: Permission denied\. Fix its permissions"):
        check_files(files, "Do this.")
    assert next(damage for damage in damages(files, "Do this.") if damage).startswith(f"{files[3][0]} cannot be read")


def test_a_copy_has_the_bytes_of_its_entry_or_does_not_exist(files, tmp_path):
    (source, entry), target = files[1], tmp_path / "new" / "copy"
    copy_checked(source, entry, target, "Do this.")
    assert target.read_bytes() == source.read_bytes()
    target.unlink()
    for wrong in (replace(entry, sha256="0" * 64), replace(entry, bytes=1)):
        with pytest.raises(IntegrityError, match=r"1 has .* expected .*Do this\."):
            copy_checked(source, wrong, target, "Do this.")
    with pytest.raises(IntegrityError, match="is missing"):
        copy_checked(tmp_path / "none", entry, target, "Do this.")
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["train.parquet", "zoo.json"])
def test_files_of_a_zoo_that_cannot_be_read_are_not_called_something_else(name, zoo, monkeypatch):
    path = zoo("formal-languages")
    forbid(monkeypatch, name)
    with pytest.raises(StorageError, match=f"{name} cannot be read: Permission denied"):
        read_manifest(path) if name == "zoo.json" else read_index(path / "index" / name)


def test_an_index_that_is_a_directory_cannot_be_read(tmp_path):
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        read_index(tmp_path)


def test_check_reports_a_file_that_cannot_be_read(zoo, monkeypatch):
    path = zoo("formal-languages")
    shard = next((path / "shards").iterdir())
    forbid(monkeypatch, f"shards/{shard.name}")
    findings = check_zoo(path)
    assert len(findings) == 1 and findings[0].startswith(f"{shard} cannot be read: Permission denied")


def test_merge_names_a_file_that_it_cannot_read(zoo, tmp_path, monkeypatch):
    part = Path(shutil.copytree(zoo("formal-languages"), tmp_path / "part"))
    name = sorted((part / "rollouts").iterdir())[0].name
    forbid(monkeypatch, f"rollouts/{name}")
    with pytest.raises(StorageError, match=f"{part}/rollouts/.* cannot be read: Permission denied"):
        merge([part], tmp_path / "zoo")


def test_a_preset_that_cannot_be_read_is_not_called_wrong_yaml(tiny_preset, monkeypatch):
    def refuse(path, encoding):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(PresetError, match=r"lstm\.yaml cannot be read: Permission denied\."):
        load_preset(tiny_preset(), "formal-languages")
