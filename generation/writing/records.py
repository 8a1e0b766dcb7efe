"""What is known of a finished shard before the zoo has its index and manifest, and of the machines that made it."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnn_zoos import __version__
from rnn_zoos.format.files import FileEntry, read_sealed_json, write_sealed_json
from rnn_zoos.generation.trainers.backends import backend_details

KINDS = ("shards", "rollouts")
REMEDY = "Delete it and run the same command again: its runs are made anew."


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard: its runs, the promise for its two files, the seconds of work, its index rows, plan and maker.

    The plan (`Plan.identity`) stands in every record, so that the loss of plan.json loses nothing; `made` is what
    `making` returned where the shard was made.
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


@dataclass(frozen=True)
class MadeShard:
    """A shard that is not written yet: its record, and the content of its files, kind -> bytes."""

    record: ShardRecord
    files: Mapping[str, bytes]


def making(backend: str) -> dict[str, Any]:
    """Return what decides the bits of a backend's results here: backend, versions, machine."""
    versions = {"rnn-zoos": __version__, "torch": torch.__version__, "numpy": np.__version__}
    return {
        "backend": backend,
        "versions": {**versions, "python": platform.python_version(), **backend_details(backend)},
        "machine": f"{platform.machine()}, {platform.system()}",
    }


def joined_making(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the making of a whole from that of its parts; where they differ, all of what they say: "2.12 / 2.13"."""
    values: dict[str, dict[str, None]] = {}  # dicts keep the order of what was met
    for part in parts:
        for key, value in {**part, **part["versions"]}.items():
            if key != "versions":
                values.setdefault(key, {}).update(dict.fromkeys(str(value).split(" / ")))
    joined = {key: " / ".join(found) for key, found in values.items()}
    backend, machine = joined.pop("backend"), joined.pop("machine")
    return {"backend": backend, "versions": joined, "machine": machine}
