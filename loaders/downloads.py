"""Downloading a file of the Hub: transient failures are retried, and what remains is explained.

What remains becomes an error of `rnn_zoos.errors`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError comes from httpx or httpx2
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
from rnn_zoos.format.manifest import MANIFEST

TRIES = 5
"""How often a request is sent before its failure is reported."""
TRANSIENT_STATUSES = (408, 429, 500, 502, 503, 504)
"""HTTP statuses after which the same request may succeed later."""
LOG_IN_HINT = "log in with `hf auth login`, or set HF_TOKEN"
_FIRST_WAIT = 1.0  # seconds, doubled after every attempt
_LONGEST_WAIT = 60.0  # seconds, even if the server asks for more
_RETRY_LATER = "Run the same command again later; downloaded files are kept."


@dataclass(frozen=True)
class Request:
    """A file of a dataset repository, at a branch, tag or commit."""

    repo: str
    file: str
    revision: str
    token: str | None = field(repr=False)

    def __str__(self) -> str:
        return f"{self.file} of {self.repo} (revision {self.revision})"


def download(request: Request, force: bool = False) -> Path:
    """Return the cached file, downloaded if it is not cached or `force` is set; transient failures are retried."""
    for attempt in range(1, TRIES + 1):
        try:
            path = hf_hub_download(
                request.repo,
                request.file,
                repo_type="dataset",
                revision=request.revision,
                token=request.token,
                force_download=force,
            )
            return Path(path)
        except (OSError, ValueError, HTTPError) as error:
            if attempt == TRIES or not _is_transient(error):
                raise _explain(error, request, attempt) from error
            time.sleep(wait_seconds(error, attempt))
    raise AssertionError("the last attempt returns or raises")


def root_cause(error: BaseException) -> BaseException:
    """Return the cause of the client's wrappers for "no answer and not cached" and "no answer to a forced download"."""
    wrapped = isinstance(error, LocalEntryNotFoundError) or (
        isinstance(error, ValueError) and not isinstance(error, HfHubHTTPError)
    )
    return error.__cause__ if wrapped and error.__cause__ is not None else error


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, LocalEntryNotFoundError):
        return False  # the client itself has tried six times
    error = root_cause(error)
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TRANSIENT_STATUSES
    if type(error) is OSError:
        return error.errno is None  # how the client reports a file that was truncated
    return isinstance(error, HTTPError)  # no answer: refused, reset, timed out


def wait_seconds(error: BaseException, attempt: int) -> float:
    """Return the seconds to wait before the next attempt: what the server asks for, or exponential backoff."""
    error = root_cause(error)
    if isinstance(error, HfHubHTTPError):
        retry_after = error.response.headers.get("Retry-After", "")
        if retry_after.isdecimal():
            return min(float(retry_after), _LONGEST_WAIT)
    return float(min(_FIRST_WAIT * 2 ** (attempt - 1), _LONGEST_WAIT))


def _explain(error: BaseException, request: Request, attempts: int) -> Exception:
    """Return the error to raise instead. It never quotes the client's message, which may contain the token."""
    cause = root_cause(error)
    times = "" if attempts == 1 else f", {attempts} times"
    if isinstance(cause, HfHubHTTPError):
        return _explain_answer(cause, request, times)
    if isinstance(cause, (OfflineModeIsEnabled, LocalEntryNotFoundError)):
        return HubError(
            f"{request} is not in the cache, and HF_HUB_OFFLINE forbids downloading it. Load it once without "
            "HF_HUB_OFFLINE, or give a directory."
        )
    if isinstance(cause, (HTTPError, FileMetadataError)):
        return HubError(
            f"{request} could not be downloaded from {constants.ENDPOINT}{times} ({type(cause).__name__}), and is not "
            "in the cache. Check the network, then run the same command again; downloaded files are kept."
        )
    if isinstance(cause, OSError) and cause.errno is None:
        return HubError(f"{request} was truncated{times}. {_RETRY_LATER}")
    if isinstance(cause, OSError):
        return StorageError(
            f"{request} could not be stored in {constants.HF_HUB_CACHE}: {cause.strerror}. Free some space, fix the "
            "permissions, or set HF_HOME to another folder."
        )
    return HubError(
        f"{request} is not a valid name on the Hub. Expected OWNER/NAME, and a branch, a tag or a commit hash."
    )


def _explain_answer(error: HfHubHTTPError, request: Request, times: str) -> ZooError:
    """Return the error for an HTTP status other than success."""
    repo, file, hub, status = request.repo, request.file, constants.ENDPOINT, error.response.status_code
    if isinstance(error, GatedRepoError):
        return HubError(f"{repo} is gated: accept its terms at {hub}/datasets/{repo}, then {LOG_IN_HINT}.")
    if isinstance(error, RepositoryNotFoundError):
        access = "the given token has no access to it" if request.token else "it is private"
        return HubError(
            f"{repo} is not a local directory, and {hub} has no dataset of that name, or {access}. Check the spelling; "
            f"to read a private zoo, {LOG_IN_HINT}."
        )
    if isinstance(error, RevisionNotFoundError):
        return HubError(f"{repo} has no revision {request.revision!r}. Expected a branch, a tag or a commit hash.")
    if isinstance(error, EntryNotFoundError) and file == MANIFEST:
        return FormatError(
            f"{repo} (revision {request.revision}) is not a zoo: it has no {MANIFEST}. Expected a published zoo."
        )
    if isinstance(error, EntryNotFoundError):
        return IntegrityError(
            f"{file} is missing from {repo} (revision {request.revision}), although {MANIFEST} lists it. Report this "
            "to its owner."
        )
    if status in (401, 403):
        return HubError(f"{hub} refuses the token for {repo} (status {status}). To use another, {LOG_IN_HINT}.")
    return HubError(f"{request} could not be downloaded: {hub} answered with status {status}{times}. {_RETRY_LATER}")
