"""Files of a zoo on the Hub: all of one commit, in the Hub client's own cache, each checked once."""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from huggingface_hub import cached_assets_path, constants, hf_hub_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: of httpx or httpx2, as the client has
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from rnn_zoos.errors import FormatError, HubError, IntegrityError, StorageError, ZooError
from rnn_zoos.format.files import FileEntry, check_bytes
from rnn_zoos.format.manifest import MANIFEST, Manifest, read_manifest

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
"""OWNER/NAME."""

TRIES = 5
_FIRST_WAIT = 1.0  # seconds, doubled after every try
_LONGEST_WAIT = 60.0  # seconds, whatever the server asks for
PASSING = (408, 429, 500, 502, 503, 504)  # HTTP statuses that may be others a moment later
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


@dataclass(frozen=True)
class HubRevision:
    """One commit of a dataset repository, as the source of a zoo.

    Pickles name the commit and leave the token out, which must not end up in files: a process that unpickles one and
    has to fetch something takes the token of its environment.
    """

    remote: ClassVar[bool] = True
    repo: str
    commit: str
    token: str | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.repo} at commit {self.commit[:12]}"

    def __reduce__(self) -> tuple[Any, ...]:
        return HubRevision, (self.repo, self.commit)

    def __deepcopy__(self, memo: dict[int, Any]) -> HubRevision:
        return self  # `datasets` copies transforms; those copies stay in this process and may keep the token

    def manifest(self) -> Manifest:
        """Return the manifest. Raises FormatError, HubError."""
        path = self._download(MANIFEST)
        try:
            return read_manifest(path.parent)
        except FormatError as damaged:
            path = self._download_again(MANIFEST, damaged)
        try:
            return read_manifest(path.parent)
        except FormatError as error:
            raise FormatError(
                f"{self}: {error} It was fetched twice: tell its owner, or give another revision."
            ) from error

    def path(self, file: str, entry: FileEntry) -> Path:
        """Return where the file is in the cache, fetched if need be; a damaged copy is fetched again, once.

        Raises HubError if it cannot be had, IntegrityError if its bytes are not those that the manifest promises.
        """
        path = self._download(file)
        try:
            _check_once(path, entry, f"It is the copy of {self} in the cache.")
            return path
        except IntegrityError as damaged:
            path = self._download_again(file, damaged)
        remedy = f"It was fetched twice from {self}: tell its owner, or give another revision."
        _check_once(path, entry, remedy)
        return path

    def _download(self, file: str) -> Path:
        return _download(self.repo, file, self.commit, self.token)

    def _download_again(self, file: str, damaged: ZooError) -> Path:
        try:
            return _download(self.repo, file, self.commit, self.token, force=True)
        except HubError as error:
            raise IntegrityError(f"{damaged} Fetching it again failed: {error}") from error


def find_revision(repo: str, revision: str | None = None, token: str | None = None) -> HubRevision:
    """Return the commit that a branch, tag or sha (None: the main branch) of OWNER/NAME stands for now.

    If the Hub does not answer, that is what it stood for when it was last asked. Raises HubError if repository or
    revision are not there for this user, FormatError if it is no zoo.
    """
    if token is not None and not re.fullmatch(r"[!-~]+", token):  # the HTTP client would quote it in its error
        raise HubError("The token has white space or other characters that no token has. Pass it as it was issued.")
    path = _download(repo, MANIFEST, revision or constants.DEFAULT_REVISION, token)
    return HubRevision(repo, path.parent.name, token)  # cache/snapshots/COMMIT/zoo.json


def _check_once(path: Path, entry: FileEntry, remedy: str) -> None:
    """Compare a cached file with its entry, unless this very file was compared before, by any process."""
    stat = path.stat()
    what = f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\0{entry.bytes}\0{entry.sha256}"
    record = _records() / hashlib.sha256(what.encode()).hexdigest()
    if record.exists():
        return
    check_bytes(path, entry, remedy)
    with suppress(OSError):  # of a cache that cannot be written to, every process compares the files that it reads
        record.touch()


def _records() -> Path:
    """Return the folder with one empty file for every file that was compared: in the Hub client's place for such."""
    with suppress(OSError, ValueError):
        return cached_assets_path("rnn-zoos", "verified")
    return Path(constants.HF_ASSETS_CACHE, "rnn-zoos")


def _download(repo: str, file: str, revision: str, token: str | None, force: bool = False) -> Path:
    """Return the cached file, fetched if it is not there or `force`; what may pass is tried again."""
    for tried in range(1, TRIES + 1):
        try:
            found = hf_hub_download(
                repo, file, repo_type="dataset", revision=revision, token=token, force_download=force
            )
            return Path(found)
        except (OSError, ValueError, HTTPError) as error:
            if tried == TRIES or not _may_pass(error):
                raise _explain(error, repo, file, revision, token, tried) from error
            time.sleep(wait_seconds(error, tried))
    raise AssertionError("the last try returns or raises")


