"""Byte ranges of HTTP requests (RFC 9110, section 14): which bytes of a file a request asks for."""

from __future__ import annotations

import re

_SPEC = re.compile(r"([0-9]{0,99})-([0-9]{0,99})")


def parse_ranges(header: str | None, size: int) -> list[range] | None:
    """Return the bytes that a Range header asks for.

    Args:
        header: The value of the header, such as `bytes=0-7,100-199,-20`; None if there is none.
        size: Bytes of the file.

    Returns:
        The ranges that exist, in the order of the header, cut at the end of the file; none of them is empty. An empty
        list if the file has none of them (status 416). None if the whole file is the answer: without a header, for
        other units, for a malformed header, which RFC 9110 says to ignore, and for ranges that are longer together
        than the file, by which one request could ask for many copies of it.
    """
    unit, _, specs = (header or "").partition("=")
    if unit.strip().lower() != "bytes":
        return None
    listed = [spec.strip(" \t") for spec in specs.split(",")]
    wanted = [_parse(spec, size) for spec in listed if spec]
    valid = [part for part in wanted if part is not None]
    if not wanted or len(valid) < len(wanted):
        return None
    satisfiable = [part for part in valid if part]
    return satisfiable if sum(map(len, satisfiable)) <= size else None


def _parse(spec: str, size: int) -> range | None:
    """Return the bytes of `first-last`, `first-` or `-length` that the file has; None if it is none of these."""
    match = _SPEC.fullmatch(spec)
    if match is None or spec == "-":
        return None
    first, last = match.groups()
    if not first:
        return range(max(size - int(last), 0), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)
