"""Zoos on the Hugging Face Hub: files of one commit, in the cache of `huggingface_hub`, each verified once.

How a request is repeated, and which error its failure becomes: `rnn_zoos.loaders.downloads`.
"""

from __future__ import annotations

import hashlib
import re
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub import (
    cached_assets_path,
    constants,
    get_hf_file_metadata,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError comes from httpx or httpx2
    EntryNotFoundError,
    HfHubHTTPError,
    HTTPError,
    RevisionNotFoundError,
)

from rnn_zoos.errors import FormatError, HubError, IntegrityError, ZooError
from rnn_zoos.format.files import FileEntry, check_bytes
from rnn_zoos.format.manifest import MANIFEST, Manifest, read_manifest
from rnn_zoos.loaders.downloads import Request, download

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
"""OWNER/NAME."""

_HUB_SCHEME = "hf://datasets/"
_COMMIT = re.compile("[0-9a-f]{40}")
_REPORT_DAMAGE = "report this to its owner, or give another revision."


def check_hub_name(name: str) -> None:
    """Raise HubError if a text is not of the form OWNER/NAME."""
    if not HUB_NAME.fullmatch(name):
        raise HubError(f"{name!r} is not the name of a repository on the Hub. Expected OWNER/NAME.")


@dataclass(frozen=True)
class HubRevision:
    """One commit of a dataset repository, as the source of a zoo.

    A pickle holds the repository and the commit, but not the token, which must not end up in files: a process that
    unpickles it and has to download a file uses the token of its environment.
    """

    remote: ClassVar[bool] = True
    repo: str
    commit: str
    token: str | None = field(default=None, repr=False, compare=False)

    @property
    def address(self) -> str:
        """hf://datasets/OWNER/NAME@COMMIT, from which `at` makes the source again."""
        return f"{_HUB_SCHEME}{self.repo}@{self.commit}"

    @classmethod
    def at(cls, address: str) -> HubRevision:
        """Return the source with this address, to be read with the token of the environment. Raises FormatError."""
        repo, _, commit = address.removeprefix(_HUB_SCHEME).partition("@")
        if not HUB_NAME.fullmatch(repo) or not _COMMIT.fullmatch(commit):
            raise FormatError(f"The address of a zoo is {address!r}; expected {_HUB_SCHEME}OWNER/NAME@COMMIT.")
        return cls(repo, commit)

    def __str__(self) -> str:
        return f"{self.repo} at commit {self.commit[:12]}"

    def __reduce__(self) -> tuple[Any, ...]:
        return HubRevision, (self.repo, self.commit)

    def __deepcopy__(self, memo: dict[int, Any]) -> HubRevision:
        return self  # `datasets` copies transforms; these copies stay in this process and may keep the token

    def manifest(self) -> Manifest:
        """Return the manifest; a damaged cached copy is downloaded again, once. Raises FormatError, HubError."""
        path = download(self._request(MANIFEST))
        try:
            return read_manifest(path.parent)
        except FormatError as damage:
            path = self._download_again(MANIFEST, damage)
        try:
            return read_manifest(path.parent)
        except FormatError as error:
            raise FormatError(f"{self}: {error} It was downloaded twice: {_REPORT_DAMAGE}") from error

    def path(self, file: str, entry: FileEntry) -> Path:
        """Return the cached path of a file, downloaded if necessary; a damaged copy is downloaded again, once.

        Raises:
            HubError: if the file cannot be downloaded.
            IntegrityError: if its bytes do not match the manifest.
        """
        path = download(self._request(file))
        try:
            _verify_once(path, entry, f"It is the copy of {self} in the cache.")
            return path
        except IntegrityError as damage:
            path = self._download_again(file, damage)
        _verify_once(path, entry, f"It was downloaded twice from {self}: {_REPORT_DAMAGE}")
        return path

    def _request(self, file: str) -> Request:
        return Request(self.repo, file, self.commit, self.token)

    def _download_again(self, file: str, damage: ZooError) -> Path:
        try:
            return download(self._request(file), force=True)
        except HubError as error:
            raise IntegrityError(f"{damage} Downloading it again failed: {error}") from error