def root_cause(error: BaseException) -> BaseException:
    """Return what the client's own wrappers are about: no answer and nothing cached, no answer to a forced fetch."""
    wrapped = isinstance(error, LocalEntryNotFoundError) or (
        isinstance(error, ValueError) and not isinstance(error, HfHubHTTPError)
    )
    return error.__cause__ if wrapped and error.__cause__ is not None else error


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, LocalEntryNotFoundError):
        return False  # the client has tried six times itself
    error = root_cause(error)
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING
    if type(error) is OSError:
        return error.errno is None  # the client's finding that a file came short
    return isinstance(error, HTTPError)  # no answer: refused, reset, timed out


def wait_seconds(error: BaseException, tried: int) -> float:
    """Return the seconds to wait: what the server asks for, or twice as long every time."""
    error = root_cause(error)
    if isinstance(error, HfHubHTTPError):
        asked = error.response.headers.get("Retry-After", "")
        if asked.isdecimal():
            return min(float(asked), _LONGEST_WAIT)
    return float(min(_FIRST_WAIT * 2 ** (tried - 1), _LONGEST_WAIT))


def _explain(error: BaseException, repo: str, file: str, revision: str, token: str | None, tried: int) -> Exception:
    """Return the error to raise instead. None of the client's text is in it: it may quote what was sent."""
    gone_through = root_cause(error)
    tries = "" if tried == 1 else f", {tried} times"
    what = f"{file} of {repo} (revision {revision})"
    if isinstance(gone_through, HfHubHTTPError):
        return _explain_answer(gone_through, repo, file, revision, token, tries)
    if isinstance(gone_through, (OfflineModeIsEnabled, LocalEntryNotFoundError)):
        return HubError(
            f"{what} is not in the cache, and HF_HUB_OFFLINE forbids to ask the Hub. Load it once "
            "without that, or give a directory."
        )
    if isinstance(gone_through, (HTTPError, FileMetadataError)):
        reason = type(gone_through).__name__
        return HubError(
            f"{what} could not be fetched from {constants.ENDPOINT}{tries} ({reason}), and is not in the cache. "
            "Check the network, then run the same again: what was fetched is kept."
        )
    if isinstance(gone_through, OSError) and gone_through.errno is None:
        return HubError(f"{what} came cut short{tries}. Run the same again later: what was fetched is kept.")
    if isinstance(gone_through, OSError):
        return StorageError(
            f"{what} could not be kept in {constants.HF_HUB_CACHE}: {gone_through.strerror}. Make room there, mend the "
            "permission, or set HF_HOME to another folder."
        )
    return HubError(f"{what} cannot be asked of the Hub. Expected OWNER/NAME, and a branch, a tag or a commit's sha.")


def _explain_answer(
    error: HfHubHTTPError, repo: str, file: str, revision: str, token: str | None, tries: str
) -> ZooError:
    """Return the error for an answer of the Hub that is not the file."""
    hub, status = constants.ENDPOINT, error.response.status_code
    if isinstance(error, GatedRepoError):
        return HubError(
            f"{repo} is open to users who accepted its conditions. Do so at {hub}/datasets/{repo}, then {LOG_IN}."
        )
    if isinstance(error, RepositoryNotFoundError):
        given = "the token given may not read it" if token else "it is private and not open to you"
        return HubError(
            f"{repo} is no directory here, and {hub} has no dataset of that name, or {given}. Check the spelling; to "
            f"read a private zoo {LOG_IN}."
        )
    if isinstance(error, RevisionNotFoundError):
        return HubError(f"{repo} has no revision {revision!r}. Expected a branch, a tag or a commit's sha of it.")
    if isinstance(error, EntryNotFoundError) and file == MANIFEST:
        return FormatError(
            f"{repo} (revision {revision}) is not a zoo: it has no {MANIFEST}. Expected a published zoo."
        )
    if isinstance(error, EntryNotFoundError):
        return IntegrityError(
            f"{file} is missing from {repo} (revision {revision}), whose {MANIFEST} lists it. Tell its owner."
        )
    if status in (401, 403):
        return HubError(f"{hub} refuses the token for {repo} (status {status}). To use another, {LOG_IN}.")
    return HubError(
        f"{file} of {repo} (revision {revision}) could not be fetched: {hub} answered with status {status}{tries}. "
        "Run the same again later: what was fetched is kept."
    )
