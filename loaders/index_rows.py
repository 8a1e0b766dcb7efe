"""The columns that locate the tensors of index rows (split, shard, row), from tables, dicts or lists of rows."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from rnn_zoos.errors import FormatError

PLACE = ["split", "shard", "row"]
"""The index columns that locate the tensors of a row: split, shard within the split, row within the shard."""
IndexRows: TypeAlias = "pa.Table | Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]"
"""Rows of `Zoo.index`: the table, or its `to_pydict` or `to_pylist`. Other columns than `PLACE` may be anything."""
_EXPECTED_ROWS = (
    "expected rows of `Zoo.index`, with split, shard and row. Rows of `load_dataset` hold their weights: take "
    "row['weights'], or rnn_zoos.stack(rows) for many."
)


def place_columns(rows: IndexRows) -> dict[str, list[Any]]:
    """Return the columns of `PLACE` of index rows, of one length and with integers. Raises FormatError for others."""
    columns = _columns(rows)
    lengths = [len(column) for column in columns.values()]
    if len({*lengths}) > 1:
        raise FormatError(f"The columns {PLACE} have the lengths {lengths}; expected columns of one length.")
    try:
        return columns | {name: list(map(operator.index, columns[name])) for name in ("shard", "row")}
    except TypeError as error:
        raise FormatError(f"A row has a shard or row that is no number ({error}); {_EXPECTED_ROWS}") from error


def _columns(rows: IndexRows) -> dict[str, list[Any]]:
    """Return the columns of `PLACE` as they are. Raises FormatError for rows that lack one, or for anything else."""
    if isinstance(rows, pa.Table):
        _require_place(rows.column_names)
        return dict(rows.select(PLACE).to_pydict())
    if not hasattr(rows, "keys"):  # which DataFrames have, too, though they are no mappings
        rows = list(rows)
        for row in rows:
            _require_place(row if isinstance(row, Mapping) else [str(row)])
        return {name: [row[name] for row in rows] for name in PLACE}
    columns: Any = rows
    _require_place(columns)
    for name in PLACE:
        if isinstance(columns[name], str) or not isinstance(columns[name], Iterable):
            raise FormatError(
                f"{name} is {columns[name]!r}; expected the column of several rows. Of one row, give [row]."
            )
    return {name: list(columns[name]) for name in PLACE}


def _require_place(names: Collection[str]) -> None:
    """Raise FormatError unless the columns of some rows locate their tensors."""
    if not {*PLACE} <= {*names}:
        raise FormatError(f"The rows have the columns {list(names)}; {_EXPECTED_ROWS}")
