"""Requests to the Hub that change a repository: repeated after transient failures, explained after others.

Messages never quote those of the transfer library, which may contain an address with a token.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import TypeVar

from huggingface_hub import constants
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError: of httpx or httpx2, as the client has
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)

from rnn_zoos.errors import HubError, StorageError, ZooError
from rnn_zoos.loaders.downloads import LOG_IN_HINT, TRANSIENT_STATUSES, TRIES, wait_seconds

T = TypeVar("T")

_REFUSED = "LFS batch API returned errors"  # beginning of a ValueError of the client
_METADATA = "Invalid metadata in README.md"  # beginning of another
_XET_STATUS = re.compile(r"HTTP status \w+ error \((\d{3})\b")  # how hf_xet tells the status of a response


def retried(call: Callable[[], T], repo: str) -> T:
    """Return the result of a request or transfer, repeated after transient failures.

    Raises:
        HubError: The Hub refuses, or the last attempt has failed.
        StorageError: A local file cannot be read.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return call()
        except ZooError:
            raise
        except (HTTPError, OSError, RuntimeError, ValueError) as error:
            lasting = _lasting(error, repo)
            if lasting is not None:
                raise lasting from error
            if attempt == TRIES:
                raise HubError(
                    f"The Hub failed {TRIES} times for {repo}: {_reason(error)}. No partial zoo is visible there. Run "
                    f"the same command again later; files that arrived are not uploaded again.{_xet_hint(error)}"
                ) from error
            time.sleep(wait_seconds(_cause(error), attempt))
    raise AssertionError("the last attempt returns or raises")


def _cause(error: BaseException) -> BaseException:
    """Return what the client wraps in a RuntimeError when the upload of a file fails; its link may have expired."""
    wrapped = isinstance(error, RuntimeError) and error.__cause__ is not None
    return error.__cause__ if wrapped and error.__cause__ else error


def _lasting(error: Exception, repo: str) -> ZooError | None:
    """Return the error to raise at once; None for a failure that may pass. Re-raises what is not about the Hub."""
    cause = _cause(error)
    if isinstance(error, (LocalTokenNotFoundError, OfflineModeIsEnabled)):
        return HubError(f"{repo} cannot be reached: {error}")
    if isinstance(error, HfHubHTTPError):
        transient = error.response.status_code in TRANSIENT_STATUSES
        return None if transient else HubError(_refusal(repo, error))
    if isinstance(cause, HTTPError):
        return None
    if isinstance(error, ValueError):
        return _invalid(error, repo)
    if isinstance(cause, OSError) and cause.filename is not None:
        return StorageError(f"{cause.filename} cannot be read: {cause.strerror}. Nothing was committed to {repo}.")
    status = _xet_status(error)
    if isinstance(error, PermissionError) or status in (401, 403):
        return HubError(
            f"The Hub's Xet storage refuses {_reason(error)} the upload to {repo}. With a token that has write access, "
            f"{LOG_IN_HINT}.{_xet_hint(error)}"
        )
    if status is not None and status < 500 and status not in TRANSIENT_STATUSES:
        return HubError(f"The transfer to {repo} failed: {_reason(error)}. Nothing was committed.{_xet_hint(error)}")
    return None


def _invalid(error: ValueError, repo: str) -> HubError:
    """Return the error for a value that the client does not accept, from the user or from the server."""
    if isinstance(error, HFValidationError):
        return HubError(f"{repo!r} is not a name that the Hub accepts: {error} Expected OWNER/NAME.")
    if isinstance(error, UnicodeEncodeError):  # its message would show a part of the token
        return HubError(f"The token has characters that no token has. With one as it was issued, {LOG_IN_HINT}.")
    if isinstance(error, json.JSONDecodeError):
        return HubError(f"The server answered for {repo} with something else than JSON. Is its address that of a Hub?")
    if str(error).startswith(_REFUSED):
        return HubError(f"The Hub refused files of {repo}: {str(error).partition(chr(10))[2]}. Nothing was committed.")
    if str(error).startswith(_METADATA):
        return HubError(f"The Hub refused the card of {repo}: {' '.join(str(error).split())}. Nothing was committed.")
    raise error


def _xet_status(error: BaseException) -> int | None:
    found = _XET_STATUS.search(str(error))
    return int(found[1]) if found else None


def _xet_hint(error: BaseException) -> str:
    """Return what to do if the failed transfer was one by Xet, which some Hubs and proxies do not have."""
    if constants.HF_HUB_DISABLE_XET or isinstance(_cause(error), HTTPError):
        return ""
    return (
        " Files are sent by the Xet transfer of the Hub's client, which not every Hub and proxy supports; with the "
        "environment variable HF_HUB_DISABLE_XET=1 they are sent without it."
    )


def _reason(error: BaseException) -> str:
    """Return the type and status of a failure, and the client's own message if it wraps the cause."""
    cause = _cause(error)
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else _xet_status(cause)
    known = type(cause).__name__ if status is None else f"status {status}"
    return known if cause is error else f"{str(error).rstrip('.')} ({known})"


def _refusal(repo: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    message = str(error.server_message or error).splitlines()[0]
    if status == 412:
        return f"{repo} got another commit in the meantime ({message}). Look at it, then run the same command again."
    if status in (401, 403):
        return f"You have no write access to {repo} ({message}). With a token that has it, {LOG_IN_HINT}."
    return f"The Hub refused {repo}: {status}, {message}. Fix the cause, then run the same command again."
