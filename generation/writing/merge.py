"""Merging: parts of one plan that were generated on other machines or at other times become one zoo."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rnn_zoos.errors import FormatError, MergeError, PlanMismatchError, shortened
from rnn_zoos.format.columns import relabel_hint
from rnn_zoos.format.files import check_bytes
from rnn_zoos.format.hashed_json import read_hashed_json
from rnn_zoos.format.hashing import copy_checked
from rnn_zoos.format.index import index_schema
from rnn_zoos.format.manifest import read_manifest, shard_path
from rnn_zoos.format.tensors import map_tensors
from rnn_zoos.generation.plan import Plan, digits_source, plan_of_zoo, rebuild_plan
from rnn_zoos.generation.presets import preset_names
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.writing.directory import OutputPaths, locked
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.records import KINDS, ShardRecord, common_columns, read_record
from rnn_zoos.generation.writing.reopening import FinishedShards
from rnn_zoos.generation.writing.seals import modified_at
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.threads import map_in_threads

_REMEDY = "Generate it again, or leave this directory out."
_MAX_NAMED = 5  # missing shards that are named


@dataclass(frozen=True)
class MergeSource:
    """A directory with some shards of a plan.

    Attributes:
        directory: the directory.
        plan: its plan, which may have fewer runs than that of the merged zoo.
        names: the names of the shards that it has.
        record: returns the record of a shard, given by its name; raises IntegrityError if it is damaged.
    """

    directory: Path
    plan: Plan
    names: Collection[str]
    record: Callable[[str], ShardRecord]

    def file(self, shard: ShardPlan, kind: str) -> Path:
        """Return the path of a shard's file in this directory, whose plan may have another number of shards."""
        count = self.plan.shards.counts[shard.split]
        return self.directory / shard_path(kind, shard.split, shard.number, count)