def find_revision(repo: str, revision: str | None = None, token: str | None = None) -> HubRevision:
    """Resolve a branch, tag or commit hash (None: the main branch) of OWNER/NAME to the commit that it points to now.

    If the Hub does not answer, the commit of the last successful request is used, from the cache, with a UserWarning
    unless HF_HUB_OFFLINE is set.

    Raises:
        HubError: if the repository or revision does not exist or this user has no access.
        FormatError: if the repository is not a zoo.
    """
    if token is not None and not re.fullmatch(r"[!-~]+", token):  # the HTTP client would quote it in its error
        raise HubError("The token contains whitespace or other characters that no token has. Pass it as it was issued.")
    request = Request(repo, MANIFEST, revision or constants.DEFAULT_REVISION, token)
    path = _cached_manifest(request) or download(request)
    return HubRevision(repo, path.parent.name, token)  # cache/snapshots/COMMIT/zoo.json


def _cached_manifest(request: Request) -> Path | None:
    """Return the cached manifest of a branch or tag if it is current, or, with a warning, if the Hub does not say so.

    `hf_hub_download` returns a cached file in both cases, silently. Asking costs it one request, too.
    """
    if constants.HF_HUB_OFFLINE or _COMMIT.fullmatch(request.revision):
        return None
    try:
        location = {"repo_type": "dataset", "revision": request.revision}
        cached = try_to_load_from_cache(request.repo, request.file, **location)
        if not isinstance(cached, str):
            return None
        path = Path(cached)
        url = hf_hub_url(request.repo, request.file, **location)
        found = get_hf_file_metadata(url, token=request.token, timeout=constants.HF_HUB_ETAG_TIMEOUT).commit_hash
        reason = "its answer names no commit"
    except (RevisionNotFoundError, EntryNotFoundError, ValueError):
        return None  # `download` raises the same, and explains it
    except HTTPError as error:
        found, reason = None, type(error).__name__
        if isinstance(error, HfHubHTTPError):
            reason = f"status {error.response.status_code}"
    commit = path.parent.name
    if found is None:
        warnings.warn(
            f"{constants.ENDPOINT} does not say which commit {request.revision} of {request.repo} is now ({reason}). "
            f"Using commit {commit} from the cache, downloaded {_ago(path.stat().st_mtime)}; there may be a newer one. "
            "To choose this one without asking, give it as revision.",
            stacklevel=1,  # not the caller: Python shows that line of code, which may contain a token
        )
    return path if found in (None, commit) else None


def _ago(timestamp: float) -> str:
    """Return how long ago a time was, in the largest unit of which at least two have passed."""
    minutes = max(time.time() - timestamp, 0) / 60
    for unit, length in (("days", 24 * 60), ("hours", 60)):
        if minutes >= 2 * length:
            return f"{minutes // length:.0f} {unit} ago"
    return f"{minutes:.0f} minutes ago"


def _verify_once(path: Path, entry: FileEntry, remedy: str) -> None:
    """Compare a cached file with its manifest entry, unless any process has compared this very file before."""
    stat = path.stat()
    identity = f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\0{entry.bytes}\0{entry.sha256}"
    marker = _verified_folder() / hashlib.sha256(identity.encode()).hexdigest()
    if marker.exists():
        return
    check_bytes(path, entry, remedy)
    with suppress(OSError):  # if the cache is read-only, every process verifies the files that it reads
        marker.touch()


def _verified_folder() -> Path:
    """Return the folder that holds one empty file per verified file, in the asset cache of `huggingface_hub`."""
    with suppress(OSError, ValueError):
        return cached_assets_path("rnn-zoos", "verified")
    return Path(constants.HF_ASSETS_CACHE, "rnn-zoos")
