"""The index of a zoo: one parquet row per snapshot, all labels, and the place of its weights; no tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from rnn_zoos.errors import FormatError
from rnn_zoos.files import FileEntry, write_atomically
from rnn_zoos.tasks import Column

_ARROW = {
    "int32": pa.int32(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
}


def index_schema(columns: Mapping[str, Column]) -> pa.Schema:
    """Return the Arrow schema of the columns; none may be null."""
    return pa.schema([pa.field(name, _ARROW[column.dtype], nullable=False) for name, column in columns.items()])


def write_index(path: Path, table: pa.Table) -> FileEntry:
    """Write an index atomically: equal tables give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=False,
        write_page_checksum=True,
        row_group_size=100_000,
    )
    data = sink.getvalue().to_pybytes()
    return FileEntry(write_atomically(path, data), len(data), table.num_rows)


def read_index(path: Path) -> pa.Table:
    """Read an index whose bytes were checked (parquet's own checksums leave its footer out).

    Raises FormatError if it cannot be read.
    """
    try:
        return pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise FormatError(f"{path} is not a readable parquet index ({error}).") from error
