"""A zoo as parquet files that contain the weights: readable by plain `datasets`, without this package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rnn_zoos.families.columns import Column
from rnn_zoos.format.files import Array
from rnn_zoos.format.index import index_schema
from rnn_zoos.format.manifest import FORMAT, MIXED_FORMAT
from rnn_zoos.loaders.zoo import Zoo
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.weights import flatten

DATA = "data"
WEIGHTS = "weights"
"""Column with all parameters of a network, in zoos of several architectures."""
_MAX_GROUP_ROWS = 500  # of a row group, the smallest unit that a reader fetches
_MAX_GROUP_BYTES = 64 << 20  # of the weights of a row group of more than one row
_FILE_BYTES = 256_000_000  # upper bound per file of more than one row group; readers hold a file in memory


def data_path(split: str, number: int, count: int) -> str:
    """Return the path of a parquet file with weights, relative to the exported or published zoo."""
    return f"{DATA}/{split}-{number:05d}-of-{count:05d}.parquet"


def data_schema(zoo: Zoo) -> pa.Schema:
    """Return the schema: the columns of the index, then one float32 list of fixed length per parameter.

    Parameters have the names of `state_dict`. Their shapes and the architecture are a JSON text in the metadata, under
    the key `rnn_zoos`. The lists are flat because `datasets`, pandas and polars read lists of one level tens of times
    faster than nested ones.

    In a zoo of several architectures, the last column is instead `weights`, a list of all parameters one after the
    other; the metadata describe each architecture by its name, which is a column.
    """
    columns = index_schema({name: Column(**column) for name, column in zoo.manifest.columns.items()})
    element, about = pa.field("element", pa.float32(), nullable=False), {"zoo": zoo.manifest.zoo}
    if zoo.manifest.shard_architectures is not None:
        described = {architecture.name: _described(architecture) for architecture in zoo.manifest.architectures}
        metadata = {"rnn_zoos": json.dumps({"format": MIXED_FORMAT, **about, "architectures": described})}
        return pa.schema([*columns, pa.field(WEIGHTS, pa.list_(element), nullable=False)], metadata)
    architecture = zoo.manifest.architecture
    sizes = {name: int(np.prod(shape)) for name, shape in architecture.parameter_shapes.items()}
    weights = [pa.field(name, pa.list_(element, size), nullable=False) for name, size in sizes.items()]
    metadata = {"rnn_zoos": json.dumps({"format": FORMAT, **about, **_described(architecture)})}
    return pa.schema([*columns, *weights], metadata)


def _described(architecture: Architecture) -> dict[str, Any]:
    """Return an architecture and its parameters as JSON data."""
    shapes = architecture.parameter_shapes
    parameters = [{"name": name, "shape": shape} for name, shape in shapes.items()]
    return {"architecture": asdict(architecture), "parameters": parameters}


def file_rows(zoo: Zoo, split: str) -> list[range]:
    """Return the rows of each parquet file of a split, as ranges over its rows sorted by run and step."""
    rows, group = zoo.manifest.splits[split]["rows"], group_rows(zoo)
    size = group * max(1, _FILE_BYTES // (_row_bytes(zoo) * group))
    return [range(first, min(first + size, rows)) for first in range(0, rows, size)]


def group_rows(zoo: Zoo) -> int:
    """Return the number of rows of a row group."""
    return max(1, min(_MAX_GROUP_ROWS, _MAX_GROUP_BYTES // _row_bytes(zoo)))


def _row_bytes(zoo: Zoo) -> int:
    """Return the size of the weights of the largest row."""
    return 4 * max(architecture.num_parameters for architecture in zoo.manifest.architectures)


def data_files(zoo: Zoo, split: str) -> Iterator[tuple[str, memoryview]]:
    """Yield path and content of the parquet files of a split, one at a time. Equal zoos give equal bytes.

    Raises IntegrityError for a damaged zoo.
    """
    index = zoo.index(split).sort_by([("run", "ascending"), ("step", "ascending")])
    parts = file_rows(zoo, split)
    for number, rows in enumerate(parts):
        yield data_path(split, number, len(parts)), _parquet(zoo, index.slice(rows.start, len(rows)))


def _parquet(zoo: Zoo, index: pa.Table) -> memoryview:
    schema = data_schema(zoo)
    weights = [name for name in schema.names if name not in index.column_names]
    sink, group = pa.BufferOutputStream(), group_rows(zoo)
    with pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        use_dictionary=False,  # floats rarely repeat: a dictionary would make the file larger
        use_byte_stream_split=[f"{name}.list.element" for name in weights],
        write_page_checksum=True,
    ) as writer:
        for first in range(0, len(index), group):
            writer.write_table(_with_weights(zoo, index.slice(first, group), schema))
    return memoryview(sink.getvalue())


def _with_weights(zoo: Zoo, index: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return index rows joined with their weights."""
    if zoo.manifest.shard_architectures is not None:
        return index.append_column(schema.field(WEIGHTS), _flat_weights(zoo, index, schema)).cast(schema)
    taken = zoo.take("weights", index)
    columns = [index[name].combine_chunks() for name in index.column_names]
    for name in zoo.manifest.architecture.parameter_shapes:
        kind = schema.field(name).type
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(taken[name].reshape(-1)), type=kind))
    return pa.Table.from_arrays(columns, schema=schema)


def _flat_weights(zoo: Zoo, index: pa.Table, schema: pa.Schema) -> pa.Array:
    """Return the flat weights of index rows of any architectures, as the column `WEIGHTS`."""
    rows: list[Array | None] = [None] * len(index)
    for positions, stack in zoo.stacks(index):
        flat = flatten(stack.architecture, stack.weights).numpy()
        for position, weights in zip(positions.tolist(), flat, strict=True):
            rows[position] = weights
    return pa.array(rows, schema.field(WEIGHTS).type)
