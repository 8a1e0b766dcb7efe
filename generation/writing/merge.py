"""Merging: parts of one plan that were generated on other machines or at other times become one zoo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rnn_zoos.errors import FormatError, MergeError, PlanMismatchError
from rnn_zoos.format.columns import relabel_hint
from rnn_zoos.format.files import check_bytes, map_tensors, read_sealed_json, write_atomically
from rnn_zoos.format.index import index_schema
from rnn_zoos.format.manifest import read_manifest, shard_path
from rnn_zoos.generation.plan import Plan, ShardPlan, plan_of_zoo, rebuild_plan
from rnn_zoos.generation.writing.directory import OutputPaths, locked
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.records import KINDS, ShardRecord, common_columns, read_record
from rnn_zoos.generation.writing.resuming import records_of_zoo
from rnn_zoos.generation.writing.workspace import Workspace

_REMEDY = "Generate it again, or leave this directory out."
_MAX_NAMED = 5  # missing shards that are named


@dataclass(frozen=True)
class Part:
    """A directory with some shards of a plan: name of the shard -> its record, or the record's path."""

    directory: Path
    plan: Plan
    records: Mapping[str, ShardRecord | Path]

    def record(self, name: str) -> ShardRecord:
        """Return the record of a shard. Raises IntegrityError if it is damaged."""
        record = self.records[name]
        return read_record(record) if isinstance(record, Path) else record

    def file(self, shard: ShardPlan, kind: str) -> Path:
        """Return the path of a shard's file in this directory, whose plan may have another number of shards."""
        count = sum(own.split == shard.split for own in self.plan.shards)
        return self.directory / shard_path(kind, shard.split, shard.number, count)


def merge(directories: Sequence[Path], out: Path, mnist: str | None = None) -> list[str]:
    """Merge directories with shards of one plan, finished zoos or parts of one, into a new directory.

    The zoo has the runs of the largest plan, and the labels that all shards have. It is finished if no shard is
    missing. The given directories are not changed. If the merge is stopped, the same call resumes it.

    Args:
        directories: output directories of `generate`.
        out: the directory for the whole zoo.
        mnist: where this machine finds the digits: "hub", "embedded", or a directory; None for the zoo's own source.

    Returns:
        Lines for the user: what `out` contains, and which labels it lacks, or which shards are missing.

    Raises:
        PlanMismatchError: the directories were generated with different settings.
        MergeError: two directories have different bytes of the same run.
        IntegrityError: a file is damaged.
        FormatError: a directory is neither a zoo nor a part of one, or has labels that this version does not know.
        BusyError: another process is writing to `out`.

    Example:
        >>> from pathlib import Path
        >>> from rnn_zoos.generation import merge
        >>> lines = merge([Path("zoos/formal-languages")], Path("merged"))
    """
    parts = [_read_part(directory, mnist) for directory in directories]
    plan = max((part.plan for part in parts), key=lambda plan: plan.settings.runs)
    _check_same_plan(parts, plan)
    workspace = Workspace(out, plan)
    workspace.check_directory()
    with locked(out):
        pending = workspace.begin_or_resume()
        missing = [shard for shard in pending or [] if not _copy_shard(workspace, shard, parts)]
        if missing:
            return _describe_missing(plan, missing, out)
        manifest = read_manifest(out) if pending is None else finish(workspace)
    rows = sum(split["rows"] for split in manifest.splits.values())
    lines = [f"{out}: {manifest.runs} runs, {rows} snapshots, merged from {len(parts)} directories."]
    return lines + relabel_hint(out, manifest, plan.family)


def _read_part(directory: Path, mnist: str | None) -> Part:
    paths = OutputPaths(directory)
    if paths.plan.is_file():
        stored = read_sealed_json(paths.plan, "Run the `rnn-zoos generate` that started it again.")
        if stored.get("store"):
            raise FormatError(f"The shards of {directory} are in {stored['store']}; merge needs them in the directory.")
        return Part(
            directory, rebuild_plan(stored, mnist=mnist), {path.stem: path for path in paths.existing_records()}
        )
    if not paths.manifest.is_file():
        raise FormatError(
            f"{directory} is neither a zoo nor a part of one. Expected an --out directory of `rnn-zoos generate`."
        )
    manifest = read_manifest(directory)
    plan = plan_of_zoo(manifest, mnist=mnist)
    return Part(directory, plan, {shard.name: record for shard, record in records_of_zoo(directory, manifest, plan)})


