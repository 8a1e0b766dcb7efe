"""The index of a zoo: one parquet file per split, one row per snapshot, no tensors.

A row holds the run, step, task and labels of a snapshot, and the `shard` and `row` at which its weights and rollouts
are stored. Which columns there are is defined in `rnn_zoos.families.family` and in the families themselves.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rnn_zoos.errors import FormatError
from rnn_zoos.families.columns import Column
from rnn_zoos.format.files import FileEntry, read_error, write_atomically
from rnn_zoos.format.pages import decoded_bytes, open_parquet

_MAX_GROUP_ROWS = 100_000  # of parquet's row groups
_MAX_GROUP_BYTES = 64 << 20  # of the values of a row group
_STRING_BYTES = 64  # taken for a string, whatever its length: groups must not depend on how rows are divided
_MIN_ROW_BYTES = 64  # in memory
_MAX_EXPANSION = 200  # size in memory, relative to the file; a real index expands 2 to 10 times
_MAX_COLUMNS = 1000

ARROW_TYPES = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
}
"""Name of a column type in the manifest -> Arrow type."""


def index_schema(columns: Mapping[str, Column]) -> pa.Schema:
    """Return the Arrow schema of an index with these columns, in their order. No column allows nulls."""
    return pa.schema([pa.field(name, ARROW_TYPES[column.dtype], nullable=False) for name, column in columns.items()])


def write_index(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> FileEntry:
    """Write an index atomically. Equal rows give equal bytes, however they are divided into tables.

    Only the tables of one row group and the compressed previous ones are in memory.

    Args:
        path: The parquet file.
        tables: The rows, sorted by run and step, as consecutive tables.
        schema: Their schema; see `index_schema`.

    Returns:
        The file's manifest entry.

    Raises:
        StorageError: The file system refused to write.
    """
    buffer, rows = pa.BufferOutputStream(), 0
    options = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
    with pq.ParquetWriter(buffer, schema, **options) as writer:
        for group in _row_groups(tables, schema):
            writer.write_table(group, row_group_size=group.num_rows)
            rows += group.num_rows
    data = buffer.getvalue().to_pybytes()
    return FileEntry(write_atomically(path, data), len(data), rows)


def _row_groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield all rows as tables of one row group each; the last may be shorter."""
    size = _group_rows(schema)
    pending: list[pa.Table] = [schema.empty_table()]
    num_pending = 0
    for table in tables:
        pending.append(table)
        num_pending += table.num_rows
        if num_pending >= size:
            joined = pa.concat_tables(pending)
            complete = num_pending - num_pending % size
            for start in range(0, complete, size):
                yield joined.slice(start, size)
            pending, num_pending = [joined.slice(complete)], num_pending - complete
    if num_pending:
        yield pa.concat_tables(pending)


def _group_rows(schema: pa.Schema) -> int:
    """Return the number of rows of a row group: by the widths of the columns, at most 100,000."""
    widths = (_STRING_BYTES if pa.types.is_string(field.type) else field.type.bit_width / 8 for field in schema)
    return max(1, min(_MAX_GROUP_ROWS, int(_MAX_GROUP_BYTES / sum(widths))))


def read_index(path: Path, where: pc.Expression | None = None, rows: int | None = None) -> pa.Table:
    """Read an index.

    Check its bytes first (`check_bytes`): parquet's own checksums do not cover the footer. What an index would take in
    memory is measured before it is decoded.

    Args:
        path: The parquet file.
        where: Keep only the rows for which this expression is true; the others are dropped while reading.
        rows: The number of rows that the file has to have; None allows any.

    Returns:
        The rows.

    Raises:
        FormatError: The file is not readable parquet, has nested columns, dictionaries or another number of rows, or
            would take far more memory than a real index of its size; or the expression cannot be evaluated on a row.
        StorageError: The operating system does not let this process read the file.
    """
    try:
        with open_parquet(path) as file:
            _check_decoded_size(path, file)
            found = file.metadata.num_rows
        if rows is not None and found != rows:
            raise FormatError(f"{path} has {found:,} rows; the manifest says {rows:,}.")
        table = pq.read_table(path, partitioning=None, filters=where)
        table.validate(full=True)  # text that is not UTF-8 would fail later, when it is shown
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        if where is not None and isinstance(error, pa.ArrowException):
            read_index(path, None, rows)  # raises if the file is to blame
            raise FormatError(f"where is {where}, which cannot be evaluated on {path}: {error}.") from error
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # these two: by the file's contents
            raise read_error(path, error) from error
        raise FormatError(f"{path} is not a readable parquet index ({error}).") from error
    return table


def _check_decoded_size(path: Path, file: pq.ParquetFile) -> None:
    """Raise FormatError for columns that an index cannot have, and for a file that expands too much."""
    limit = _MAX_EXPANSION * path.stat().st_size + (1 << 20)
    if not 1 <= file.metadata.num_columns <= _MAX_COLUMNS:
        raise FormatError(f"{path} has {file.metadata.num_columns:,} columns; expected 1 to {_MAX_COLUMNS}.")
    for field in file.schema_arrow:
        if not (pa.types.is_primitive(field.type) or pa.types.is_string(field.type)):
            raise FormatError(f"{path} has the column {field.name!r} of type {field.type}; expected a plain type.")
    claimed = file.metadata.num_rows * _MIN_ROW_BYTES
    size = claimed if claimed > limit else decoded_bytes(path, file.metadata)
    if size > limit:
        raise FormatError(f"{path} would expand to {size:,} bytes in memory; a real index is far smaller.")
