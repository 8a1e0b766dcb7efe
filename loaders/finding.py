"""Finding a zoo by the name that a user gives: a directory, OWNER/NAME on the Hub, or an hf:// address."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote

from rnn_zoos.errors import FormatError, HubError, shortened
from rnn_zoos.format.manifest import MANIFEST
from rnn_zoos.loaders.hub import HUB_NAME, find_revision
from rnn_zoos.loaders.source import Directory, Source

_ADDRESS = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@(refs/(?:convert/[^/]+|pr/\d+)|[^/]+))?/?")
_EXPECTED = "Expected a directory that `rnn-zoos generate` wrote, or OWNER/NAME of a zoo on the Hub."
_SHOWN = 10  # zoos that a message lists


def find_source(name_or_dir: str | Path, revision: str | None = None, token: str | None = None) -> Source:
    """Return the source of a zoo: see `open_zoo` for the arguments and the errors."""
    if not isinstance(name_or_dir, (str, Path)) or not str(name_or_dir):
        raise FormatError(f"The zoo is {name_or_dir!r}; expected a directory, or OWNER/NAME of a zoo on the Hub.")
    name = str(name_or_dir)
    if name.startswith("hf:"):
        return find_revision(*_parse_address(name, revision), token)
    directory = Path(os.path.expanduser(name))  # unlike Path.expanduser, it accepts users that do not exist
    if os.path.isdir(directory):
        if revision is not None:
            raise FormatError(
                f"revision is {revision!r}, but {name} is a directory; only zoos on the Hub have revisions."
            )
        return Directory(directory.resolve())
    if isinstance(name_or_dir, Path) or not HUB_NAME.fullmatch(name) or os.path.exists(directory):
        raise FormatError(
            f"{name} is neither a directory nor the name of a zoo on the Hub. {_explain_missing(directory)} {_EXPECTED}"
        )
    try:
        return find_revision(name, revision, token)
    except HubError as error:
        if not os.path.isdir(directory.parent):
            raise
        raise HubError(f"{error} {_explain_missing(directory)}") from error


def _parse_address(address: str, revision: str | None) -> tuple[str, str | None]:
    """Return repository and revision of hf://datasets/OWNER/NAME@REVISION. Raises FormatError for other addresses."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not HUB_NAME.fullmatch(match[1]):
        raise FormatError(
            f"The zoo is {address!r}; expected hf://datasets/OWNER/NAME, or hf://datasets/OWNER/NAME@REVISION. A zoo "
            "is a whole dataset repository, never a file or folder of one."
        )
    named = None if match[2] is None else unquote(match[2])
    if named is not None and revision is not None and named != revision:
        raise FormatError(f"revision is {revision!r}, but {address} names the revision {named!r}. Give one of them.")
    return match[1], named or revision


def _explain_missing(directory: Path) -> str:
    """Return what there is instead of a directory."""
    if os.path.exists(directory):
        return f"{directory} is a file."
    parent = "the current directory" if directory.parent == Path() else f"the directory {directory.parent}"
    try:
        names = sorted(os.listdir(directory.parent))
    except (OSError, ValueError):  # ValueError: a null byte in the name
        return f"{parent[0].upper()}{parent[1:]} does not exist, or cannot be read."
    zoos = [name for name in names if os.path.isfile(directory.parent / name / MANIFEST)]
    if not zoos:
        return f"The directory {directory} does not exist, and {parent} contains no zoo."
    close = get_close_matches(directory.name, zoos, n=1)
    hint = f" Did you mean {directory.parent / close[0]}?" if close else ""
    return f"The directory {directory} does not exist; {parent} contains the zoos {shortened(zoos, _SHOWN)}.{hint}"
