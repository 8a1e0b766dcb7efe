"""The index of a zoo: one parquet row per snapshot, all labels, and the place of its weights; no tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
_ABOUT = b"rnn_zoos"


def index_schema(columns: Mapping[str, Column]) -> pa.Schema:
    """Return the Arrow schema of the columns; none may be null."""
    return pa.schema([pa.field(name, _ARROW[column.dtype], nullable=False) for name, column in columns.items()])


def write_index(path: Path, table: pa.Table, about: Mapping[str, Any] | None = None) -> FileEntry:
    """Write an index atomically: equal tables give equal bytes. `about` is kept as JSON in the file's metadata."""
    metadata = {_ABOUT: json.dumps(about).encode()} if about is not None else None
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        compression="zstd",
        use_dictionary=False,
        write_page_checksum=True,
        row_group_size=100_000,
    )
    data = sink.getvalue().to_pybytes()
    return FileEntry(write_atomically(path, data), len(data), table.num_rows)


def read_index(path: Path, filters: pa.compute.Expression | None = None) -> pa.Table:
    """Read an index, checking its page checksums. Raises FormatError if it cannot be read."""
    try:
        return pq.read_table(path, filters=filters, page_checksum_verification=True, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise FormatError(f"{path} is not a readable parquet index ({error}).") from error


def index_about(table: pa.Table) -> dict[str, Any]:
    """Return the `about` of `write_index`."""
    about: dict[str, Any] = json.loads((table.schema.metadata or {})[_ABOUT])
    return about
