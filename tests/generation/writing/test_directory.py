"""The lock of an output directory: which errors it translates; and which temporary files `repair` removes."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from rnn_zoos.errors import BusyError, HubError, StorageError
from rnn_zoos.format.files import new_directory, write_atomically
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.writing.directory import OutputPaths, locked, repair
from rnn_zoos.generation.writing.identity import write_identity

OTHERS = [
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    TimeoutError("the store did not answer"),
    HubError("owner/name is private"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", OTHERS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("context", [locked, new_directory])
def test_errors_that_are_not_of_the_directory_pass_unchanged(context, error, tmp_path):
    with pytest.raises(type(error)) as found, context(tmp_path / "zoo"):
        raise error
    assert found.value is error


def test_the_current_directory_is_not_replaced(tmp_path, monkeypatch):
    """Renaming another one over it works on Linux, but the user's shell would stay in the one that was removed."""
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.chdir(own)
    for given in (Path(), Path(".."), own):
        with pytest.raises(StorageError, match="current directory|already exists"), new_directory(given):
            pytest.fail("the work is not begun")
    assert list(tmp_path.iterdir()) == [own] and not list(own.iterdir())
    with new_directory(Path("below")) as folder:
        (folder / "file").write_text("x")
    with new_directory(Path("../beside")) as folder:
        (folder / "file").write_text("x")
    assert (own / "below" / "file").is_file() and (tmp_path / "beside" / "file").is_file()


def test_a_link_to_an_empty_directory_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with new_directory(tmp_path / "link") as folder:
        (folder / "file").write_text("x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "file").is_file()


def test_a_file_is_not_written_in_the_place_of_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match="could not be written"):
        write_atomically(Path(), b"x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(errno.EAGAIN, "no more processes"), PermissionError(13, "no", "/elsewhere")])
def test_an_error_of_another_file_or_of_none_is_not_blamed_on_the_directory(error, tmp_path):
    with pytest.raises(OSError) as found, locked(tmp_path):
        raise error
    assert found.value is error
    with locked(tmp_path):
        pass  # and the lock was released


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "No space left on device. Free disk space, then run the same command again."),
        (errno.EIO, "Input/output error. The disk, or the connection to it, fails: check it"),
        (errno.EACCES, "Permission denied. Fix its permissions"),
        (errno.EROFS, "Read-only file system. Choose another --out directory."),
        (errno.ENOENT, "No such file or directory. Run the same command again"),
    ],
)
def test_errors_of_files_in_the_directory_name_the_file_and_what_to_do(number, remedy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "zoo" / "unfinished" / "plan.json"
    with pytest.raises(StorageError) as found, locked(OutputPaths(tmp_path / "zoo").root.relative_to(tmp_path)):
        raise OSError(number, os.strerror(number), str(path))
    assert str(found.value).startswith(f"{path} cannot be read or written: {remedy}")


def test_a_directory_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    message = "file cannot be written: File exists. .* choose another --out"
    with pytest.raises(StorageError, match=message), locked(tmp_path / "file"):
        pass


def test_a_locked_directory_is_busy(tmp_path):
    with locked(tmp_path), pytest.raises(BusyError, match="written by another process"), locked(tmp_path):
        pass


def left_over(directory):
    """What `write_atomically` leaves if it is killed, and similar files of somebody else."""
    ours = directory / "unfinished" / ".train-00000.json.4711.tmp"
    foreign = [directory / name for name in (".x.tmp", "notes/.draft.txt.tmp", "notes/.y.12a.tmp", "a.12.tmp")]
    folder = directory / "notes" / ".cache.17.tmp"
    for path in (ours, *foreign):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    folder.mkdir()
    return ours, [*foreign, folder]


def test_repair_leaves_a_directory_of_somebody_else_as_it_is(tmp_path):
    ours, foreign = left_over(tmp_path / "home")
    assert repair(tmp_path / "home") == [] and ours.exists() and all(path.exists() for path in foreign)
    assert not (tmp_path / "home" / ".lock").exists(), "not even a lock was written"
    (tmp_path / "empty").mkdir()
    assert repair(tmp_path / "empty") == repair(tmp_path / "nothing") == [] and not any((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("state", ["finished", "unfinished"])
def test_repair_removes_from_a_zoo_only_its_own_temporary_files(state, zoo, tiny_preset, tmp_path):
    out = tmp_path / "zoo"
    if state == "finished":
        shutil.copytree(zoo("formal-languages"), out)
    else:
        write_identity(OutputPaths(out), make_plan("formal-languages", tiny_preset()), None, 0)
    ours, foreign = left_over(out)
    assert repair(out) == [ours] and not ours.exists() and all(path.exists() for path in foreign)


def test_repair_knows_a_generation_that_was_killed_before_it_wrote_its_plan(tmp_path, monkeypatch):
    def killed(source, target):
        raise KeyboardInterrupt

    plan = tmp_path / "unfinished" / "plan.json"
    monkeypatch.setattr(os, "replace", killed)
    monkeypatch.setattr("pathlib.Path.unlink", lambda path, missing_ok: None)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(plan, b"half")
    monkeypatch.undo()
    (temporary,) = plan.parent.iterdir()
    assert repair(tmp_path) == [temporary] and not temporary.exists()
