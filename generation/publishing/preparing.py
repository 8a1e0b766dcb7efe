"""What is published of a zoo: its own files, checked, and the parquet files, card and figures that are made for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rnn_zoos import __version__
from rnn_zoos.errors import FormatError, IntegrityError, StorageError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.files import sha256_of
from rnn_zoos.format.manifest import CARD, MANIFEST, PUBLISHED
from rnn_zoos.generation.publishing.card import linked_space
from rnn_zoos.generation.publishing.export import write_export
from rnn_zoos.generation.publishing.export_directory import other_files, read_mark
from rnn_zoos.generation.publishing.results import result_files, results_section
from rnn_zoos.loaders.hub import check_hub_name
from rnn_zoos.loaders.zoo import Zoo, open_zoo


class FileState(NamedTuple):
    """A file as it was when the publication was prepared: SHA-256, size, and time of modification in nanoseconds."""

    sha256: str
    bytes: int
    modified: int


@dataclass(frozen=True)
class Publication:
    """The files of a published zoo.

    Attributes:
        files: Path in the repository -> local file.
        states: Path in the repository -> what the local file was.
    """

    files: Mapping[str, Path]
    states: Mapping[str, FileState]

    @classmethod
    def of(cls, files: Mapping[str, Path]) -> Publication:
        """Return files, path in the repository -> local file, with their states. Reads all of them."""
        return cls(files, {path: FileState(sha256_of(file), *_size_and_time(file)) for path, file in files.items()})

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(state.bytes for state in self.states.values())

    def summary(self) -> Iterator[str]:
        """Yield one line per folder: number of files and size."""
        folders: dict[str, list[int]] = {}
        for path, state in self.states.items():
            folders.setdefault(path.rpartition("/")[0], []).append(state.bytes)
        for folder, sizes in folders.items():
            yield f"{(folder or '.') + '/':<12} {len(sizes):>5} files {sum(sizes) / 1e6:>10,.1f} MB"

    def check_unchanged(self, paths: Iterable[str]) -> None:
        """Raise IntegrityError if a local file is missing or was modified since; its contents are not read."""
        for path in paths:
            file, state = self.files[path], self.states[path]
            if not file.is_file() or _size_and_time(file) != (state.bytes, state.modified):
                raise IntegrityError(
                    f"{file} was deleted or changed while the zoo was being published. Nothing was committed. Run the "
                    "same command again; it checks all files anew."
                )


def prepare_publication(
    directory: str | Path, repo: str, results: str | Path | None = None, space: str | None = None
) -> Publication:
    """Check a zoo and write the files that are published beside it: parquet, card, figures, preset.

    If no file has changed since the last call with the same arguments, by size and time of modification, nothing is
    read or written again.

    Args:
        directory: Directory of a zoo. The new files go to its folder `published`, which must not have others.
        repo: OWNER/NAME that the zoo will have on the Hub, for the examples of the card.
        results: Folder with leaderboard.md, figures and result files of the benchmark on this zoo.
        space: OWNER/NAME of the Space with the explorer of this zoo, to which the card links.

    Returns:
        All files of the repository: those of the zoo and the new ones.

    Raises:
        FormatError: `directory` is not a zoo, or does not conform to the format; or `results` are of another zoo.
        StorageError: The folder `published` has files that were added or edited by hand, or the disk is full.
        HubError: `repo` or `space` is not of the form OWNER/NAME.

    Example:
        >>> from rnn_zoos.generation import prepare_publication
        >>> publication = prepare_publication("zoos/formal-languages", "me/formal-languages")
        >>> print("\\n".join(publication.summary()))  # doctest: +SKIP
    """
    for name in (repo, space):
        if name is not None:
            check_hub_name(name)
    directory, results = Path(directory), None if results is None else Path(results)
    earlier = prepared_before(directory, repo, results, space)
    if earlier is not None:
        return earlier
    zoo, folder = open_zoo(directory), directory / PUBLISHED
    of_results = result_files(zoo, results)
    findings = check_zoo(directory)
    if findings:
        raise FormatError(f"{directory} does not conform, so it is not published: {'; '.join(findings[:5])}.")
    exported = write_export(zoo, folder, repo, published=True, results=results_section(of_results), space=space)
    hashes = {path: entry["sha256"] for path, entry in exported.files.items()}
    publication = _publication(zoo, directory, hashes, of_results)
    exported.finish(_fingerprint(publication, repo, space))
    return publication


def prepared_space(directory: Path) -> str | None:
    """Return OWNER/NAME of the Space to which the card links that was prepared last, None if it links to none."""
    card = directory / PUBLISHED / CARD
    return linked_space(card.read_text(encoding="utf-8")) if card.is_file() else None


def prepared_before(
    directory: Path, repo: str, results: Path | None = None, space: str | None = None
) -> Publication | None:
    """Return the publication that an earlier call prepared, None if there is none or any file has changed since."""
    zoo = open_zoo(directory)
    try:
        mark = read_mark(directory / PUBLISHED)
    except StorageError:
        return None  # writing the export again will raise it
    if mark is None or "prepared" not in mark or other_files(directory / PUBLISHED, mark):
        return None
    try:
        hashes = {path: entry["sha256"] for path, entry in mark["files"].items()}
        publication = _publication(zoo, directory, hashes, result_files(zoo, results))
    except FileNotFoundError:
        return None
    return publication if mark["prepared"] == _fingerprint(publication, repo, space) else None


def _publication(zoo: Zoo, directory: Path, exported: Mapping[str, str], of_results: Mapping[str, Path]) -> Publication:
    """Return the publication of a zoo with these exported files, path -> SHA-256, and these results."""
    files = {path: directory / PUBLISHED / path for path in exported} | dict(of_results)
    files |= {path: directory / path for path in (*zoo.manifest.files, MANIFEST)}
    hashes = {**exported, **{path: entry.sha256 for path, entry in zoo.manifest.files.items()}}
    hashes |= {path: sha256_of(file) for path, file in {MANIFEST: directory / MANIFEST, **of_results}.items()}
    return Publication(files, {path: FileState(hashes[path], *_size_and_time(file)) for path, file in files.items()})


def _size_and_time(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


def _fingerprint(publication: Publication, repo: str, space: str | None) -> str:
    """Return a hash that changes when a file, its time of modification, the version or a repository does."""
    state = json.dumps([__version__, repo, space, publication.states], sort_keys=True)
    return hashlib.sha256(state.encode()).hexdigest()
