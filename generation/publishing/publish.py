"""Publishing a zoo on the Hugging Face Hub: all of its files in one commit, so that readers see all or nothing.

The contents of large files are sent first, in batches, without a commit: nobody sees them. The commit then only lists
paths and hashes. Splitting it would not help: whatever step makes the files visible has to name all of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.hf_api import RepoFile

from rnn_zoos.errors import HubError
from rnn_zoos.generation.publishing.hub_requests import retried
from rnn_zoos.generation.publishing.preparing import Publication

MAX_FILES = 25_000
"""Large files that the Hub accepts in one commit."""
MAX_FOLDER_FILES = 10_000
"""Files that the Hub accepts in one folder."""

_OWN_FOLDERS = ("data/", "index/", "shards/", "rollouts/", "figures/", "benchmark/")  # other files there are removed
_BATCH_FILES = 256  # sent between two checks of the connection: what the client asks the Hub about at once
_KIND = "dataset"


def publish(
    publication: Publication,
    repo: str,
    tag: str | None = None,
    private: bool = False,
    endpoint: str | None = None,
    public: bool = False,
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
        public: Make the repository public, if it is not, when everything else is done.

    Returns:
        The sha of the commit that holds the files.

    Raises:
        HubError: The Hub cannot be reached, refuses, or has the tag with other files; or there are more files than it
            accepts. No partial zoo is visible then.
        IntegrityError: A file was deleted or modified since the publication was prepared.

    Example:
        >>> publish(publication, "me/formal-languages", tag="v1")  # doctest: +SKIP
    """
    _check_limits(publication, repo)
    api = HfApi(endpoint=endpoint)
    retried(lambda: api.create_repo(repo, repo_type=_KIND, private=private, exist_ok=True), repo)
    tags = retried(lambda: _tags(api, repo), repo)
    _check_tag(api, publication, repo, tag, tags)
    head = _make_equal(api, publication, repo)
    if tag is not None and tag not in tags:
        retried(lambda: api.create_tag(repo, tag=tag, revision=head, repo_type=_KIND, exist_ok=True), repo)
    if public and retried(lambda: _is_private(api, repo), repo):
        retried(lambda: api.update_repo_settings(repo, private=False, repo_type=_KIND), repo)
    return head


def is_published(
    publication: Publication, repo: str, tag: str | None = None, public: bool = False, endpoint: str | None = None
) -> bool:
    """Tell whether `publish` with the same arguments would change nothing. Raises HubError."""
    api = HfApi(endpoint=endpoint)
    if not retried(lambda: api.repo_exists(repo, repo_type=_KIND), repo):
        return False
    tags = retried(lambda: _tags(api, repo), repo)
    if (tag is not None and tag not in tags) or (public and retried(lambda: _is_private(api, repo), repo)):
        return False
    commits = {retried(lambda: _head(api, repo), repo), *(tags[name] for name in tags if name == tag)}
    return not any(any(retried(partial(_difference, api, publication, repo, commit), repo)) for commit in commits)


def check_tag(publication: Publication, repo: str, tag: str, endpoint: str | None = None) -> None:
    """Raise HubError if the repository has a tag with other files than these."""
    api = HfApi(endpoint=endpoint)
    if retried(lambda: api.repo_exists(repo, repo_type=_KIND), repo):
        _check_tag(api, publication, repo, tag, retried(lambda: _tags(api, repo), repo))


def _check_tag(api: HfApi, publication: Publication, repo: str, tag: str | None, tags: Mapping[str, str]) -> None:
    if tag is not None and tag in tags and any(retried(lambda: _difference(api, publication, repo, tags[tag]), repo)):
        raise HubError(
            f"{repo} already has the tag {tag} at {tags[tag]}, with other files. A published version does not change: "
            "give another --tag. Nothing was uploaded."
        )


def _is_private(api: HfApi, repo: str) -> bool:
    return bool(api.repo_info(repo, repo_type=_KIND).private)


