"""Does a directory conform to format 1? Bytes, shapes, rows and splits are compared with what the manifest promises."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from rnn_zoos.errors import FormatError, IntegrityError, ZooError
from rnn_zoos.files import DTYPES, Array, check_bytes, map_tensors
from rnn_zoos.index import index_schema, read_index
from rnn_zoos.manifest import DIGITS, MANIFEST, UNFINISHED, Manifest, index_path, read_manifest
from rnn_zoos.registry import task_family
from rnn_zoos.tasks import SPLITS, TaskFamily

_NOT_LISTED = (MANIFEST, "README.md", ".lock", ".gitattributes")
_NOT_LISTED_FOLDERS = ("data", "figures", ".git")
_FRACTIONS = ("accuracy", "test_accuracy", "count_accuracy", "finished")


def check_zoo(directory: Path) -> list[str]:
    """Return all findings, one line each; an empty list means that the zoo conforms.

    A file with the wrong bytes is reported once and not looked into. Raises FormatError if there is no manifest to
    compare with.
    """
    manifest = read_manifest(directory)
    family = task_family(manifest.zoo)
    findings = list(_check_files(directory, manifest))
    damaged = {path for path, finding in findings if finding}
    lines = [finding for _, finding in findings]
    lines += _check_manifest(manifest, family)
    tables: dict[str, pa.Table] = {}
    for split in SPLITS:
        if index_path(split) in manifest.files and index_path(split) not in damaged:
            tables[split] = read_index(directory / index_path(split))
    rows = [row for split, table in tables.items() for row in _rows(split, table, family, lines)]
    lines += _check_rows(rows, manifest, family)
    for split in tables:
        if tables[split].num_rows != manifest.splits[split]["rows"]:
            counted = manifest.splits[split]["rows"]
            lines.append(
                f"{MANIFEST} counts {counted} rows of {split}; {index_path(split)} has {tables[split].num_rows}."
            )
        lines += _check_tensors(directory, manifest, split, [row for row in rows if row["file"] == split], damaged)
    return lines


def _check_files(directory: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield (path, finding): files that are missing, changed, or not listed."""
    if (directory / UNFINISHED).exists():
        yield UNFINISHED, f"{UNFINISHED}/ is left over: run the same `rnn-zoos generate` again to finish the zoo."
    for path, entry in manifest.files.items():
        try:
            check_bytes(directory / path, entry, "Its contents were not looked at.")
        except IntegrityError as error:
            yield path, str(error)
    for file in sorted(directory.rglob("*")):
        path = file.relative_to(directory).as_posix()
        free = path in _NOT_LISTED or path.split("/")[0] in (*_NOT_LISTED_FOLDERS, UNFINISHED)
        if file.is_file() and not free and path not in manifest.files:
            yield path, f"{path} is not listed in {MANIFEST}."


def _check_manifest(manifest: Manifest, family: TaskFamily) -> Iterator[str]:
    """Yield what the manifest itself gets wrong: architecture, columns, splits, missing entries."""
    sizes = (manifest.architecture.input_size, manifest.architecture.output_size)
    if sizes != (family.input_size, family.output_size):
        yield f"{MANIFEST}: inputs and outputs {sizes}; {manifest.zoo} has {(family.input_size, family.output_size)}."
    if list(manifest.columns) != list(family.columns):
        yield f"{MANIFEST}: columns {list(manifest.columns)}; expected {list(family.columns)}."
    if list(manifest.splits) != list(SPLITS):
        yield f"{MANIFEST}: splits {list(manifest.splits)}; expected {list(SPLITS)}."
        return
    expected = {
        path
        for split in SPLITS
        if manifest.splits[split]["shards"]
        for path in (index_path(split), *manifest.paths("shards", split), *manifest.paths("rollouts", split))
    }
    if manifest.digits is not None:
        expected.add(DIGITS)
    for path in sorted(expected ^ manifest.files.keys()):
        yield f"{MANIFEST}: {path} is {'not listed' if path in expected else 'listed, but not part of the format'}."


def _rows(split: str, table: pa.Table, family: TaskFamily, lines: list[str]) -> list[dict[str, Any]]:
    """Return the rows of an index, each with the split of its `file`; report a wrong schema or order."""
    expected = index_schema(family.columns)
    if not table.schema.remove_metadata().equals(expected):
        lines.append(f"{index_path(split)}: schema {table.schema.names}; expected {expected.names} with their types.")
        return []
    rows: list[dict[str, Any]] = [{**row, "file": split} for row in table.to_pylist()]
    order = [(row["run"], row["step"]) for row in rows]
    if order != sorted(set(order)):
        lines.append(f"{index_path(split)}: rows are not sorted by run and step, each once.")
    return rows


