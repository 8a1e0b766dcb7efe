"""A repository on the Hub that is made to hold exactly some files, by one commit, so that readers see all or nothing.

The contents of large files are sent first, in batches, without a commit: nobody sees them. The commit then only lists
paths and hashes. Splitting it would not help: whatever step makes the files visible has to name all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.hf_api import RepoFile

from rnn_zoos.generation.publishing.hub_requests import retried
from rnn_zoos.generation.publishing.preparing import Publication

_BATCH_FILES = 256  # sent between two checks of the connection: what the client asks the Hub about at once


@dataclass(frozen=True)
class Repository:
    """A repository, and which of its files are replaced.

    All methods raise HubError when the Hub cannot be reached or refuses; transient failures are retried.

    Attributes:
        api: The client.
        name: OWNER/NAME.
        kind: `dataset` or `space`.
        own: Beginnings of paths; other files there are removed.
    """

    api: HfApi
    name: str
    kind: str
    own: tuple[str, ...]

    def create(self, private: bool) -> None:
        """Create the repository, if it does not exist; a Space as a static one."""
        sdk = "static" if self.kind == "space" else None
        retried(
            lambda: self.api.create_repo(self.name, repo_type=self.kind, private=private, exist_ok=True, space_sdk=sdk),
            self.name,
        )

    def exists(self) -> bool:
        """Tell whether the repository exists, and may be seen."""
        return bool(retried(lambda: self.api.repo_exists(self.name, repo_type=self.kind), self.name))

    def head(self) -> str:
        """Return the sha of the last commit of the main branch."""
        return retried(self._head, self.name)

    def is_private(self) -> bool:
        """Tell whether the repository is private."""
        return retried(lambda: bool(self.api.repo_info(self.name, repo_type=self.kind).private), self.name)

    def make_public(self) -> None:
        """Make the repository public, if it is not."""
        if self.is_private():
            retried(lambda: self.api.update_repo_settings(self.name, private=False, repo_type=self.kind), self.name)

    def tags(self) -> dict[str, str]:
        """Return tag -> commit."""
        refs = retried(lambda: self.api.list_repo_refs(self.name, repo_type=self.kind), self.name)
        return {ref.name: ref.target_commit for ref in refs.tags}

    def tag(self, tag: str, commit: str) -> None:
        """Give a commit a tag that the repository does not have."""
        retried(
            lambda: self.api.create_tag(self.name, tag=tag, revision=commit, repo_type=self.kind, exist_ok=True),
            self.name,
        )

    def files(self, commit: str) -> dict[str, RepoFile]:
        """Return the files of a commit: path -> what the Hub says about it."""
        return retried(lambda: self._files(commit), self.name)

    def differs(self, publication: Publication, commit: str) -> bool:
        """Tell whether a commit has other files than these."""
        return any(retried(lambda: self._difference(publication, commit), self.name))

    def make_equal(self, publication: Publication, what: str, check: Callable[[str], None] | None = None) -> str:
        """Make the main branch hold exactly these files.

        Args:
            publication: The files.
            what: What they are, for the message of the commit.
            check: Raises an error if the commit that it gets must not be replaced.

        Returns:
            The sha of the last commit; there is no new one if nothing differs.

        Raises:
            HubError: Someone else made a commit in the meantime, or the Hub refuses.
            IntegrityError: A file was deleted or modified since the publication was prepared.
        """
        head = self.head()
        if check is not None:
            check(head)
        changed, surplus = retried(lambda: self._difference(publication, head), self.name)
        publication.check_unchanged(changed)
        additions = [_addition(publication, path) for path in changed]
        for first in range(0, len(additions), _BATCH_FILES):
            self._send(publication, additions[first : first + _BATCH_FILES])
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *additions,
            *(CommitOperationDelete(path) for path in surplus),
        ]
        message = f"{what} of {len(publication.files)} files: {len(changed)} new or changed, {len(surplus)} removed"

        def commit() -> str:
            now = self._head()
            if not any(self._difference(publication, now)):
                return now  # also if the answer to an earlier attempt was lost
            made = self.api.create_commit(
                self.name, operations, commit_message=message, repo_type=self.kind, parent_commit=head
            )
            return str(made.oid)

        return retried(commit, self.name)

    def _head(self) -> str:
        return str(self.api.repo_info(self.name, repo_type=self.kind).sha)

    def _send(self, publication: Publication, additions: Sequence[CommitOperationAdd]) -> None:
        """Send the contents of large files that the Hub does not have, without a commit."""
        retried(
            lambda: self.api.preupload_lfs_files(self.name, additions, repo_type=self.kind, free_memory=False),
            self.name,
        )
        publication.check_unchanged(addition.path_in_repo for addition in additions)  # since they were read

    def _files(self, commit: str) -> dict[str, RepoFile]:
        entries = self.api.list_repo_tree(self.name, repo_type=self.kind, revision=commit, recursive=True)
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

    def _difference(self, publication: Publication, commit: str) -> tuple[list[str], list[str]]:
        """Return the paths that a commit lacks or has with other bytes, and those that it has in surplus."""
        on_hub = self._files(commit)
        changed = [path for path in publication.files if not _same_bytes(on_hub.get(path), publication, path)]
        return changed, [path for path in on_hub if path.startswith(self.own) and path not in publication.files]


def _addition(publication: Publication, path: str) -> CommitOperationAdd:
    """Return the operation that adds a file, with its known hash: the client would read the whole file for it."""
    addition = CommitOperationAdd(path, str(publication.files[path]))
    addition.upload_info.sha256 = bytes.fromhex(publication.states[path].sha256)
    return addition


def _same_bytes(entry: RepoFile | None, publication: Publication, path: str) -> bool:
    """Compare by the hash that the Hub gives: the sha256 of large files, the git blob hash of small ones."""
    if entry is None or entry.size != publication.states[path].bytes:
        return False
    if entry.lfs is not None:
        return bool(entry.lfs.sha256 == publication.states[path].sha256)
    data = publication.files[path].read_bytes()
    return bool(entry.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())
