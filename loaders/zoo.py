"""A zoo in a local directory: its manifest, its index, and its tensors by memory map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.files import Array, FileEntry, check_bytes, map_tensors
from rnn_zoos.index import read_index
from rnn_zoos.manifest import index_path, read_manifest
from rnn_zoos.tasks import SPLITS

Where: TypeAlias = "pc.Expression | Sequence[tuple[str, str, Any]]"
"""What rows to keep: a pyarrow expression, or triples such as ("accuracy", ">", 0.9) that must all hold."""

_REMEDY = "Fetch or generate this zoo again, or put the right file in its place; `rnn-zoos check` lists all damage."


@cache
def open_tensors(path: Path, entry: FileEntry) -> dict[str, Array]:
    """Map a file of a zoo, after its bytes were compared with the manifest: once in a process."""
    check_bytes(path, entry, _REMEDY)
    return map_tensors(path)


class LocalZoo:
    """A finished zoo in a directory. Raises FormatError if it is none."""

    def __init__(self, directory: str | Path) -> None:
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
        if split not in present:
            raise UnknownNameError.among("split", split, present)
        return [split]

    def index(
        self,
        split: str | None = None,
        steps: int | Iterable[int] | None = None,
        where: Where | None = None,
    ) -> pa.Table:
        """Return the index rows of a split (of all, in order of SPLITS), of some steps, of which `where` is true."""
        expression = self._expression(steps, where)
        return pa.concat_tables(
            [self._checked_index(name, expression).replace_schema_metadata(None) for name in self.splits(split)]
        )

    def _checked_index(self, split: str, expression: pc.Expression | None) -> pa.Table:
        path = index_path(split)
        check_bytes(self.directory / path, self.manifest.files[path], _REMEDY)
        return read_index(self.directory / path, expression)

    def _expression(self, steps: int | Iterable[int] | None, where: Where | None) -> pc.Expression | None:
        """Join `steps` and `where` into one pyarrow expression, after their names were checked."""
        parts = []
        if steps is not None:
            wanted = [steps] if isinstance(steps, int) else list(steps)
            for step in wanted:
                if step not in self.manifest.snapshots:
                    raise UnknownNameError.among("step", step, self.manifest.snapshots)
            parts.append(pc.field("step").isin(wanted))
        if isinstance(where, pc.Expression):
            parts.append(where)
        elif where is not None:
            parts.append(self._triples(where))
        return None if not parts else parts[0] if len(parts) == 1 else parts[0] & parts[1]

    def _triples(self, where: Sequence[tuple[str, str, Any]]) -> pc.Expression:
        for triple in where:
            if len(triple) != 3:
                raise FormatError(f"where has {triple!r}; expected triples such as ('accuracy', '>', 0.9).")
            if triple[0] not in self.manifest.columns:
                raise UnknownNameError.among("column", triple[0], self.manifest.columns)
        try:
            return pq.filters_to_expression(list(where))
        except (ValueError, TypeError) as error:
            raise FormatError(
                f"where is {list(where)!r}: {error}. Expected for example [('step', 'in', [0, 100])]."
            ) from error

    def row(self, run: int, step: int) -> dict[str, Any]:
        """Return the index row of one snapshot. Raises UnknownNameError, saying which runs and steps there are."""
        if not 0 <= run < self.manifest.runs:
            raise UnknownNameError(f"Unknown run {run}; this zoo has the runs 0 to {self.manifest.runs - 1}.")
        rows = self.index(where=[("run", "==", run)]).to_pylist()
        for row in rows:
            if row["step"] == step:
                return dict(row)
        raise UnknownNameError.among(f"step of run {run}", step, [row["step"] for row in rows])

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