def _check_rows(rows: list[dict[str, Any]], manifest: Manifest, family: TaskFamily) -> Iterator[str]:
    """Yield what the index says wrongly: splits, steps, labels, the places of runs."""
    splits_of_task, places_of_run, steps_of_run = defaultdict(set), defaultdict(set), defaultdict(list)
    diverged = {}
    for row in rows:
        splits_of_task[row["task"]].add(row["file"])
        places_of_run[row["run"]].add((row["file"], row["shard"]))
        steps_of_run[row["run"]].append(row["step"])
        diverged[row["run"]] = row["diverged"]
        yield from _check_row(row, manifest)
    for task, splits in splits_of_task.items():
        if len(splits) > 1:
            yield f"Task {task!r} is in several splits: {', '.join(sorted(splits))}."
    for run, places in places_of_run.items():
        if len(places) > 1:
            yield f"Run {run} is in several shards: {sorted(places)}."
        if not diverged[run] and steps_of_run[run] != manifest.snapshots:
            yield f"Run {run} has the steps {steps_of_run[run]}; expected {manifest.snapshots}."
    yield from _check_dealing(rows, manifest, family)


def _check_row(row: dict[str, Any], manifest: Manifest) -> Iterator[str]:
    where = f"Run {row['run']}, step {row['step']}"
    if row["split"] != row["file"]:
        yield f"{where}: split {row['split']!r} in {index_path(row['file'])}."
    if row["step"] not in manifest.snapshots:
        yield f"{where}: not a snapshot of this zoo ({manifest.snapshots})."
    for name, value in row.items():
        if isinstance(value, float) and not np.isfinite(value):
            yield f"{where}: {name} is {value}."
        elif name in _FRACTIONS and not 0 <= value <= 1:
            yield f"{where}: {name} is {value}; expected 0 to 1."


def _check_dealing(rows: list[dict[str, Any]], manifest: Manifest, family: TaskFamily) -> Iterator[str]:
    """Yield runs whose task or split is not what the seed and the fixed rule give them."""
    runs = torch.tensor(sorted({row["run"] for row in rows}), dtype=torch.int64)
    tasks = family.deal(manifest.seed, runs)
    names = {run: family.task_name(task) for run, task in zip(runs.tolist(), tasks.tolist(), strict=True)}
    splits = dict(zip(runs.tolist(), family.splits(tasks).tolist(), strict=True))
    for row in rows:
        if row["step"] == manifest.snapshots[0] and (row["task"], row["file"]) != (
            names[row["run"]],
            splits[row["run"]],
        ):
            yield (
                f"Run {row['run']}: task {row['task']!r} in {row['file']}; the seed and the fixed split give "
                f"{names[row['run']]!r} in {splits[row['run']]}."
            )


def _check_tensors(
    directory: Path, manifest: Manifest, split: str, rows: list[dict[str, Any]], damaged: set[str]
) -> Iterator[str]:
    """Yield what is wrong with the shards of a split: names, dtypes, shapes, numbers of rows, values."""
    parameters = {name: ("F32", shape) for name, shape in manifest.architecture.parameter_shapes.items()}
    numbers = _digit_numbers(directory, manifest, damaged)
    for kind, expected in (("shards", parameters), ("rollouts", dict(manifest.rollouts))):
        for shard, path in enumerate(manifest.paths(kind, split)):
            if path in damaged or path not in manifest.files:
                continue
            places = [row["row"] for row in rows if row["shard"] == shard]
            if places != list(range(manifest.files[path].rows)):
                yield f"{path} has {manifest.files[path].rows} rows; {index_path(split)} names the rows {places}."
            try:
                tensors = map_tensors(directory / path)
            except ZooError as error:
                yield str(error)
                continue
            yield from _check_shard(path, tensors, expected, manifest.files[path].rows)
            if numbers is not None and "images" in tensors and not np.isin(tensors["images"], numbers).all():
                yield f"{path} shows digits that are not in {DIGITS}."


def _check_shard(
    path: str, tensors: dict[str, Array], expected: dict[str, tuple[str, tuple[int, ...]]], rows: int
) -> Iterator[str]:
    if tensors.keys() != expected.keys():
        yield f"{path} has the tensors {sorted(tensors)}; expected {sorted(expected)}."
        return
    for name, (dtype, shape) in expected.items():
        tensor = tensors[name]
        if tensor.dtype != DTYPES[dtype] or tensor.shape != (rows, *shape):
            yield f"{path}: {name} is {tensor.dtype} {tensor.shape}; expected {dtype} {(rows, *shape)}."
        elif np.issubdtype(tensor.dtype, np.floating) and not np.isfinite(tensor).all():
            yield f"{path}: {name} has values that are not finite."


def _digit_numbers(directory: Path, manifest: Manifest, damaged: set[str]) -> npt.NDArray[np.int32] | None:
    if DIGITS not in manifest.files or DIGITS in damaged:
        return None
    try:
        return map_tensors(directory / DIGITS)["numbers"]
    except (FormatError, KeyError):
        return np.empty(0, np.int32)  # no digit can be found: reported for every shard that shows some