def _check_limits(publication: Publication, repo: str) -> None:
    """Raise HubError if there are more files than the Hub accepts."""
    folders = Counter(path.rpartition("/")[0] for path in publication.files)
    folder, count = folders.most_common(1)[0]
    remedy = "Generate the zoo with a larger `runs_per_shard`. Nothing was uploaded."
    if count > MAX_FOLDER_FILES:
        raise HubError(
            f"{folder}/ has {count:,} files; the Hub accepts {MAX_FOLDER_FILES:,} in a folder of {repo}. {remedy}"
        )
    if len(publication.files) > MAX_FILES:
        raise HubError(
            f"The zoo has {len(publication.files):,} files; the Hub accepts {MAX_FILES:,} in a commit. {remedy}"
        )


def _tags(api: HfApi, repo: str) -> dict[str, str]:
    """Return tag -> commit."""
    return {ref.name: ref.target_commit for ref in api.list_repo_refs(repo, repo_type=_KIND).tags}


def _make_equal(api: HfApi, publication: Publication, repo: str) -> str:
    """Make the main branch hold exactly these files, and return the sha of its head."""
    head = retried(lambda: _head(api, repo), repo)
    changed, surplus = retried(lambda: _difference(api, publication, repo, head), repo)
    publication.check_unchanged(changed)
    additions = [_addition(publication, path) for path in changed]
    for first in range(0, len(additions), _BATCH_FILES):
        _send(api, publication, repo, additions[first : first + _BATCH_FILES])
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *additions,
        *(CommitOperationDelete(path) for path in surplus),
    ]
    message = f"Zoo of {len(publication.files)} files: {len(changed)} new or changed, {len(surplus)} removed"

    def commit() -> str:
        now = _head(api, repo)
        if not any(_difference(api, publication, repo, now)):
            return now  # also if the answer to an earlier attempt was lost
        made = api.create_commit(repo, operations, commit_message=message, repo_type=_KIND, parent_commit=head)
        return str(made.oid)

    return retried(commit, repo)


def _head(api: HfApi, repo: str) -> str:
    return str(api.repo_info(repo, repo_type=_KIND).sha)


def _addition(publication: Publication, path: str) -> CommitOperationAdd:
    """Return the operation that adds a file, with its known hash: the client would read the whole file for it."""
    addition = CommitOperationAdd(path, str(publication.files[path]))
    addition.upload_info.sha256 = bytes.fromhex(publication.states[path].sha256)
    return addition


def _send(api: HfApi, publication: Publication, repo: str, additions: Sequence[CommitOperationAdd]) -> None:
    """Send the contents of large files that the Hub does not have, without a commit."""
    retried(lambda: api.preupload_lfs_files(repo, additions, repo_type=_KIND, free_memory=False), repo)
    publication.check_unchanged(addition.path_in_repo for addition in additions)  # since they were read


def _difference(api: HfApi, publication: Publication, repo: str, commit: str) -> tuple[list[str], list[str]]:
    """Return the paths that a commit lacks or has with other bytes, and those that it has in surplus."""
    on_hub = {
        entry.path: entry
        for entry in api.list_repo_tree(repo, repo_type=_KIND, revision=commit, recursive=True)
        if isinstance(entry, RepoFile)
    }
    changed = [path for path in publication.files if not _same_bytes(on_hub.get(path), publication, path)]
    return changed, [path for path in on_hub if path.startswith(_OWN_FOLDERS) and path not in publication.files]


def _same_bytes(entry: RepoFile | None, publication: Publication, path: str) -> bool:
    """Compare by the hash that the Hub gives: the sha256 of large files, the git blob hash of small ones."""
    if entry is None or entry.size != publication.states[path].bytes:
        return False
    if entry.lfs is not None:
        return bool(entry.lfs.sha256 == publication.states[path].sha256)
    data = publication.files[path].read_bytes()
    return bool(entry.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())
