"""Does a directory conform to format 1? Bytes, shapes, rows and splits are compared with what the manifest promises."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from rnn_zoos.errors import IntegrityError, ZooError
from rnn_zoos.families.family import SPLITS, Column, TaskFamily
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.files import Array, check_bytes, map_tensors, tensor_differences
from rnn_zoos.format.index import index_schema, read_index
from rnn_zoos.format.manifest import (
    CARD,
    DIGIT_TENSORS,
    DIGITS,
    MANIFEST,
    PRESET,
    PUBLISHED,
    UNFINISHED,
    Manifest,
    index_path,
    read_manifest,
)

_NOT_LISTED = (MANIFEST, CARD, PRESET, ".lock", ".gitattributes")
_NOT_LISTED_FOLDERS = ("data", "figures", PUBLISHED, ".git", ".cache")  # .cache: left by `hf download --local-dir`
_ROWS_AT_ONCE = 10_000
_FRACTIONS = ("accuracy", "test_accuracy", "count_accuracy", "finished", "original_accuracy")


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
    try:
        lines += _check_manifest(manifest, family)
    except (KeyError, TypeError, ZooError) as error:
        return [
            *lines,
            f"{MANIFEST}: the settings lack something or hold what cannot be ({type(error).__name__}: {error}).",
        ]
    tables: dict[str, pa.Table] = {}
    for split in SPLITS:
        if index_path(split) in manifest.files and index_path(split) not in damaged:
            tables[split] = read_index(directory / index_path(split))
    tables = {split: table for split, table in tables.items() if _has_columns(split, table, manifest, lines)}
    lines += _check_order(tables)
    lines += _check_rows(tables, manifest, family)
    digits = _digits(directory, manifest, damaged, lines)
    for split in tables:
        if tables[split].num_rows != manifest.splits[split]["rows"]:
            counted = manifest.splits[split]["rows"]
            lines.append(
                f"{MANIFEST} counts {counted} rows of {split}; {index_path(split)} has {tables[split].num_rows}."
            )
        lines += _check_tensors(directory, manifest, split, tables[split], damaged, digits)
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
    """Yield where the manifest contradicts itself or its family, or lists other files than the format has."""
    settings, architecture = dict(manifest.settings), manifest.architecture
    built = family.architecture(settings["cell"], settings["num_layers"], settings["hidden_size"])
    columns = {name: asdict(column) for name, column in _columns(manifest).items()}
    if manifest.imported is None:
        rollouts = family.rollout_shapes(family.evaluation_type(**settings["evaluation"]))
    else:
        rollouts = family.imported_rollout_shapes(settings["evaluation"]["rollouts"])
    for what, found, expected in (
        ("architecture", architecture, built),
        ("settings.seed", settings["seed"], manifest.seed),
        ("settings.runs", settings["runs"], manifest.runs),
        ("columns", dict(manifest.columns), columns),
        ("rollouts", dict(manifest.rollouts), rollouts),
        ("splits", list(manifest.splits), list(SPLITS)),
        ("runs of all splits", sum(counts["runs"] for counts in manifest.splits.values()), manifest.runs),
    ):
        if found != expected:
            yield f"{MANIFEST}: {what} is {found}; expected {expected}."
    expected_files = {
        path
        for split, counts in manifest.splits.items()
        if counts["shards"]
        for path in (index_path(split), *manifest.paths("shards", split), *manifest.paths("rollouts", split))
    }
    if manifest.digits is not None:
        expected_files.add(DIGITS)
    for path in sorted(expected_files ^ manifest.files.keys()):
        fault = "not listed" if path in expected_files else "listed, but no part of the format"
        yield f"{MANIFEST}: {path} is {fault}."


def _columns(manifest: Manifest) -> dict[str, Column]:
    family = task_family(manifest.zoo)
    return family.columns if manifest.imported is None else family.imported_columns


def _has_columns(split: str, table: pa.Table, manifest: Manifest, lines: list[str]) -> bool:
    """Tell whether an index has the columns that it should have; report it if not."""
    expected = index_schema(_columns(manifest))
    if table.schema.remove_metadata().equals(expected):
        return True
    lines.append(f"{index_path(split)}: schema {table.schema.names}; expected {expected.names} with their types.")
    return False


def _check_order(tables: Mapping[str, pa.Table]) -> Iterator[str]:
    for split, table in tables.items():
        runs, steps = (table[name].to_numpy().astype(np.int64) for name in ("run", "step"))
        later = (np.diff(runs) > 0) | ((np.diff(runs) == 0) & (np.diff(steps) > 0))
        if not later.all():
            yield f"{index_path(split)}: rows are not sorted by run and step, each once."


def _rows(tables: Mapping[str, pa.Table]) -> Iterator[dict[str, Any]]:
    """Yield all rows, each with the split of its `file`; few at a time, because a large zoo has millions."""
    for split, table in tables.items():
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            yield from ({**row, "file": split} for row in batch.to_pylist())


def _check_rows(tables: Mapping[str, pa.Table], manifest: Manifest, family: TaskFamily) -> Iterator[str]:
    """Yield what the index says wrongly: splits, steps, labels, the places of runs."""
    splits_of_task, places_of_run = defaultdict(set), defaultdict(set)
    steps_of_run: dict[int, tuple[int, ...]] = defaultdict(tuple)
    diverged = defaultdict(set)
    known: dict[tuple[int, ...], tuple[int, ...]] = {}  # nearly all runs have the same steps: kept once
    for row in _rows(tables):
        splits_of_task[row["task"]].add(row["file"])
        places_of_run[row["run"]].add((row["file"], row["shard"]))
        steps = (*steps_of_run[row["run"]], row["step"])
        steps_of_run[row["run"]] = known.setdefault(steps, steps)
        diverged[row["run"]].add(row["diverged"])
        yield from _check_row(row, manifest)
    for task, splits in splits_of_task.items():
        if len(splits) > 1:
            yield f"Task {task!r} is in several splits: {', '.join(sorted(splits))}."
    for run, places in places_of_run.items():
        if len(places) > 1:
            yield f"Run {run} is in several shards: {sorted(places)}."
        steps = steps_of_run[run]
        if diverged[run] != {list(steps) != manifest.snapshots}:
            flags = " and ".join(sorted(map(str, diverged[run])))
            yield f"Run {run} has the steps {list(steps)} of {manifest.snapshots}, and diverged is {flags}."
    if manifest.imported is None:
        yield from _check_dealing(tables, manifest, family)
    else:
        yield from _check_given(tables, family)


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
        elif name.endswith("loss") and value < 0:
            yield f"{where}: {name} is {value}; expected at least 0."
    if "generalization_gap" in row:
        gap = row["eval_loss"] - row["train_loss"]
        if abs(row["generalization_gap"] - gap) > 1e-5 * (1 + abs(row["eval_loss"])):
            yield f"{where}: generalization_gap is {row['generalization_gap']}; expected eval_loss - train_loss, {gap}."


def _check_dealing(tables: Mapping[str, pa.Table], manifest: Manifest, family: TaskFamily) -> Iterator[str]:
    """Yield runs whose task, split or weight decay is not what the seed and the fixed rules give them."""
    numbers = [table["run"].to_numpy() for table in tables.values()]
    runs = torch.from_numpy(np.unique(np.concatenate([np.zeros(0, np.int32), *numbers])).astype(np.int64))
    tasks = family.assign_tasks(manifest.seed, runs, manifest.settings.get("stratified_tasks", False))
    decays = family.draw_weight_decay(manifest.seed, runs, manifest.settings["weight_decay"])
    dealt = {
        run: {
            "task": family.task_name(task),
            **family.task_values(task),
            "file": split,
            "weight_decay": float(np.float32(decay)),
        }
        for run, task, split, decay in zip(runs.tolist(), tasks.tolist(), family.splits(tasks), decays, strict=True)
    }
    for row in _rows(tables):
        for name, expected in dealt[row["run"]].items():
            if row[name] != expected:
                what = "split" if name == "file" else name
                yield f"Run {row['run']}, step {row['step']}: {what} is {row[name]!r}; its seed gives it {expected!r}."


def _check_given(tables: Mapping[str, pa.Table], family: TaskFamily) -> Iterator[str]:
    """Yield rows of an imported zoo whose task's name or split is not what the task's own columns give."""
    for row in _rows(tables):
        where = f"Run {row['run']}, step {row['step']}"
        try:
            task = family.task_of(row)
        except ValueError as error:
            yield f"{where}: there is no such task ({error})."
            continue
        for name, expected in (("task", family.task_name(task)), ("split", family.splits(torch.tensor([task]))[0])):
            if row[name] != expected:
                yield f"{where}: {name} is {row[name]!r}; its task gives it {str(expected)!r}."


def _check_tensors(
    directory: Path,
    manifest: Manifest,
    split: str,
    table: pa.Table,
    damaged: set[str],
    digits: dict[str, Array] | None,
) -> Iterator[str]:
    """Yield what is wrong with the shards of a split: names, dtypes, shapes, numbers of rows, values."""
    family = task_family(manifest.zoo)
    shards, rows = (table[name].to_numpy() for name in ("shard", "row"))
    order = np.argsort(shards, kind="stable")
    starts = np.searchsorted(shards[order], np.arange(manifest.splits[split]["shards"] + 1))
    for kind in ("shards", "rollouts"):
        expected = manifest.tensors(kind)
        for shard, path in enumerate(manifest.paths(kind, split)):
            if path in damaged or path not in manifest.files:
                continue
            places = rows[order[starts[shard] : starts[shard + 1]]].tolist()
            if len(places) != manifest.files[path].rows or places != list(range(len(places))):
                yield f"{path} has {manifest.files[path].rows} rows; {index_path(split)} names the rows {places}."
            try:
                tensors = map_tensors(directory / path)
            except ZooError as error:
                yield str(error)
                continue
            wrong = [
                f"{path} {difference}."
                for difference in tensor_differences(tensors, expected, manifest.files[path].rows)
            ]
            if not wrong:
                wrong = [f"{path}: {name} has values that are not finite." for name in _not_finite(tensors)]
            yield from wrong
            if kind == "rollouts" and not wrong:
                yield from (f"{path}: {finding}." for finding in family.check_rollouts(tensors))
                if digits is not None:
                    yield from _check_shown(path, tensors, digits)


def _not_finite(tensors: dict[str, Array]) -> Iterator[str]:
    """Yield the names of tensors that hold NaN or infinity."""
    for name, tensor in tensors.items():
        if np.issubdtype(tensor.dtype, np.floating) and not np.isfinite(tensor).all():
            yield name


def _digits(directory: Path, manifest: Manifest, damaged: set[str], lines: list[str]) -> dict[str, Array] | None:
    """Return the digits of a zoo, None if there are none to compare with; report wrong tensors, shapes, order."""
    if DIGITS not in manifest.files or DIGITS in damaged:
        return None
    digits = map_tensors(directory / DIGITS)
    rows = manifest.files[DIGITS].rows
    wrong = [f"{DIGITS} {difference}." for difference in tensor_differences(digits, DIGIT_TENSORS, rows)]
    if not wrong and (np.diff(digits["numbers"]) <= 0).any():
        wrong = [f"{DIGITS}: numbers are not ascending."]
    lines += wrong
    return None if wrong else digits


def _check_shown(path: str, rollouts: dict[str, Array], digits: dict[str, Array]) -> Iterator[str]:
    if not np.isin(rollouts["images"], digits["numbers"]).all():
        yield f"{path} shows digits that are not in {DIGITS}."
    elif (digits["labels"][np.searchsorted(digits["numbers"], rollouts["images"])] != rollouts["labels"]).any():
        yield f"{path}: labels are not those of the digits that are shown."
