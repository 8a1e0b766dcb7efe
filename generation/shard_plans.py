"""The shards of a plan: which runs each one holds, in which order, and where it is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt

from rnn_zoos.families.run_table import Table
from rnn_zoos.format.manifest import shard_path
from rnn_zoos.generation.settings import Settings
from rnn_zoos.generation.trainers.trainer import Run


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """The unit of work: the runs of one shard, which is number `number` of the `count` shards of its split.

    They have one architecture. They are records of `table`, a view of the table of all runs, so that a plan of a
    million runs takes little memory.
    """

    split: str
    number: int
    count: int
    table: Table

    def __str__(self) -> str:
        return f"shard {self.name}"

    @property
    def architecture(self) -> int:
        """The number of the architecture of its runs."""
        return int(self.table["architecture"][0])

    @property
    def name(self) -> str:
        """A name that does not change when the zoo is extended."""
        return f"{self.split}-{self.number:05d}"

    def path(self, kind: str) -> str:
        """Return the path of a file inside the zoo; `kind` is shards or rollouts."""
        return shard_path(kind, self.split, self.number, self.count)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs, in order."""
        return tuple(Run(*row) for row in self.table.tolist())

    def total_updates(self, settings: Settings) -> int:
        """Return the number of updates of all runs together."""
        own = self.table["num_updates"]
        return int(np.where(own == 0, settings.num_updates, own).sum())

    @property
    def run_numbers(self) -> list[int]:
        """The numbers of the runs, ascending."""
        return [int(number) for number in self.table["run"]]


class Shards(Sequence[ShardPlan]):
    """All shards of a plan, in order. A `ShardPlan` is created only when it is accessed.

    A shard holds the next `runs_per_shard` runs of one architecture of its split. The shards of a split are numbered by
    their first runs, so that a longer plan adds runs to the last shards, and shards to the end.
    """

    def __init__(self, tables: Mapping[str, Table], runs_per_shard: int) -> None:
        self._splits = {split: _by_shard(table, runs_per_shard) for split, table in tables.items()}
        self._positions = [(split, number) for split, count in self.counts.items() for number in range(count)]

    @cached_property
    def counts(self) -> dict[str, int]:
        """The number of shards of each split."""
        return {split: len(starts) - 1 for split, (_, starts) in self._splits.items()}

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> ShardPlan: ...
    @overload
    def __getitem__(self, index: slice) -> list[ShardPlan]: ...
    def __getitem__(self, index: int | slice) -> ShardPlan | list[ShardPlan]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        split, number = self._positions[index]
        table, starts = self._splits[split]
        return ShardPlan(split, number, self.counts[split], table[starts[number] : starts[number + 1]])


def _by_shard(table: Table, runs_per_shard: int) -> tuple[Table, npt.NDArray[np.int64]]:
    """Return the runs of a split, one shard after the other, and where each shard begins and the last one ends."""
    if not len(table):
        return table, np.zeros(1, np.int64)
    earlier = np.empty(len(table), np.int64)  # runs of the same architecture before each
    for architecture in np.unique(table["architecture"]):
        own = table["architecture"] == architecture
        earlier[own] = np.arange(own.sum())
    shards = np.stack([table["architecture"], earlier // runs_per_shard], axis=1)
    _, first, number = np.unique(shards, axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    of_run = rank[number.reshape(-1)]
    order = np.argsort(of_run, kind="stable")
    return table[order], np.searchsorted(of_run[order], np.arange(len(first) + 1))
