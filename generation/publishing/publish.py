"""Publishing a zoo on the Hugging Face Hub: all of its files in one commit, so that readers see all or nothing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
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
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.files import sha256_of
from rnn_zoos.format.manifest import MANIFEST, PUBLISHED
from rnn_zoos.generation.publishing.export import export_parquet
from rnn_zoos.loaders.hub import LOG_IN_HINT, TRANSIENT_STATUSES, TRIES, wait_seconds
from rnn_zoos.loaders.zoo import open_zoo

_OWN_FOLDERS = ("data/", "index/", "shards/", "rollouts/", "figures/")  # other files there are removed
_KIND = "dataset"

T = TypeVar("T")


@dataclass(frozen=True)
class Publication:
    """The files of a published zoo: path in the repository -> local file."""

    files: Mapping[str, Path]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(path.stat().st_size for path in self.files.values())

    def summary(self) -> Iterator[str]:
        """Yield one line per folder: number of files and size."""
        folders: dict[str, list[int]] = {}
        for path, file in self.files.items():
            folders.setdefault(path.rpartition("/")[0], []).append(file.stat().st_size)
        for folder, sizes in folders.items():
            yield f"{(folder or '.') + '/':<12} {len(sizes):>5} files {sum(sizes) / 1e6:>10,.1f} MB"


def prepare_publication(directory: Path, repo: str) -> Publication:
    """Check a zoo and write the files that are published beside it: parquet, card, figures, preset.

    Args:
        directory: Directory of a zoo. The new files go to its folder `published`.
        repo: OWNER/NAME that the zoo will have on the Hub, for the examples of the card.

    Returns:
        All files of the repository: those of the zoo and the new ones.

    Raises:
        FormatError: `directory` is not a zoo, or does not conform to the format.
        StorageError: The disk is full.

    Example:
        >>> from pathlib import Path
        >>> from rnn_zoos.generation import prepare_publication
        >>> publication = prepare_publication(Path("zoos/formal-languages"), "me/formal-languages")
        >>> print("\\n".join(publication.summary()))  # doctest: +SKIP
    """
    findings = check_zoo(directory)
    if findings:
        raise FormatError(f"{directory} does not conform, so it is not published: {'; '.join(findings[:5])}.")
    zoo, folder = open_zoo(directory), directory / PUBLISHED
    exported = export_parquet(directory, folder, repo)
    of_zoo = {path: directory / path for path in (*zoo.manifest.files, MANIFEST)}
    return Publication({path.relative_to(folder).as_posix(): path for path in exported} | of_zoo)


def publish(
    publication: Publication, repo: str, tag: str | None = None, private: bool = False, endpoint: str | None = None
) -> str:
    """Make a dataset repository on the Hub hold exactly these files, by one commit, and tag it.

    Requests that fail for a transient reason (connection, 429, 5xx) are retried. Files that the Hub already has are
    not uploaded again, so after a failure the same call continues where it stopped.

    Args:
        publication: The files, from `prepare_publication`.
        repo: OWNER/NAME of the repository; it is created if it does not exist.
        tag: Name of this version, such as "v1". A tag is never moved to other files.
        private: Whether a new repository is private.
        endpoint: URL of another Hub than huggingface.co.

    Returns:
        The sha of the commit that holds the files.

    Raises:
        HubError: The Hub cannot be reached, refuses, or has the tag with other files. No partial zoo is visible then.

    Example:
        >>> publish(publication, "me/formal-languages", tag="v1")  # doctest: +SKIP
    """
    api = HfApi(endpoint=endpoint)
    _retried(lambda: api.create_repo(repo, repo_type=_KIND, private=private, exist_ok=True), repo)
    tags = {ref.name: ref.target_commit for ref in _retried(lambda: _tags(api, repo), repo)}
    if tag in tags and any(_retried(lambda: _difference(api, publication, repo, tags[tag]), repo)):
        raise HubError(
            f"{repo} already has the tag {tag} at {tags[tag]}, with other files. A published version does not change: "
            "give another --tag. Nothing was uploaded."
        )
    head = _retried(lambda: _commit(api, publication, repo), repo)
    if tag is not None and tag not in tags:
        _retried(lambda: api.create_tag(repo, tag=tag, revision=head, repo_type=_KIND, exist_ok=True), repo)
    return head


def _tags(api: HfApi, repo: str) -> list[Any]:
    return list(api.list_repo_refs(repo, repo_type=_KIND).tags)


def _commit(api: HfApi, publication: Publication, repo: str) -> str:
    """Commit the files that differ from the current head, with that head as parent; return the new head.

    Safe to repeat when the response to a commit was lost: then nothing differs any more.
    """
    head = str(api.repo_info(repo, repo_type=_KIND).sha)
    changed, surplus = _difference(api, publication, repo, head)
    if not changed and not surplus:
        return head
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(path, str(file)) for path, file in changed.items()
    ]
    operations += [CommitOperationDelete(path) for path in surplus]
    message = f"Zoo of {len(publication.files)} files: {len(changed)} new or changed, {len(surplus)} removed"
    commit = api.create_commit(repo, operations, commit_message=message, repo_type=_KIND, parent_commit=head)
    return str(commit.oid)


def _difference(api: HfApi, publication: Publication, repo: str, commit: str) -> tuple[dict[str, Path], list[str]]:
    """Return the files that a commit lacks or has with other bytes, and the paths that it has in surplus."""
    on_hub = {
        entry.path: entry
        for entry in api.list_repo_tree(repo, repo_type=_KIND, revision=commit, recursive=True)
        if isinstance(entry, RepoFile)
    }
    changed = {path: file for path, file in publication.files.items() if not _same_bytes(on_hub.get(path), file)}
    return changed, [path for path in on_hub if path.startswith(_OWN_FOLDERS) and path not in publication.files]


def _same_bytes(entry: RepoFile | None, file: Path) -> bool:
    """Compare by the hash that the Hub gives: the sha256 of large files, the git blob hash of small ones."""
    if entry is None or entry.size != file.stat().st_size:
        return False
    if entry.lfs is not None:
        return bool(entry.lfs.sha256 == sha256_of(file))
    data = file.read_bytes()
    return bool(entry.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())


def _retried(call: Callable[[], T], repo: str) -> T:
    """Return the result of a request, retried after transient failures. Raises HubError."""
    for attempt in range(1, TRIES + 1):
        try:
            return call()
        except (LocalTokenNotFoundError, OfflineModeIsEnabled) as error:
            raise HubError(f"{repo} cannot be reached: {error}") from error
        except (HTTPError, RuntimeError) as error:
            # The client raises RuntimeError when the storage refuses a file; its upload link may have expired.
            cause = error.__cause__ if isinstance(error, RuntimeError) else error
            if not isinstance(cause, HTTPError):
                raise
            if isinstance(error, HfHubHTTPError) and error.response.status_code not in TRANSIENT_STATUSES:
                raise HubError(_refusal(repo, error)) from error
            if attempt == TRIES:
                raise HubError(
                    f"The Hub failed {TRIES} times for {repo}: {_reason(error, cause)}. No partial zoo is visible "
                    "there. Run the same command again later; files that arrived are not uploaded again."
                ) from error
            time.sleep(wait_seconds(cause, attempt))
    raise AssertionError("the last attempt returns or raises")


def _reason(error: Exception, cause: BaseException) -> str:
    status = f"status {cause.response.status_code}" if isinstance(cause, HfHubHTTPError) else type(cause).__name__
    return status if cause is error else f"{str(error).rstrip('.')} ({status})"


def _refusal(repo: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    message = str(error.server_message or error).splitlines()[0]
    if status == 412:
        return f"{repo} got another commit in the meantime ({message}). Look at it, then run the same command again."
    if status in (401, 403):
        return f"You have no write access to {repo} ({message}). With a token that has it, {LOG_IN_HINT}."
    return f"The Hub refused {repo}: {status}, {message}. Fix the cause, then run the same command again."
