"""Bringing together what was generated apart: parts of one plan, from other machines or at other times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rnn_zoos.errors import FormatError, MergeError, PlanMismatchError
from rnn_zoos.format.files import check_bytes, map_tensors, read_sealed_json, write_atomically
from rnn_zoos.format.index import index_schema
from rnn_zoos.format.manifest import MANIFEST, UNFINISHED, read_manifest, shard_path
from rnn_zoos.generation.plan import Plan, ShardPlan, plan_of, plan_of_zoo
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.records import KINDS, ShardRecord, read_record
from rnn_zoos.generation.writing.workspace import Workspace, locked, records_of_zoo

_REMEDY = "Generate it again, or leave this directory out."
_NAMED = 5  # missing shards that are named


@dataclass(frozen=True)
class Part:
    """A directory with some shards of a plan: name of the shard -> its record, or where the record is."""

    directory: Path
    plan: Plan
    records: Mapping[str, ShardRecord | Path]

    def record(self, name: str) -> ShardRecord:
        """Return the record of a shard. Raises IntegrityError if it is damaged."""
        record = self.records[name]
        return read_record(record) if isinstance(record, Path) else record

    def file(self, shard: ShardPlan, kind: str) -> Path:
        """Return the path of a shard's file here, where the number of shards may be another."""
        count = sum(own.split == shard.split for own in self.plan.shards)
        return self.directory / shard_path(kind, shard.split, shard.number, count)


def merge(directories: Sequence[Path], out: Path, mnist: str | None = None) -> list[str]:
    """Copy the shards of all directories, finished zoos or parts of one, into `out`, and finish it if none is missing.

    The plan with the most runs is that of the whole. Stopped, the same call goes on. Returns what to tell the user.
    Raises PlanMismatchError if they are not of one plan, MergeError if a shard is in two of them with different bytes,
    IntegrityError for damaged files; then `out` is not finished, and no directory is changed.
    """
    parts = [_read_part(directory, mnist) for directory in directories]
    plan = max((part.plan for part in parts), key=lambda plan: plan.settings.runs)
    _refuse_strangers(parts, plan)
    workspace = Workspace(out, plan)
    workspace.look()
    with locked(out):
        pending = workspace.prepare()
        missing = [shard for shard in pending or [] if not _copy(workspace, shard, parts)]
        if missing:
            return _unfinished(plan, missing, out)
        manifest = read_manifest(out) if pending is None else finish(workspace)
    rows = sum(split["rows"] for split in manifest.splits.values())
    return [f"{out}: {manifest.runs} runs, {rows} snapshots of {len(parts)} directories."]


def _read_part(directory: Path, mnist: str | None) -> Part:
    plan_path = directory / UNFINISHED / "plan.json"
    if plan_path.is_file():
        begun = read_sealed_json(plan_path, "Run the `rnn-zoos generate` that began it once more.")
        if begun.get("store"):
            raise FormatError(f"The shards of {directory} are at {begun['store']}, not there; merge needs them here.")
        paths = {path.stem: path for path in (directory / UNFINISHED).glob("*-*.json")}
        return Part(directory, plan_of(begun, mnist=mnist), paths)
    if not (directory / MANIFEST).is_file():
        raise FormatError(f"{directory} is no zoo and no part of one. Expected the --out of `rnn-zoos generate`.")
    manifest = read_manifest(directory)
    plan = plan_of_zoo(manifest, mnist=mnist)
    return Part(directory, plan, {s.name: record for s, record in records_of_zoo(directory, manifest, plan)})


def _refuse_strangers(parts: Sequence[Part], plan: Plan) -> None:
    expected, lines = _identity(plan), []
    whole = next(part for part in parts if part.plan is plan)
    for part in parts:
        for key, value in _identity(part.plan).items():
            if value != expected[key]:
                lines.append(f"  {key}: {value!r} in {part.directory}, {expected[key]!r} in {whole.directory}")
    if lines:
        raise PlanMismatchError(
            "These are not of one plan; nothing was written:\n" + "\n".join(lines) + "\nGive directories that were "
            "generated with the same settings."
        )


def _identity(plan: Plan) -> dict[str, Any]:
    return {"preset": plan.preset, **{key: value for key, value in plan.identity().items() if key != "runs"}}


def _copy(workspace: Workspace, shard: ShardPlan, parts: Sequence[Part]) -> bool:
    """Copy a shard from where the most runs of it are; tell whether those are all. All who have it have to agree."""
    having = [part for part in parts if shard.name in part.records]
    records = {part.directory: part.record(shard.name) for part in having}
    having.sort(key=lambda part: -len(records[part.directory].runs))
    if not having:
        return False
    best = having[0]
    record = records[best.directory]
    for part in having:
        for kind in KINDS:
            check_bytes(part.file(shard, kind), records[part.directory].files[kind], _REMEDY)
    for other in having[1:]:
        _compare(shard, best, record, other, records[other.directory])
    whole = record.runs == shard.run_numbers
    for kind in KINDS:
        target = workspace.directory / shard.path(kind) if whole else workspace.partial_path(shard, kind)
        write_atomically(target, best.file(shard, kind).read_bytes())
    record.write(workspace.record_path(shard) if whole else workspace.partial_path(shard, "record"))
    return whole


def _compare(shard: ShardPlan, best: Part, record: ShardRecord, other: Part, fewer: ShardRecord) -> None:
    """Raise MergeError unless the runs that both have are the same, row by row and byte by byte."""
    places = f"{shard} differs in {best.directory} and {other.directory}"
    if record.runs[: len(fewer.runs)] != fewer.runs:
        raise MergeError(f"{places}: it has other runs there. Nothing is merged; leave one of them out.")
    schema = index_schema(best.plan.family.columns)  # as the index has them: a record's numbers are longer
    rows, same = (pa.Table.from_pylist(made, schema=schema) for made in (record.rows, fewer.rows))
    if not rows[: len(same)].equals(same):
        raise MergeError(f"{places}: the labels of equal runs are not the same. {_choose(record, fewer)}")
    for kind in KINDS:
        large, small = (map_tensors(part.file(shard, kind)) for part in (best, other))
        for name, tensor in small.items():
            if not np.array_equal(large[name][: len(tensor)].view(np.uint8), tensor.view(np.uint8)):
                raise MergeError(f"{places}: {name} of equal runs is not the same. {_choose(record, fewer)}")


def _choose(record: ShardRecord, fewer: ShardRecord) -> str:
    return (
        f"They were made by {record.made} and {fewer.made}. A zoo holds one of them: delete the other's record and "
        "files, or leave its directory out; `rnn-zoos verify` tells which can be reproduced here."
    )


def _unfinished(plan: Plan, missing: Sequence[ShardPlan], out: Path) -> list[str]:
    names = ", ".join(shard.name for shard in missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
    return [
        f"{out} is unfinished: {len(missing)} of {len(plan.shards)} shards are in none of the directories: {names}.",
        "Merge again with the parts that have them, or make them: rnn-zoos generate "
        f"{plan.zoo} --preset {plan.preset} --runs {plan.settings.runs} --seed {plan.settings.seed} --out {out}",
    ]
