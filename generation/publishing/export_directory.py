"""The directory of an export. A file in it, export.json, lists the files that the export wrote, with their hashes.

Exporting again into the same directory replaces exactly these files. A directory that has other files, or in which a
listed file was edited, is refused before anything is changed. Until the export is complete, the list is in
export.journal, to which a line is added before each file is written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnn_zoos.errors import StorageError
from rnn_zoos.format.files import TEMPORARY_NAME, read_error, sha256_of, write_atomically, write_json
from rnn_zoos.threads import map_in_threads

MARK = "export.json"
"""The file that marks a directory as an export and lists the others."""
JOURNAL = "export.journal"
"""The list of files of an export that is not complete: one line of JSON for each."""

_VERSION = 1
_SHOWN = 5  # files that a message names


@dataclass
class ExportDirectory:
    """A directory that an export is writing to.

    Attributes:
        root: The directory.
        about: What was exported, for the mark.
        files: Path relative to `root` -> `sha256` and `bytes` of every file that was written, except the mark.
    """

    root: Path
    about: Mapping[str, Any]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write(self, path: str, data: bytes | memoryview) -> None:
        """Write a file. It is listed first, so that a killed export leaves no unlisted file. Raises StorageError."""
        if not self.files:
            self._mark(complete=False)
        self.files[path] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        self._list(path)
        write_atomically(self.root / path, data)

    def finish(self, prepared: str | None = None) -> None:
        """Mark the export as complete; `prepared` is stored for `prepare_publication`. Raises StorageError."""
        self._mark(complete=True, prepared=prepared)
        (self.root / JOURNAL).unlink(missing_ok=True)

    def _mark(self, complete: bool, prepared: str | None = None) -> None:
        more = {} if prepared is None else {"prepared": prepared}
        head = {"export": _VERSION, **self.about, "complete": complete, **more}
        write_json(self.root / MARK, {**head, "files": dict(sorted(self.files.items()))})

    def _list(self, path: str) -> None:
        """Add a file to the journal."""
        journal = self.root / JOURNAL
        try:
            with open(journal, "a", encoding="utf-8") as file:
                file.write(json.dumps([path, self.files[path]]) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(journal, error) from error


def begin_export(root: Path, about: Mapping[str, Any]) -> ExportDirectory:
    """Remove the files of an earlier export from a directory, or create it, and return it for writing.

    Raises:
        StorageError: The directory has files that no export wrote, or that were edited since, or cannot be written.
            Nothing was changed then.
    """
    try:
        own = _own_files(root)
        for path in own:
            path.unlink()
            for folder in path.relative_to(root).parents:
                with suppress(OSError):  # not empty
                    if folder.name:
                        (root / folder).rmdir()
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise _unwritable(root, error) from error
    return ExportDirectory(root, about)


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be written: {error.strerror or error}. Free disk space, fix the permissions, or "
        "choose another directory."
    )


def read_mark(root: Path) -> dict[str, Any] | None:
    """Return the content of the mark, with the files of an incomplete export; None if the directory has no mark.

    Raises StorageError if it is damaged, or cannot be read.
    """
    try:
        mark = dict(json.loads((root / MARK).read_bytes()))
        mark["files"] = {**mark["files"], **({} if mark["complete"] else _read_journal(root / JOURNAL))}
        entries = [(entry["sha256"], entry["bytes"]) for entry in mark["files"].values()]
        if mark["export"] == _VERSION and all(isinstance(sha, str) and type(size) is int for sha, size in entries):
            return mark
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise read_error(root / MARK, error) from error
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise StorageError(
        f"{root / MARK} is not the list of files that `rnn-zoos export` writes, so nothing was changed. Delete the "
        "directory if you do not need it, or choose a new one."
    )


def _read_journal(journal: Path) -> dict[str, Any]:
    """Return path -> entry of the files that a journal lists; an export that was killed may have cut its last line."""
    if not journal.is_file():
        return {}
    *lines, _ = journal.read_text(encoding="utf-8").split("\n")
    return dict(json.loads(line) for line in lines)


def other_files(root: Path, mark: Mapping[str, Any]) -> list[str]:
    """Return the files of a directory that the export with this mark did not write."""
    own = {JOURNAL, MARK}
    return [path for path, _ in sorted(_files_below(root)) if path not in own and not _is_listed(path, mark["files"])]


def _own_files(root: Path) -> list[Path]:
    """Return the files of an earlier export, its lists last. Raises StorageError if others exist or some are edited."""
    if root.exists() and not root.is_dir():
        raise StorageError(f"{root} is a file; nothing was changed. Choose a new directory.")
    present = dict(sorted(_files_below(root)))
    lists = [present.pop(path) for path in (JOURNAL, MARK) if path in present]
    if not present and not lists:
        return []
    mark = read_mark(root)
    if mark is None:
        raise StorageError(
            f"{root} is not empty and has no {MARK}, so it is not an export of this version. Nothing was changed. "
            "Choose a new or an empty directory."
        )
    listed = mark["files"]
    foreign = other_files(root, mark)
    edited = _edited({path: file for path, file in present.items() if path in listed}, listed)
    if foreign or edited:
        problems = [f"{_names(foreign)} not written by an export"] * bool(foreign)
        problems += [f"{_names(edited)} edited since the export"] * bool(edited)
        raise StorageError(
            f"{root} has files of yours, so nothing was changed: {'; '.join(problems)}. Move them elsewhere, or "
            "choose a new directory."
        )
    return [*present.values(), *lists]


def _files_below(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield relative path and path of everything below a directory that is not itself a directory."""
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(root).as_posix(), path


def _is_listed(path: str, listed: Mapping[str, Any]) -> bool:
    """Return whether an export wrote this file, or a killed export left it behind as the beginning of such a file."""
    folder, slash, name = path.rpartition("/")
    temporary = TEMPORARY_NAME.fullmatch(name)
    written = f"{folder}{slash}{temporary[1]}" if temporary else path
    return written in listed or (temporary is not None and written == MARK)


def _edited(files: Mapping[str, Path], listed: Mapping[str, Any]) -> list[str]:
    """Return those of the listed files, path -> file, that have other bytes than an export wrote."""
    unchanged = map_in_threads(
        lambda path: _is_unchanged(files[path], listed[path]),
        list(files),
        "comparing hashes",
        lambda path: int(listed[path]["bytes"]),
    )
    return [path for path, same in zip(files, unchanged, strict=True) if not same]


def _is_unchanged(file: Path, entry: Mapping[str, Any]) -> bool:
    return file.is_file() and file.stat().st_size == entry["bytes"] and sha256_of(file) == entry["sha256"]


def _names(paths: list[str]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return f"{', '.join(paths[:_SHOWN])}{more} {'was' if len(paths) == 1 else 'were'}"
