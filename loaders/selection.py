"""The rows and columns that a call of `load_dataset` selects, as tables with places instead of tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.format.files import sha256_of
from rnn_zoos.loaders.embeddings import COLUMN, Embeddings
from rnn_zoos.loaders.features import Embedding, Library, Rollouts, Weights
from rnn_zoos.loaders.places import places_of
from rnn_zoos.loaders.rollouts import decoded_dtypes, require_rollouts
from rnn_zoos.loaders.splits import split_parts
from rnn_zoos.loaders.where import Where, list_of_names, selection_identity
from rnn_zoos.loaders.zoo import Zoo

_KINDS = {"weights": "shards", "rollouts": "rollouts"}  # column -> the files that hold it


@dataclass(frozen=True)
class Selection:
    """Selected rows of a zoo. The attributes are arguments of `load_dataset`.

    Raises, when `features` is first used, UnknownNameError for columns that the rows do not have, and FormatError if
    `columns` is not a list of at least one or the zoo has no rollouts.
    """

    zoo: Zoo
    steps: list[int] | None
    where: Where | None
    rollouts: bool
    tensors: Library
    embeddings: Embeddings | None
    columns: Sequence[str] | None

    @cached_property
    def features(self) -> datasets.Features:
        """The columns of a row and their types."""
        manifest = self.zoo.manifest
        known = dict(datasets.Features.from_arrow_schema(self.zoo.index_schema))
        del known["shard"], known["row"]
        own = None if manifest.shard_architectures is not None else asdict(manifest.architecture)
        known["weights"] = Weights(tensors=self.tensors, architecture=own)
        if self.rollouts:
            require_rollouts(manifest)
            known["rollouts"] = Rollouts(tensors=self.tensors, dtypes=decoded_dtypes(manifest.rollouts))
        if self.embeddings is not None:
            known[COLUMN] = Embedding(self.embeddings.size, self.tensors)
        wanted = list(known) if self.columns is None else list_of_names("columns", self.columns)
        if not wanted:  # of which `datasets` would make a table without rows
            raise FormatError(f"columns is {self.columns!r}; expected at least one of: {', '.join(known)}.")
        for name in wanted:
            if name not in known:
                raise UnknownNameError.among("column", name, known)
        return datasets.Features({name: known[name] for name in wanted})

    def index(self, expression: str) -> list[tuple[str, pa.Table]]:
        """Return the index rows of each part of a split expression, with the split of that part."""
        present = self.zoo.splits()
        tables = {name: self.zoo.index(name, self.steps, self.where) for name in present if name in expression}
        sizes = {name: tables[name].num_rows if name in tables else 0 for name in present}
        return [(name, tables[name].slice(first, end - first)) for name, first, end in split_parts(expression, sizes)]

    def table(self, parts: Iterable[tuple[str, pa.Table]]) -> pa.Table:
        """Return index rows as a table with the columns of `features`."""
        schema = self.features.arrow_schema
        tables = [pa.table([self._column(*part, name) for name in schema.names], schema) for part in parts]
        return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()

    def fetch(self, parts: Iterable[tuple[str, pa.Table]]) -> None:
        """Download the files of index rows, if the zoo is on the Hub."""
        for split, rows in parts:
            kinds = [kind for column, kind in _KINDS.items() if column in self.features]
            self.zoo.fetch(split, sorted(pc.unique(rows["shard"]).to_pylist()), kinds)

    def fingerprint(self, expression: str) -> str:
        """Return a hash of everything that determines the rows, by which `datasets` names cached results."""
        zoo = f"{self.zoo.source.address}#{self.zoo.identity}"
        embeddings = self.embeddings and sha256_of(self.embeddings.path)
        chosen = selection_identity(self.steps, self.where)
        text = f"{zoo} {expression} {chosen} {embeddings} {self.features}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _column(self, split: str, rows: pa.Table, name: str) -> pa.Array:
        """Return one column of index rows."""
        if name in _KINDS:
            return places_of(self.zoo, _KINDS[name], split, rows)
        if name == COLUMN and self.embeddings is not None:
            return self.embeddings.column(rows)
        return rows[name].combine_chunks()
