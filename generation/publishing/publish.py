"""Putting a zoo on the Hugging Face Hub: all of it in one commit, or nothing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: of httpx or httpx2, as the client has
    HfHubHTTPError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.hf_api import RepoFile

from rnn_zoos.errors import FormatError, HubError
from rnn_zoos.families.family import SPLITS
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.files import sha256_of, write_atomically
from rnn_zoos.format.index import write_index
from rnn_zoos.format.manifest import CARD, MANIFEST, PRESET, PUBLISHED, index_path
from rnn_zoos.generation.publishing.card import make_card, preset_yaml
from rnn_zoos.generation.publishing.parquet import DATA, write_data
from rnn_zoos.loaders.hub import LOG_IN, PASSING, TRIES, wait_seconds
from rnn_zoos.loaders.paper.exporting import export_paper
from rnn_zoos.loaders.views.figures import draw_zoo
from rnn_zoos.loaders.zoo import open_zoo

_OURS = ("data/", "index/", "shards/", "rollouts/", "figures/")  # folders in which nothing but this zoo's files may be
_KIND = "dataset"

T = TypeVar("T")


@dataclass(frozen=True)
class Publication:
    """What a commit has to hold: path in the repository -> file here."""

    files: Mapping[str, Path]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(path.stat().st_size for path in self.files.values())

    def summary(self) -> Iterator[str]:
        """Yield a line for every folder: files and size."""
        folders: dict[str, list[int]] = {}
        for path, file in self.files.items():
            folders.setdefault(path.rpartition("/")[0], []).append(file.stat().st_size)
        for folder, sizes in folders.items():
            yield f"{(folder or '.') + '/':<12} {len(sizes):>5} files {sum(sizes) / 1e6:>10,.1f} MB"


def export_parquet(directory: Path, out: Path, name: str | None = None) -> list[Path]:
    """Write a zoo as plain `datasets` reads it: data/ with the weights, index/ without, and the card that names both.

    `datasets.load_dataset(str(out))`, or with "index". `name` is what the card calls the zoo, by default the folder.
    Returns the files. Raises FormatError for a directory that is no zoo, IntegrityError for a damaged one.
    """
    zoo = open_zoo(directory)
    for split in SPLITS:
        for stale in (out / DATA).glob(f"{split}-*-of-*.parquet"):
            stale.unlink()  # a file of another size of this zoo would be read along; all else there is the user's
    written = []
    for split in zoo.splits():
        written += [out / path for path, _ in write_data(zoo, split, out)]
        index = zoo.index(split)
        write_index(out / index_path(split), [index], index.schema)
        written.append(out / index_path(split))
    figures = draw_zoo(directory, out / "figures")
    card = make_card(zoo, name or str(out), [path.relative_to(out).as_posix() for path in figures])
    texts = {CARD: card} if zoo.manifest.imported else {CARD: card, PRESET: preset_yaml(zoo.manifest)}
    for path, text in texts.items():
        write_atomically(out / path, text.encode())
    return [*written, *figures, *(out / path for path in texts)]


def _export_parquet(directory: Path, out: Path) -> str:
    written = export_parquet(directory, out)
    return f"{out}: {len(written)} files, {sum(path.stat().st_size for path in written) / 1e6:,.1f} MB."


EXPORTERS: Mapping[str, Callable[[Path, Path], str]] = MappingProxyType(
    {"parquet": _export_parquet, "paper": export_paper}
)
"""By the name that `rnn-zoos export --to` takes: from a zoo and where to write to what to tell the user."""


def prepare_publication(directory: Path, repo: str) -> Publication:
    """Check a zoo and write what is published beside it. Raises FormatError with what is wrong."""
    findings = check_zoo(directory)
    if findings:
        raise FormatError(f"{directory} does not conform, so it is not published: {'; '.join(findings[:5])}.")
    zoo, folder = open_zoo(directory), directory / PUBLISHED
    made = export_parquet(directory, folder, repo)
    own = {path: directory / path for path in (*zoo.manifest.files, MANIFEST)}
    return Publication({path.relative_to(folder).as_posix(): path for path in made} | own)


def publish(
    publication: Publication, repo: str, tag: str | None = None, private: bool = False, endpoint: str | None = None
) -> str:
    """Make the repository hold these files by one commit, if it does not yet; tag it; return the commit.

    Requests that fail for a reason that may pass (connection, 429, 5xx) are repeated; files that the Hub already has
    are not sent again. Raises HubError: then nothing half is visible, and the same call goes on where it was.
    """
    api = HfApi(endpoint=endpoint)
    _persistently(lambda: api.create_repo(repo, repo_type=_KIND, private=private, exist_ok=True), repo)
    tags = {ref.name: ref.target_commit for ref in _persistently(lambda: _refs(api, repo), repo)}
    if tag in tags and any(_persistently(lambda: _difference(api, publication, repo, tags[tag]), repo)):
        raise HubError(
            f"{repo} has the tag {tag} at {tags[tag]}, with other files than these. Versions do not change: give "
            "another --tag. Nothing was sent."
        )
    head = _persistently(lambda: _commit(api, publication, repo), repo)
    if tag is not None and tag not in tags:
        _persistently(lambda: api.create_tag(repo, tag=tag, revision=head, repo_type=_KIND, exist_ok=True), repo)
    return head


def _refs(api: HfApi, repo: str) -> list[Any]:
    return list(api.list_repo_refs(repo, repo_type=_KIND).tags)


def _commit(api: HfApi, publication: Publication, repo: str) -> str:
    """Commit what differs from the head that is seen here, and only onto that head; return the head then.

    Also called again after a commit whose answer was lost: then nothing differs any more.
    """
    head = str(api.repo_info(repo, repo_type=_KIND).sha)
    changed, gone = _difference(api, publication, repo, head)
    if not changed and not gone:
        return head
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(path, str(file)) for path, file in changed.items()
    ]
    operations += [CommitOperationDelete(path) for path in gone]
    message = f"Zoo of {len(publication.files)} files: {len(changed)} new or changed, {len(gone)} removed"
    commit = api.create_commit(repo, operations, commit_message=message, repo_type=_KIND, parent_commit=head)
    return str(commit.oid)


def _difference(api: HfApi, publication: Publication, repo: str, commit: str) -> tuple[dict[str, Path], list[str]]:
    """Return the files that a commit lacks or has otherwise, and the paths that it has too many."""
    there = {
        entry.path: entry
        for entry in api.list_repo_tree(repo, repo_type=_KIND, revision=commit, recursive=True)
        if isinstance(entry, RepoFile)
    }
    changed = {path: file for path, file in publication.files.items() if not _same(there.get(path), file)}
    return changed, [path for path in there if path.startswith(_OURS) and path not in publication.files]


def _same(entry: RepoFile | None, file: Path) -> bool:
    """Say whether the Hub has this file's bytes: it tells the sha256 of large files, and git's hash of small ones."""
    if entry is None or entry.size != file.stat().st_size:
        return False
    if entry.lfs is not None:
        return bool(entry.lfs.sha256 == sha256_of(file))
    data = file.read_bytes()
    return bool(entry.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())


def _persistently(call: Callable[[], T], repo: str) -> T:
    """Return what a request returns, repeating it where that may help. Raises HubError."""
    for tried in range(1, TRIES + 1):
        try:
            return call()
        except (LocalTokenNotFoundError, OfflineModeIsEnabled) as error:
            raise HubError(f"{repo} cannot be reached: {error}") from error
        except (HTTPError, RuntimeError) as error:
            # RuntimeError: the client's, for a file that the storage did not take; its link may have expired.
            cause = error.__cause__ if isinstance(error, RuntimeError) else error
            if not isinstance(cause, HTTPError):
                raise
            if isinstance(error, HfHubHTTPError) and error.response.status_code not in PASSING:
                raise HubError(_explain(repo, error)) from error
            reason = _reason(error, cause)
            if tried == TRIES:
                raise HubError(
                    f"The Hub could not be used for {repo}: {TRIES} times, {reason}. Nothing half is visible there; "
                    "run the same command again later, files that arrived are not sent again."
                ) from error
            time.sleep(wait_seconds(cause, tried))
    raise AssertionError("the last try returns or raises")


def _reason(error: Exception, cause: BaseException) -> str:
    status = f"it answered {cause.response.status_code}" if isinstance(cause, HfHubHTTPError) else type(cause).__name__
    return status if cause is error else f"{str(error).rstrip('.')} ({status})"


def _explain(repo: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    said = str(error.server_message or error).splitlines()[0]
    if status == 412:
        return f"Another commit to {repo} came in between ({said}). Look at it, then run the same command again."
    if status in (401, 403):
        return f"The Hub does not let you write {repo} ({said}). With a token that may write there, {LOG_IN}."
    return f"The Hub refuses {repo}: {status}, {said}. Mend what it names, then run the same command again."
