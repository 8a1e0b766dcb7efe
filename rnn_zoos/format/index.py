"""The index of a zoo: one parquet row per snapshot, all labels, and the place of its weights; no tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rnn_zoos.errors import FormatError
from rnn_zoos.families.family import Column
from rnn_zoos.format.files import FileEntry, write_atomically

_ROW_GROUP = 100_000  # rows
_ROW_BYTES = 64  # that a row takes in memory, at least
_MOST_EXPANSION = 200  # times the size of the file; real ones expand 2 to 10 times

ARROW_TYPES = {
    "int32": pa.int32(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
}
"""The types of columns, by the names that a manifest has for them."""


def index_schema(columns: Mapping[str, Column]) -> pa.Schema:
    """Return the Arrow schema of the columns; none may be null."""
    return pa.schema([pa.field(name, ARROW_TYPES[column.dtype], nullable=False) for name, column in columns.items()])


def write_index(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> FileEntry:
    """Write an index atomically from tables that follow each other; equal rows give equal bytes, however they are cut.

    In memory are the tables of one row group and the compressed rest.
    """
    sink, rows = pa.BufferOutputStream(), 0
    options = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
    with pq.ParquetWriter(sink, schema, **options) as writer:
        for group in _row_groups(tables, schema):
            writer.write_table(group, row_group_size=_ROW_GROUP)
            rows += group.num_rows
    data = sink.getvalue().to_pybytes()
    return FileEntry(write_atomically(path, data), len(data), rows)


def _row_groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield all rows, cut into tables of a row group each; the last one may be shorter."""
    gathered: list[pa.Table] = [schema.empty_table()]
    waiting = 0
    for table in tables:
        gathered.append(table)
        waiting += table.num_rows
        if waiting >= _ROW_GROUP:
            whole = pa.concat_tables(gathered)
            full = waiting - waiting % _ROW_GROUP
            for start in range(0, full, _ROW_GROUP):
                yield whole.slice(start, _ROW_GROUP)
            gathered, waiting = [whole.slice(full)], waiting - full
    if waiting:
        yield pa.concat_tables(gathered)


def read_index(path: Path, where: pc.Expression | None = None) -> pa.Table:
    """Read an index whose bytes were checked (parquet's own checksums leave its footer out).

    `where` keeps the rows of which an expression is true, without holding the others all at once. Raises FormatError
    if it cannot be read, or would take far more memory than a real index of its size.
    """
    try:
        told = pq.read_metadata(path)
        groups = (told.row_group(number).total_byte_size for number in range(told.num_row_groups))
        size = max(told.num_rows * _ROW_BYTES, sum(groups))
        if size > _MOST_EXPANSION * path.stat().st_size + (1 << 20):
            raise FormatError(f"{path} would expand to {size:,} bytes; no index does that.")
        return pq.read_table(path, partitioning=None, filters=where)
    except (OSError, pa.ArrowException) as error:
        raise FormatError(f"{path} is not a readable parquet index ({error}).") from error
