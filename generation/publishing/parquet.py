"""A zoo as parquet files with the weights inside: what plain `datasets` reads, without this package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rnn_zoos.families.family import Column
from rnn_zoos.format.files import FileEntry, write_atomically
from rnn_zoos.format.index import index_schema
from rnn_zoos.loaders.zoo import PLACE, Zoo

DATA = "data"
_GROUP_ROWS = 500  # a row group: what a reader of a few columns or rows has to fetch at least
_FILE_BYTES = 256_000_000  # at most; a reader holds a file's worth in memory


def data_path(split: str, number: int, count: int) -> str:
    """Return the path of a parquet file with weights inside an exported or published zoo."""
    return f"{DATA}/{split}-{number:05d}-of-{count:05d}.parquet"


def data_schema(zoo: Zoo) -> pa.Schema:
    """Return the index's columns, then a flat float32 list of fixed length per parameter, named as in `state_dict`.

    Flat: `datasets`, pandas and polars read lists of one level tens of times faster than nested ones; zoo.json and
    the schema's metadata `shapes` have the shapes.
    """
    columns = index_schema({name: Column(**column) for name, column in zoo.manifest.columns.items()})
    sizes = {name: int(np.prod(shape)) for name, shape in zoo.manifest.architecture.parameter_shapes.items()}
    weights = [
        pa.field(name, pa.list_(pa.field("element", pa.float32(), nullable=False), size), nullable=False)
        for name, size in sizes.items()
    ]
    return pa.schema([*columns, *weights])


def file_rows(zoo: Zoo, split: str) -> list[range]:
    """Return which rows of a split, in order of run and step, go into each of its parquet files."""
    rows = zoo.manifest.splits[split]["rows"]
    groups = max(1, _FILE_BYTES // (4 * zoo.manifest.architecture.num_parameters * _GROUP_ROWS))
    size = groups * _GROUP_ROWS
    return [range(first, min(first + size, rows)) for first in range(0, rows, size)]


def write_data(zoo: Zoo, split: str, out: Path) -> Iterator[tuple[str, FileEntry]]:
    """Write the parquet files of a split below a directory; yield path and entry of each when it is there.

    Equal zoos give equal bytes. Raises IntegrityError for a damaged zoo, StorageError if there is no room.
    """
    index = zoo.index(split).sort_by([("run", "ascending"), ("step", "ascending")])
    parts = file_rows(zoo, split)
    for number, rows in enumerate(parts):
        path = data_path(split, number, len(parts))
        data = _parquet(zoo, index.slice(rows.start, len(rows)))
        yield path, FileEntry(write_atomically(out / path, data), len(data), len(rows))


def _parquet(zoo: Zoo, index: pa.Table) -> memoryview:
    schema = data_schema(zoo)
    weights = list(zoo.manifest.architecture.parameter_shapes)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        use_dictionary=False,  # floats hardly repeat: a dictionary would make them larger
        use_byte_stream_split=[f"{name}.list.element" for name in weights],
        write_page_checksum=True,
    ) as writer:
        for first in range(0, len(index), _GROUP_ROWS):
            writer.write_table(_with_weights(zoo, index.slice(first, _GROUP_ROWS), schema))
    return memoryview(sink.getvalue())


def _with_weights(zoo: Zoo, index: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return index rows with their weights."""
    taken = zoo.take("shards", index.select(PLACE).to_pydict())
    columns = [index[name].combine_chunks() for name in index.column_names]
    for name in zoo.manifest.architecture.parameter_shapes:
        kind = schema.field(name).type
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(taken[name].reshape(-1)), type=kind))
    return pa.Table.from_arrays(columns, schema=schema)
