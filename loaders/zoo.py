"""A zoo in a local directory: its manifest, its index, and its tensors by memory map."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.files import Array, FileEntry, check_bytes, map_tensors
from rnn_zoos.index import index_schema, read_index
from rnn_zoos.manifest import index_path, read_manifest
from rnn_zoos.tasks import SPLITS, Column

Where: TypeAlias = "pc.Expression | Sequence[tuple[str, str, Any]]"
"""What rows to keep: a pyarrow expression, or triples such as ("accuracy", ">", 0.9) that must all hold."""

_WHERE = "Expected a pyarrow expression, or triples such as [('accuracy', '>', 0.9), ('step', 'in', [0, 100])]."
_REMEDY = "Fetch or generate this zoo again, or put the right file in its place; `rnn-zoos check` lists all damage."


@lru_cache(maxsize=256)  # a mapped file holds a file descriptor
def open_tensors(path: Path, entry: FileEntry) -> dict[str, Array]:
    """Map a file of a zoo, after its bytes were compared with the manifest: once in a process."""
    check_bytes(path, entry, _REMEDY)
    return map_tensors(path)


_OPERATORS: Mapping[str, Callable[[Any, Any], pc.Expression]] = MappingProxyType(
    {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "in": lambda column, values: column.isin(values),
        "not in": lambda column, values: ~column.isin(values),
    }
)


def triples_to_expression(where: Sequence[tuple[str, str, Any]], schema: pa.Schema) -> pc.Expression:
    """Turn triples (column, operator, value) that must all hold into one expression.

    Values take the type of their column first: a float32 accuracy of .9 is not the float64 .9, but is meant by it.
    """
    expression = pc.scalar(True)
    triples: Sequence[Any] = where if isinstance(where, (list, tuple)) else [where]
    for triple in triples:
        if not isinstance(triple, (list, tuple)) or len(triple) != 3 or triple[1] not in _OPERATORS:
            raise FormatError(f"where has {triple!r}. {_WHERE}")
        name, operation, value = triple
        if name not in schema.names:
            raise UnknownNameError.among("column", name, schema.names)
        kind, several = schema.field(name).type, operation.endswith("in")
        try:
            typed = pa.array(list(value), kind) if several else pa.scalar(value, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"where has {triple!r}: {error}. {_WHERE}") from error
        if not several and not typed.is_valid:
            raise FormatError(f"where has {triple!r}: no value of an index is missing. {_WHERE}")
        expression &= _OPERATORS[operation](pc.field(name), typed)
    return expression


class LocalZoo:
    """A finished zoo in a directory. Raises FormatError if it is none."""

    def __init__(self, directory: str | Path) -> None:
        if not isinstance(directory, (str, Path)):
            raise FormatError(f"The zoo is {directory!r}; expected the path of a directory.")
        self.directory = Path(directory)
        if not self.directory.is_dir():
            raise FormatError(
                f"{directory} is not a directory. Expected the output of `rnn-zoos generate`; "
                "zoos on the Hub cannot be loaded by name yet."
            )
        self.manifest = read_manifest(self.directory)

    def splits(self, split: str | None = None) -> list[str]:
        """Return the splits that hold rows, or the one named. Raises UnknownNameError."""
        present = [name for name in SPLITS if self.manifest.splits[name]["rows"]]
        if split is None:
            return present
        if str(split) not in present:
            raise UnknownNameError.among("split", split, present)
        return [str(split)]

    def index(
        self,
        split: str | None = None,
        steps: int | Iterable[int] | None = None,
        where: Where | None = None,
    ) -> pa.Table:
        """Return the index rows of a split (of all, in order of SPLITS), of some steps, of which `where` is true."""
        schema = index_schema({name: Column(**column) for name, column in self.manifest.columns.items()})
        table = pa.concat_tables([schema.empty_table(), *(self._read(name) for name in self.splits(split))])
        if steps is not None:
            table = table.filter(pc.field("step").isin(self._steps(steps)))
        if where is None:
            return table
        expression = where if isinstance(where, pc.Expression) else triples_to_expression(where, schema)
        try:
            return table.filter(expression)
        except (pa.ArrowException, TypeError) as error:
            raise FormatError(f"where is {where}, which cannot be asked of this index: {error}. {_WHERE}") from error

    def _read(self, split: str) -> pa.Table:
        path = index_path(split)
        check_bytes(self.directory / path, self.manifest.files[path], _REMEDY)
        return read_index(self.directory / path)

    def _steps(self, steps: int | Iterable[int]) -> list[int]:
        """Return steps as whole numbers, all of which this zoo has."""
        try:
            wanted = [operator.index(step) for step in (steps if isinstance(steps, Iterable) else [steps])]
        except TypeError as error:
            raise FormatError(f"steps is {steps!r}; expected a whole number or several.") from error
        for step in wanted:
            if step not in self.manifest.snapshots:
                raise UnknownNameError.among("step", step, self.manifest.snapshots)
        return wanted

    def row(self, run: int, step: int) -> dict[str, Any]:
        """Return the index row of one snapshot. Raises UnknownNameError, saying which runs and steps there are."""
        if not isinstance(run, Integral) or not 0 <= int(run) < self.manifest.runs:
            raise UnknownNameError(f"Unknown run {run}; this zoo has the runs 0 to {self.manifest.runs - 1}.")
        rows = self.index(where=[("run", "==", run)]).to_pylist()
        for row in rows:
            if row["step"] == step:
                return dict(row)
        known = [row["step"] for row in rows]
        if step in self.manifest.snapshots:
            raise UnknownNameError(f"Run {run} diverged before step {step}; it has the steps {known or 'none'}.")
        raise UnknownNameError.among(f"step of run {run}", step, known)

    def tensors(self, kind: str, split: str, shard: int) -> dict[str, Array]:
        """Return the mapped tensors [rows, ...] of a shard; `kind` is shards or rollouts."""
        path = self.manifest.paths(kind, split)[shard]
        return open_tensors(self.directory / path, self.manifest.files[path])

    def file(self, path: str) -> dict[str, Array]:
        """Return the mapped tensors of another safetensors file of the zoo."""
        return open_tensors(self.directory / path, self.manifest.files[path])

    def weights(self, row: dict[str, Any]) -> dict[str, Tensor]:
        """Return a copy of the named weights of an index row, in the architecture's order."""
        stacked = self.tensors("shards", row["split"], row["shard"])
        return {n: torch.from_numpy(stacked[n][row["row"]].copy()) for n in self.manifest.architecture.parameter_shapes}
