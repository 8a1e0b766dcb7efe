"""A zoo in a directory or on the Hub: its manifest, its index, and its tensors by memory map."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.files import Array, FileEntry, check_bytes, map_tensors
from rnn_zoos.index import index_schema, read_index
from rnn_zoos.loaders.hub import HUB_NAME, find_revision
from rnn_zoos.manifest import DIGITS, MANIFEST, Manifest, index_path, read_manifest
from rnn_zoos.tasks import SPLITS, Column

Where: TypeAlias = "pc.Expression | Sequence[tuple[str, str, Any]]"
"""What rows to keep: a pyarrow expression, or triples such as ("accuracy", ">", 0.9) that must all hold."""

_WHERE = "Expected a pyarrow expression, or triples such as [('accuracy', '>', 0.9), ('step', 'in', [0, 100])]."
_REMEDY = "Fetch or generate this zoo again, or put the right file in its place; `rnn-zoos check` lists all damage."


class Source(Protocol):
    """Where the files of one zoo come from. Hashable, and picklable without their content."""

    def __hash__(self) -> int: ...

    @property
    def remote(self) -> bool:
        """Whether files have to be fetched before they can be read."""

    def manifest(self) -> Manifest:
        """Return the manifest. Raises FormatError if there is none of format 1."""

    def path(self, file: str, entry: FileEntry) -> Path:
        """Return where a file is, with the bytes that its entry promises. Raises IntegrityError."""


@dataclass(frozen=True)
class Directory:
    """A directory as the source of a zoo."""

    remote: ClassVar[bool] = False
    folder: Path

    def manifest(self) -> Manifest:
        """Return the manifest. Raises FormatError if there is none of format 1."""
        return read_manifest(self.folder)

    def path(self, file: str, entry: FileEntry) -> Path:
        """Return where a file is, after its bytes were compared with its entry. Raises IntegrityError."""
        check_bytes(self.folder / file, entry, _REMEDY)
        return self.folder / file


@lru_cache(maxsize=256)  # a mapped file holds a file descriptor
def open_tensors(source: Source, file: str, entry: FileEntry) -> dict[str, Array]:
    """Map a file of a zoo, after its bytes were compared with the manifest: once in a process."""
    return map_tensors(source.path(file, entry))


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


def open_zoo(name_or_dir: str | Path, revision: str | None = None, token: str | None = None) -> Zoo:
    """Open the zoo in a directory, or the one that the Hub has under the name OWNER/NAME.

    `revision` (branch, tag or sha; None: main) and `token` (None: of `hf auth login` or HF_TOKEN) are for the Hub. Only
    zoo.json is fetched. Raises FormatError if it is no zoo, HubError if the Hub does not give it.
    """
    if not isinstance(name_or_dir, (str, Path)):
        raise FormatError(f"The zoo is {name_or_dir!r}; expected a directory, or OWNER/NAME of a zoo on the Hub.")
    if Path(name_or_dir).is_dir():
        if revision is not None:
            raise FormatError(
                f"revision is {revision!r}, but {name_or_dir} is a directory, which has one version only."
            )
        return Zoo(Directory(Path(name_or_dir).resolve()))
    if isinstance(name_or_dir, str) and HUB_NAME.fullmatch(name_or_dir):
        return Zoo(find_revision(name_or_dir, revision, token))
    raise FormatError(
        f"{name_or_dir} is not a directory, nor the name of a zoo on the Hub. Expected the output of "
        "`rnn-zoos generate`, or OWNER/NAME."
    )


class Zoo:
    """A finished zoo: what its source has, read on demand. Raises FormatError if there is none."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.manifest = source.manifest()

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
        file = index_path(split)
        return read_index(self.source.path(file, self._entry(file)))

    def _entry(self, file: str) -> FileEntry:
        if file not in self.manifest.files:
            raise FormatError(f"{MANIFEST} does not list {file}, which it should. {_REMEDY}")
        return self.manifest.files[file]

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
        return self.file(self.manifest.paths(kind, split)[shard])

    def file(self, file: str) -> dict[str, Array]:
        """Return the mapped tensors of a safetensors file of the zoo."""
        return open_tensors(self.source, file, self._entry(file))

    def fetch(self, split: str, shards: Iterable[int], rollouts: bool) -> None:
        """Fetch what reading rows of these shards takes, so that it cannot fail later; nothing for a directory."""
        if not self.source.remote:
            return
        kinds = ("shards", "rollouts") if rollouts else ("shards",)
        files = [self.manifest.paths(kind, split)[shard] for kind in kinds for shard in shards]
        if files and rollouts and "images" in self.manifest.rollouts:
            files.append(DIGITS)
        for file in files:
            self.source.path(file, self._entry(file))

    def weights(self, row: dict[str, Any]) -> dict[str, Tensor]:
        """Return a copy of the named weights of an index row, in the architecture's order."""
        stacked = self.tensors("shards", row["split"], row["shard"])
        return {n: torch.from_numpy(stacked[n][row["row"]].copy()) for n in self.manifest.architecture.parameter_shapes}