def merge(directories: Sequence[str | Path], out: str | Path, mnist: str | None = None) -> list[str]:
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
        MergeError: two directories have different bytes of the same run, also `out` and another one; or `out` is among
            the given directories.
        IntegrityError: a file is damaged.
        StorageError: a file cannot be read or written.
        FormatError: a directory is neither a zoo nor a part of one, or has labels that this version does not know.
        BusyError: another process is writing to `out`.

    Example:
        >>> from rnn_zoos.generation import merge
        >>> lines = merge(["zoos/formal-languages"], "merged")
    """
    if not directories:
        raise FormatError("There is no directory to be merged. Give the zoos, or parts of a zoo, to be joined.")
    out, given = Path(out), [Path(directory) for directory in directories]
    own = out.resolve()
    if own in [directory.resolve() for directory in given]:
        raise MergeError(
            f"{out} is one of the directories to be merged, which are not changed. Merge into another directory."
        )
    parts = [_read_part(directory, mnist) for directory in given]
    plan = max((part.plan for part in parts), key=lambda plan: plan.settings.runs)
    _check_same_plan(parts, plan)
    workspace = Workspace(out, plan)
    workspace.check_directory()
    with locked(out):
        pending = workspace.begin_or_resume()
        pending_names = {shard.name for shard in pending or []}
        _check_kept([shard for shard in plan.shards if shard.name not in pending_names], _read_part(out, mnist), parts)
        missing = _copy_shards(workspace, pending or [], parts)
        if missing:
            return _describe_missing(plan, missing, out)
        manifest = read_manifest(out) if pending is None else finish(workspace)
    rows = sum(split["rows"] for split in manifest.splits.values())
    lines = [f"{out}: {manifest.runs} runs, {rows} snapshots, merged from {len(parts)} directories."]
    return lines + relabel_hint(out, manifest, plan.family)


def _read_part(directory: Path, mnist: str | None) -> MergeSource:
    paths = OutputPaths(directory)
    if paths.plan.is_file():
        stored = read_hashed_json(paths.plan, "Run the `rnn-zoos generate` that started it again.")
        if stored.get("store"):
            raise FormatError(f"The shards of {directory} are in {stored['store']}; merge needs them in the directory.")
        records = {path.stem: path for path in paths.existing_records()}
        plan = rebuild_plan(stored, mnist=mnist)
        return MergeSource(directory, plan, records.keys(), lambda name: read_record(records[name]))
    if not paths.manifest.is_file():
        raise FormatError(
            f"{directory} is neither a zoo nor a part of one. Expected an --out directory of `rnn-zoos generate`."
        )
    manifest = read_manifest(directory)
    plan = plan_of_zoo(manifest, mnist=mnist)
    finished = FinishedShards.of_zoo(directory, manifest, plan)
    return MergeSource(directory, plan, finished.shards.keys(), finished.record)


def _check_same_plan(parts: Sequence[MergeSource], plan: Plan) -> None:
    """Raise PlanMismatchError unless all parts have the settings of a plan, except the number of runs."""
    expected, lines = _identity(plan), []
    largest = next(part for part in parts if part.plan is plan)
    for part in parts:
        own = _identity(part.plan)
        for key in dict.fromkeys([*own, *expected]):  # settings that version 0.1 did not have may be absent
            found, wanted = own.get(key), expected.get(key)
            if found != wanted:
                lines.append(f"  {key}: {found!r} in {part.directory}, {wanted!r} in {largest.directory}")
    if lines:
        raise PlanMismatchError(
            "The directories have different plans; nothing was written:\n" + "\n".join(lines) + "\nGive directories "
            "that were generated with the same settings."
        )


def _identity(plan: Plan) -> dict[str, Any]:
    return {"preset": plan.preset, **{key: value for key, value in plan.identity().items() if key != "runs"}}


def _check_kept(shards: Sequence[ShardPlan], kept: MergeSource, parts: Sequence[MergeSource]) -> None:
    """Raise MergeError unless shards that an earlier merge wrote agree with those of the parts."""
    for shard in shards:
        for part in parts:
            if shard.name in part.names:
                both = [(source, source.record(shard.name)) for source in (kept, part)]
                for kind in _different_files(both[0][1], both[1][1]):  # those of `kept` have been checked
                    check_bytes(part.file(shard, kind), both[1][1].files[kind], _REMEDY)
                _check_agreement(shard, *sorted(both, key=_extent, reverse=True))


def _copy_shards(workspace: Workspace, shards: Sequence[ShardPlan], parts: Sequence[MergeSource]) -> list[ShardPlan]:
    """Copy shards into the workspace, several at a time, and return those that no part has completely."""
    plan = workspace.plan
    size = 4 * max(architecture.num_parameters for architecture in plan.architectures) * len(plan.settings.snapshots)
    complete = map_in_threads(
        lambda shard: _copy_shard(workspace, shard, parts), shards, "merging", lambda shard: size * len(shard.table)
    )
    return [shard for shard, whole in zip(shards, complete, strict=True) if not whole]


def _copy_shard(workspace: Workspace, shard: ShardPlan, parts: Sequence[MergeSource]) -> bool:
    """Copy a shard from the part that has most of its runs, then labels; return whether it has all of the runs.

    Raises MergeError unless all parts that have the shard agree.
    """
    holders = [(part, part.record(shard.name)) for part in parts if shard.name in part.names]
    if not holders:
        return False
    holders.sort(key=_extent, reverse=True)
    if len(holders) > 1:  # the files of a single one are checked when they are copied
        for part, record in holders:
            for kind in KINDS:
                check_bytes(part.file(shard, kind), record.files[kind], _REMEDY)
    (largest, record), *others = holders
    for other in others:
        _check_agreement(shard, (largest, record), other)
    complete, modified = record.runs == shard.run_numbers, dict[str, int]()
    record_path = workspace.paths.record(shard) if complete else workspace.paths.partial(shard, "record")
    record_path.unlink(missing_ok=True)  # that of an earlier merge: its files are replaced one by one
    for kind in KINDS:
        target = workspace.directory / shard.path(kind) if complete else workspace.paths.partial(shard, kind)
        copy_checked(largest.file(shard, kind), record.files[kind], target, _REMEDY)
        modified[kind] = modified_at(target)
    replace(record, modified=modified).write(record_path)
    return complete


def _extent(holder: tuple[MergeSource, ShardRecord]) -> tuple[int, int]:
    """Return the numbers of runs and columns of a shard that a part has."""
    part, record = holder
    return len(record.runs), len(common_columns(part.plan, record.rows))


def _different_files(first: ShardRecord, second: ShardRecord) -> list[str]:
    """Return the kinds of files whose bytes differ."""
    return [kind for kind in KINDS if first.files[kind].sha256 != second.files[kind].sha256]


def _check_agreement(
    shard: ShardPlan, first: tuple[MergeSource, ShardRecord], second: tuple[MergeSource, ShardRecord]
) -> None:
    """Raise MergeError unless the runs that both parts have are equal, row by row and byte by byte.

    The second part has at most as many runs as the first.
    """
    (large, large_record), (small, small_record) = first, second
    problem = f"{shard} differs in {large.directory} and {small.directory}"
    if large_record.runs[: len(small_record.runs)] != small_record.runs:
        raise MergeError(f"{problem}: it has different runs. Leave one of the directories out.")
    columns = common_columns(large.plan, [*large_record.rows, *small_record.rows])
    schema = index_schema(columns)  # compared as in the index: numbers in records have more digits
    large_rows, small_rows = (pa.Table.from_pylist(r.rows, schema=schema) for r in (large_record, small_record))
    if not large_rows[: len(small_rows)].equals(small_rows):
        raise MergeError(f"{problem}: labels of the same runs differ. {_remedy(large_record, small_record)}")
    for kind in _different_files(large_record, small_record):
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
    names = shortened((shard.name for shard in missing), _MAX_NAMED)
    preset = plan.preset if plan.preset in preset_names() else f"{plan.preset}.yaml"
    digits = plan.digits()
    source = "" if digits is None else f" --mnist {digits_source(digits)}"
    return [
        f"{out} is unfinished: {len(missing)} of {len(plan.shards)} shards are in none of the directories: {names}.",
        "Merge again with the parts that contain them, or make them: rnn-zoos generate "
        f"{plan.zoo} --preset {preset} --runs {plan.settings.runs} --seed {plan.settings.seed} "
        f"--backend {plan.backend}{source} --out {out}",
    ]
