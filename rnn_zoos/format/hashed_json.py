"""JSON files that begin with their own SHA-256: what generation keeps beside a zoo until it is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnn_zoos.errors import IntegrityError
from rnn_zoos.format.files import file_blocks, write_atomically


def write_hashed_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON atomically, preceded by a line with its own SHA-256. Inverse of `read_hashed_json`."""
    text = json.dumps(data)
    write_atomically(path, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}\n".encode())


def read_hashed_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read JSON that `write_hashed_json` wrote, and verify its hash.

    Args:
        path: The file.
        remedy: What the user can do about a damaged file: the last sentence of the error message.

    Returns:
        The data.

    Raises:
        IntegrityError: At least one byte of the file has changed.
        StorageError: The file cannot be read.
    """
    expected, _, text = b"".join(file_blocks(path)).partition(b"\n")
    if hashlib.sha256(text[:-1]).hexdigest().encode() != expected or text[-1:] != b"\n":
        raise IntegrityError(f"{path} is damaged: its content does not match the hash on its first line. {remedy}")
    data: dict[str, Any] = json.loads(text)
    return data
