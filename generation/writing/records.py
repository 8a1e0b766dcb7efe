"""Records of finished shards, kept until the zoo has its index and manifest, and the provenance of results."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnn_zoos import __version__
from rnn_zoos.families.family import Column, TaskFamily
from rnn_zoos.format.files import FileEntry, read_sealed_json, write_sealed_json
from rnn_zoos.generation.trainers.backends import backend_details

KINDS = ("shards", "rollouts")
"""The two files of a shard: weights, rollouts."""
REMEDY = "Delete it and run the same command again: its runs are trained again."


@dataclass(frozen=True)
class ShardRecord:
    """Everything about a finished shard except its tensors.

    Attributes:
        plan: the identity of the plan (`Plan.identity`). Every record has it, so that plan.json can be lost.
        runs: the numbers of the shard's runs.
        files: kind -> size and hash of the shard's files.
        seconds: how long the shard took.
        rows: the shard's rows of the index.
        made: the provenance of the shard (`provenance`).
    """

    plan: dict[str, Any]
    runs: list[int]
    files: dict[str, FileEntry]
    seconds: float
    rows: list[dict[str, Any]]
    made: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write the record. Inverse of `read_record`."""
        write_sealed_json(path, asdict(self))


def read_record(path: Path) -> ShardRecord:
    """Read a record written by `ShardRecord.write`. Raises IntegrityError if it is damaged."""
    data = read_sealed_json(path, REMEDY)
    files = {kind: FileEntry(**entry) for kind, entry in data.pop("files").items()}
    return ShardRecord(files=files, **data)


def common_columns(family: TaskFamily, rows: Iterable[Mapping[str, Any]]) -> dict[str, Column]:
    """Return the columns that all of some rows of records have, in order.

    A shard that an earlier version made lacks labels that were added since. A zoo has the labels of all of its shards.
    """
    labels = set(family.labels)
    for row in rows:
        labels &= row.keys()
    return {name: column for name, column in family.columns.items() if name in labels or name not in family.labels}


@dataclass(frozen=True)
class ComputedShard:
    """A shard that is not written yet: its record, and the content of its files, kind -> bytes."""

    record: ShardRecord
    files: Mapping[str, bytes]


def provenance(backend: str) -> dict[str, Any]:
    """Return what determines the bits of a backend's results on this machine: backend, versions, machine."""
    versions = {"rnn-zoos": __version__, "torch": torch.__version__, "numpy": np.__version__}
    return {
        "backend": backend,
        "versions": {**versions, "python": platform.python_version(), **backend_details(backend)},
        "machine": f"{platform.machine()}, {platform.system()}",
    }


def merge_provenance(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the provenance of a whole from that of its parts; different values are listed: "2.12 / 2.13"."""
    values: dict[str, dict[str, None]] = {}  # dicts as sets that keep the order of insertion
    for part in parts:
        for key, value in {**part, **part["versions"]}.items():
            if key != "versions":
                values.setdefault(key, {}).update(dict.fromkeys(str(value).split(" / ")))
    merged = {key: " / ".join(distinct) for key, distinct in values.items()}
    backend, machine = merged.pop("backend"), merged.pop("machine")
    return {"backend": backend, "versions": merged, "machine": machine}
