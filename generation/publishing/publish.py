"""Publishing a zoo on the Hugging Face Hub: all of its files in one commit, see `Repository`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from huggingface_hub import HfApi

from rnn_zoos.errors import HubError
from rnn_zoos.format.manifest import CARD, MANIFEST
from rnn_zoos.generation.publishing.preparing import Publication
from rnn_zoos.generation.publishing.repository import Repository

MAX_FILES = 25_000
"""Large files that the Hub accepts in one commit."""
MAX_FOLDER_FILES = 10_000
"""Files that the Hub accepts in one folder."""

_OWN_FOLDERS = ("data/", "index/", "shards/", "rollouts/", "figures/", "benchmark/")  # other files there are removed


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
        HubError: The Hub cannot be reached, refuses, or has the tag with other files; the repository has other data
            than a zoo; or there are more files than it accepts. No partial zoo is visible then.
        IntegrityError: A file was deleted or modified since the publication was prepared.

    Example:
        >>> publish(publication, "me/formal-languages", tag="v1")  # doctest: +SKIP
    """
    _check_limits(publication, repo)
    dataset = dataset_repository(repo, endpoint)
    dataset.create(private)
    tags = dataset.tags()
    _check_tag(dataset, publication, tag, tags)
    head = dataset.make_equal(publication, "Zoo", lambda commit: _check_replaceable(dataset, commit))
    if tag is not None and tag not in tags:
        dataset.tag(tag, head)
    if public:
        dataset.make_public()
    return head


def dataset_repository(repo: str, endpoint: str | None = None) -> Repository:
    """Return the dataset repository of a zoo."""
    return Repository(HfApi(endpoint=endpoint), repo, "dataset", _OWN_FOLDERS)


def is_published(
    publication: Publication, repo: str, tag: str | None = None, public: bool = False, endpoint: str | None = None
) -> bool:
    """Tell whether `publish` with the same arguments would change nothing. Raises HubError."""
    dataset = dataset_repository(repo, endpoint)
    if not dataset.exists():
        return False
    tags = dataset.tags()
    if (tag is not None and tag not in tags) or (public and dataset.is_private()):
        return False
    commits = {dataset.head(), *(tags[name] for name in tags if name == tag)}
    return not any(dataset.differs(publication, commit) for commit in commits)


def check_tag(publication: Publication, repo: str, tag: str, endpoint: str | None = None) -> None:
    """Raise HubError if the repository has a tag with other files than these."""
    dataset = dataset_repository(repo, endpoint)
    if dataset.exists():
        _check_tag(dataset, publication, tag, dataset.tags())


def check_dataset(repo: str, endpoint: str | None = None) -> None:
    """Raise HubError if a dataset repository exists that has something else than a zoo."""
    dataset = dataset_repository(repo, endpoint)
    if dataset.exists():
        _check_replaceable(dataset, dataset.head())


def _check_replaceable(dataset: Repository, commit: str) -> None:
    """Raise HubError if a repository has files, but no zoo; a card alone may have been written before the zoo came."""
    files = dataset.files(commit)
    if MANIFEST not in files and files.keys() - {".gitattributes", CARD}:
        raise HubError(
            f"The dataset {dataset.name} exists and is not a zoo: it has no {MANIFEST}, but other files. It was not "
            "changed. Publish the zoo under another name, or delete that repository first."
        )


def _check_tag(dataset: Repository, publication: Publication, tag: str | None, tags: Mapping[str, str]) -> None:
    if tag is not None and tag in tags and dataset.differs(publication, tags[tag]):
        raise HubError(
            f"{dataset.name} already has the tag {tag} at {tags[tag]}, with other files. A published version does not "
            "change: give another --tag. Nothing was uploaded."
        )


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