def _check_same_plan(parts: Sequence[Part], plan: Plan) -> None:
    """Raise PlanMismatchError unless all parts have the settings of a plan, except the number of runs."""
    expected, lines = _identity(plan), []
    largest = next(part for part in parts if part.plan is plan)
    for part in parts:
        for key, value in _identity(part.plan).items():
            if value != expected[key]:
                lines.append(f"  {key}: {value!r} in {part.directory}, {expected[key]!r} in {largest.directory}")
    if lines:
        raise PlanMismatchError(
            "The directories have different plans; nothing was written:\n" + "\n".join(lines) + "\nGive directories "
            "that were generated with the same settings."
        )


def _identity(plan: Plan) -> dict[str, Any]:
    return {"preset": plan.preset, **{key: value for key, value in plan.identity().items() if key != "runs"}}


def _copy_shard(workspace: Workspace, shard: ShardPlan, parts: Sequence[Part]) -> bool:
    """Copy a shard from the part that has most of its runs, then labels; return whether it has all of the runs.

    Raises MergeError unless all parts that have the shard agree.
    """
    holders = [part for part in parts if shard.name in part.records]
    records = {part.directory: part.record(shard.name) for part in holders}
    holders.sort(key=lambda part: _extent(part.plan, records[part.directory]), reverse=True)
    if not holders:
        return False
    largest, record = holders[0], records[holders[0].directory]
    for part in holders:
        for kind in KINDS:
            check_bytes(part.file(shard, kind), records[part.directory].files[kind], _REMEDY)
    for other in holders[1:]:
        _check_agreement(shard, (largest, record), (other, records[other.directory]))
    complete = record.runs == shard.run_numbers
    for kind in KINDS:
        target = workspace.directory / shard.path(kind) if complete else workspace.paths.partial(shard, kind)
        write_atomically(target, largest.file(shard, kind).read_bytes())
    record.write(workspace.paths.record(shard) if complete else workspace.paths.partial(shard, "record"))
    return complete


def _extent(plan: Plan, record: ShardRecord) -> tuple[int, int]:
    """Return the numbers of runs and columns of a shard."""
    return len(record.runs), len(common_columns(plan.family, record.rows))


def _check_agreement(shard: ShardPlan, first: tuple[Part, ShardRecord], second: tuple[Part, ShardRecord]) -> None:
    """Raise MergeError unless the runs that both parts have are equal, row by row and byte by byte.

    The second part has at most as many runs as the first.
    """
    (large, large_record), (small, small_record) = first, second
    problem = f"{shard} differs in {large.directory} and {small.directory}"
    if large_record.runs[: len(small_record.runs)] != small_record.runs:
        raise MergeError(f"{problem}: it has different runs. Nothing was merged; leave one of the directories out.")
    columns = common_columns(large.plan.family, [*large_record.rows, *small_record.rows])
    schema = index_schema(columns)  # compared as in the index: numbers in records have more digits
    large_rows, small_rows = (pa.Table.from_pylist(r.rows, schema=schema) for r in (large_record, small_record))
    if not large_rows[: len(small_rows)].equals(small_rows):
        raise MergeError(f"{problem}: labels of the same runs differ. {_remedy(large_record, small_record)}")
    for kind in KINDS:
        large_tensors, small_tensors = (map_tensors(part.file(shard, kind)) for part in (large, small))
        for name, tensor in small_tensors.items():
            if not np.array_equal(large_tensors[name][: len(tensor)].view(np.uint8), tensor.view(np.uint8)):
                raise MergeError(f"{problem}: {name} of the same runs differs. {_remedy(large_record, small_record)}")


def _remedy(first: ShardRecord, second: ShardRecord) -> str:
    return (
        f"They were made by {first.made} and {second.made}. A zoo can hold only one of them: delete the record and the "
        "files of the other, or leave its directory out; `rnn-zoos verify` shows which can be reproduced here."
    )


def _describe_missing(plan: Plan, missing: Sequence[ShardPlan], out: Path) -> list[str]:
    names = ", ".join(shard.name for shard in missing[:_MAX_NAMED]) + (", ..." if len(missing) > _MAX_NAMED else "")
    return [
        f"{out} is unfinished: {len(missing)} of {len(plan.shards)} shards are in none of the directories: {names}.",
        "Merge again with the parts that contain them, or make them: rnn-zoos generate "
        f"{plan.zoo} --preset {plan.preset} --runs {plan.settings.runs} --seed {plan.settings.seed} --out {out}",
    ]
