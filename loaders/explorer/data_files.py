"""Data files of the explorer's page: JSON and binary arrays, as scripts that a browser also loads from a disk.

A page that was opened from a disk may not fetch files, but it may load scripts. So every data file is a script that
stores an entry in one global object: a JSON head, and the bytes of all its arrays, gzipped, as base64.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import numpy as np

from rnn_zoos.format.files import Array

GLOBAL = "rnnZoosData"
"""Name of the global object: name of the data file -> {head, bytes}."""
_ALIGNMENT = 8  # JavaScript's typed arrays begin at a multiple of their element size, which is 8 of float64


class Arrays:
    """Arrays that are written one after the other into one block of bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, array: Array) -> dict[str, Any]:
        """Append an array and return where it is: `dtype` (numpy's name), `offset` in bytes, `length` in elements."""
        little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        place = {"dtype": array.dtype.name, "offset": self._size, "length": int(array.size)}
        data = little.tobytes()
        data += bytes(-len(data) % _ALIGNMENT)
        self._parts.append(data)
        self._size += len(data)
        return place

    def block(self) -> bytes:
        """Return all arrays, one after the other."""
        return b"".join(self._parts)


def data_script(name: str, head: dict[str, Any], block: bytes = b"") -> bytes:
    """Return a script that stores `head` and `block` as the entry `name` of `GLOBAL`.

    Equal arguments give equal bytes. Nothing in the head can end the script, whatever its texts are.
    """
    packed = base64.b64encode(gzip.compress(block, mtime=0)).decode() if block else ""
    entry = script_json({"head": head, "bytes": packed})
    return f"(globalThis.{GLOBAL} ??= {{}})[{script_json(name)}] = {entry};\n".encode()


def script_json(data: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """Return JSON that is safe inside a script: no `<` that could end it, and null for what JSON has no number for."""
    return json.dumps(_finite(data), separators=(",", ":")).replace("<", "\\u003c")


def _finite(data: Any) -> Any:  # noqa: ANN401
    if isinstance(data, float) and not np.isfinite(data):
        return None
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return data
