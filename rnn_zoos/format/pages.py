"""The pages of a parquet file, measured from their headers before anything is decoded.

What the footer of a parquet file says about sizes is only a claim: pyarrow allocates what the header of each page says,
and a dictionary or a run-length encoding makes gigabytes of a few kB. Headers are structs in Thrift's compact protocol.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import pyarrow.parquet as pq

from rnn_zoos.errors import FormatError

_FOOTER_BYTES = 64 << 10  # allowed in addition to an eighth of the file; a real footer has 2 to 4 kB per 100,000 rows
_HEADER_BYTES = 64 << 10  # read at once; a real page header has 20 to 100
_PHYSICAL_BITS = {"BOOLEAN": 1, "INT32": 32, "INT64": 64, "FLOAT": 32, "DOUBLE": 64, "BYTE_ARRAY": 32}
"""Least size of a value: for strings, that of their length."""
_DATA_PAGE, _PLAIN = 0, 0  # numbers in parquet's enumerations PageType and Encoding
_INTEGERS, _I32, _BINARY, _STRUCT = (3, 4, 5, 6), 5, 8, 12  # wire types of Thrift's compact protocol
_TRUE_OR_FALSE = (1, 2)


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a parquet file whose footer is small enough to be parsed without using much memory.

    Raises:
        FormatError: The footer is too large for the file.
        OSError, pyarrow.ArrowException: The file is not parquet.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(size - 8, 0))
        tail = file.read(8)
    footer = int.from_bytes(tail[:4], "little")
    if tail[4:7] == b"PAR" and footer > _FOOTER_BYTES + size // 8:  # without this mark, pyarrow parses no footer
        raise FormatError(f"{path} has {size:,} bytes and declares a footer of {footer:,}; a real one is far smaller.")
    return pq.ParquetFile(path)


def decoded_bytes(path: Path, metadata: pq.FileMetaData) -> int:
    """Return how many bytes the values of a flat parquet file take in memory, from the headers of all pages.

    Args:
        path: The file.
        metadata: Its footer.

    Raises:
        FormatError: A column has a type of 96 bits or of fixed length, the footer contradicts the pages, or a page is
            not a data page (version 1) in plain encoding.
    """
    total = rows = 0
    unread = path.stat().st_size  # chunks that overlap could be measured for hours
    with open(path, "rb") as file:
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            rows += group.num_rows
            for number in range(metadata.num_columns):
                try:
                    chunk = group.column(number)
                    unread -= chunk.total_compressed_size
                    total += _chunk_bytes(file, chunk, group.num_rows, unread)
                except (ValueError, IndexError, KeyError, OSError) as error:
                    if isinstance(error, OSError) and error.errno != errno.EINVAL:  # as for a negative position
                        raise
                    raise FormatError(
                        f"{path}: the pages of column {number} are not valid ({error}). Expected plain encoding, "
                        "without a dictionary."
                    ) from error
    if rows != metadata.num_rows:
        raise FormatError(f"{path} declares {metadata.num_rows:,} rows; its row groups have {rows:,}.")
    return total


def _chunk_bytes(file: BinaryIO, chunk: pq.ColumnChunkMetaData, rows: int, unread: int) -> int:
    """Return the bytes that a column of a row group takes in memory. Raises ValueError if it is not as expected.

    `unread` is negative if this chunk and the previous ones have more bytes than the file.
    """
    if chunk.has_dictionary_page or unread < 0:
        raise ValueError("they have a dictionary" if chunk.has_dictionary_page else "they overlap others")
    bits = _PHYSICAL_BITS[chunk.physical_type]
    position, end = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
    num_values = num_bytes = 0
    while position < end:
        file.seek(position)
        header, length = _parse_struct(file.read(_HEADER_BYTES))
        kind, uncompressed, compressed, page = (header.get(key) for key in (1, 2, 3, 5))
        values, encoding = (page.get(key) for key in (1, 2)) if isinstance(page, dict) else (None, None)
        if kind != _DATA_PAGE or encoding != _PLAIN:
            raise ValueError(f"a page has type {kind} and encoding {encoding}")
        if not (_is_size(uncompressed) and _is_size(compressed) and _is_size(values)):
            raise ValueError(f"a page has the sizes {(uncompressed, compressed, values)}")
        num_values, num_bytes, position = num_values + values, num_bytes + uncompressed, position + length + compressed
    if position != end or num_values != rows:
        raise ValueError(f"they end at byte {position:,} with {num_values:,} values; expected {end:,} and {rows:,}")
    return max(num_bytes, num_values * bits // 8)


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and value >= 0


def _parse_struct(data: bytes, position: int = 0, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return field number -> value of a struct, and where it ends; of values, only 32-bit integers and structs.

    Raises ValueError for what a page header does not contain: collections, long field numbers, repeated fields.
    """
    fields: dict[int, Any] = {}
    number = 0
    while head := data[position]:
        position += 1
        step, wire = divmod(head, 16)
        number += step
        if step == 0 or number in fields or depth > 2:
            raise ValueError("a page header is not one")
        fields[number] = None
        if wire == _STRUCT:
            fields[number], position = _parse_struct(data, position, depth + 1)
        elif wire == _BINARY:
            length, position = _parse_varint(data, position)
            position += length
        elif wire in _INTEGERS:
            value, position = _parse_varint(data, position)
            fields[number] = (value >> 1) ^ -(value & 1) if wire == _I32 and value < 1 << 32 else None
        elif wire not in _TRUE_OR_FALSE:  # which have no further bytes
            raise ValueError(f"a page header has a field of type {wire}")
    return fields, position + 1


def _parse_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return an unsigned integer of at most 10 bytes with 7 bits each, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("a page header has a number of more than 10 bytes")
