"""Records of finished shards, kept until the zoo has its index and manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rnn_zoos.families.columns import Column
from rnn_zoos.format.files import FileEntry
from rnn_zoos.format.hashed_json import read_hashed_json, write_hashed_json
from rnn_zoos.generation.plan import Plan

KINDS = ("shards", "rollouts")
"""The two files of a shard: weights, rollouts."""
REMEDY = "Delete it and run the same command again: what it held is made again."


@dataclass(frozen=True)
class ShardRecord:
    """Everything about a finished shard except its tensors.

    Attributes:
        plan: the identity of the plan (`identity.identity_in_record`). Every record has it, so that plan.json can be
            lost.
        runs: the numbers of the shard's runs.
        files: kind -> size and hash of the shard's files.
        seconds: how long the shard took.
        rows: the shard's rows of the index. Where the index of a finished zoo is lost, they are only run, step and
            diverged, until the shard is measured again.
        made: the provenance of the shard (`provenance.provenance`).
        modified: kind -> time of modification of the shard's file when its hash was right, in nanoseconds. Records of
            earlier versions, and of shards in a store, have none.
    """

    plan: dict[str, Any]
    runs: list[int]
    files: dict[str, FileEntry]
    seconds: float
    rows: list[dict[str, Any]]
    made: dict[str, Any]
    modified: dict[str, int] = field(default_factory=dict)

    @property
    def is_measured(self) -> bool:
        """Whether the rows have labels and all else that the index needs."""
        return not self.rows or "shard" in self.rows[0]

    def write(self, path: Path) -> None:
        """Write the record. Inverse of `read_record`."""
        files = {kind: asdict(entry) for kind, entry in self.files.items()}
        write_hashed_json(path, {**vars(self), "files": files})  # `asdict` would copy every row


def read_record(path: Path) -> ShardRecord:
    """Read a record written by `ShardRecord.write`. Raises IntegrityError if it is damaged."""
    data = read_hashed_json(path, REMEDY)
    files = {kind: FileEntry(**entry) for kind, entry in data.pop("files").items()}
    return ShardRecord(files=files, **data)


def common_columns(plan: Plan, rows: Iterable[Mapping[str, Any]]) -> dict[str, Column]:
    """Return the columns that all of some rows of records of a plan have, in order.

    A shard that an earlier version made lacks labels that were added since. A zoo has the labels of all of its shards.
    """
    known = plan.family.labels
    labels = set(known)
    for row in rows:
        labels &= row.keys()
    return {name: column for name, column in plan.columns.items() if name in labels or name not in known}


@dataclass(frozen=True)
class ComputedShard:
    """A shard that is not written yet: its record, and the content of its files, kind -> bytes."""

    record: ShardRecord
    files: Mapping[str, bytes]
