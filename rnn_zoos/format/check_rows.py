"""The check of the index rows: their order, their values, and the task, split and labels of every run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from rnn_zoos.errors import shortened
from rnn_zoos.families.columns import architecture_values
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.labels import is_fraction
from rnn_zoos.families.run_labels import ACCURACY, run_labels
from rnn_zoos.families.run_table import Table, run_table, varied_values
from rnn_zoos.format.columns import known_columns
from rnn_zoos.format.manifest import MANIFEST, Manifest, index_path

_ROWS_AT_ONCE = 10_000
_MAX_RUNS_PER_ROW = 1000
_ROUNDED = {"weight_decay", "learning_rate", "initial_scale"}  # columns of type float32
_GAP = {"generalization_gap", "eval_loss", "train_loss"}  # the first is the difference of the others
_SHOWN_RUNS = 10  # in a finding about runs without rows
_LARGEST_SCALE = 1000  # of initial weights with which no label was ever infinite: such runs have a row of step 0


def check_order(tables: Mapping[str, pa.Table]) -> Iterator[str]:
    """Yield a finding per index whose rows are not strictly ascending by run and step."""
    for split, table in tables.items():
        runs, steps = (table[name].to_numpy().astype(np.int64) for name in ("run", "step"))
        ascending = (np.diff(runs) > 0) | ((np.diff(runs) == 0) & (np.diff(steps) > 0))
        if not ascending.all():
            yield f"{index_path(split)}: the rows are not sorted by run and step, or a run and step occurs twice."


def check_rows(tables: Mapping[str, pa.Table], manifest: Manifest, family: TaskFamily) -> Iterator[str]:
    """Yield findings about single rows, about tasks and runs, their labels, and the assignment of tasks to runs.

    Args:
        tables: Split -> index with the columns of the manifest, which have no findings.
        manifest: The zoo's manifest.
        family: Its task family.
    """
    runs = _Runs()
    labels = known_columns(manifest, family).keys() & manifest.columns.keys()
    fractions = {name for name in labels if is_fraction(family, name)}
    losses = {name for name in labels if name.endswith("loss")}
    for row in _rows(tables):
        runs.add(row)
        yield from _check_place(row, manifest)
        yield from _check_labels(row, fractions, losses)
    yield from runs.findings(manifest)
    yield from _check_run_labels(tables, labels & family.run_labels.keys())
    numbers = _runs_of(tables.values())
    if len(numbers) and not 0 <= numbers[0] <= numbers[-1] < manifest.runs:
        yield f"The index has the runs {numbers[0]} to {numbers[-1]}; expected numbers of the {manifest.runs} runs."
    elif manifest.imported is None:
        yield from _check_assignment(tables, manifest, family)
    if manifest.imported is not None:
        yield from _check_imported_tasks(tables, family)
        yield from _check_imported_counts(tables, manifest)


def _rows(tables: Mapping[str, pa.Table]) -> Iterator[dict[str, Any]]:
    """Yield the rows of all indexes, each with the split of its index as `file`.

    Only some rows are in memory as dicts at a time, because a large zoo has millions.
    """
    for split, table in tables.items():
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            yield from ({**row, "file": split} for row in batch.to_pylist())


def _name(row: Mapping[str, Any]) -> str:
    return f"Run {row['run']}, step {row['step']}"


class _Runs:
    """What the rows of all indexes say about each task and each run, collected in one pass."""

    def __init__(self) -> None:
        self._splits: dict[str, set[str]] = defaultdict(set)  # of a task
        self._places: dict[int, set[tuple[str, int]]] = defaultdict(set)  # split and shard of a run
        self._steps: dict[int, tuple[int, ...]] = defaultdict(tuple)
        self._diverged: dict[int, set[bool]] = defaultdict(set)
        self._lengths: dict[int, int] = {}  # numbers of updates, where runs draw them
        self._shared: dict[tuple[int, ...], tuple[int, ...]] = {}  # nearly all runs have the same steps: stored once

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        run = row["run"]
        self._splits[row["task"]].add(row["file"])
        self._places[run].add((row["file"], row["shard"]))
        steps = (*self._steps[run], row["step"])
        self._steps[run] = self._shared.setdefault(steps, steps)
        self._diverged[run].add(row["diverged"])
        if "num_updates" in row:
            self._lengths[run] = row["num_updates"]

    def findings(self, manifest: Manifest) -> Iterator[str]:
        """Yield tasks in several splits, runs in several shards, and runs whose steps contradict `diverged`."""
        for task, splits in self._splits.items():
            if len(splits) > 1:
                yield f"Task {task!r} is in several splits: {', '.join(sorted(splits))}."
        for run, places in self._places.items():
            if len(places) > 1:
                yield f"Run {run} is in several shards: {sorted(places)}."
            steps, last = list(self._steps[run]), self._lengths.get(run, manifest.snapshots[-1])
            planned = [step for step in manifest.snapshots if step <= last]
            if self._diverged[run] != {steps != planned}:
                flags = " and ".join(sorted(map(str, self._diverged[run])))
                yield (
                    f"Run {run}: diverged is {flags}, with snapshots at the steps {steps}; "
                    f"it has to be True if and only if some of {planned} are missing."
                )


def _check_place(row: Mapping[str, Any], manifest: Manifest) -> Iterator[str]:
    """Yield findings about the split, step and shard of one row."""
    where = _name(row)
    of_shards, count = manifest.shard_architectures, manifest.splits[row["file"]]["shards"]
    if not 0 <= row["shard"] < count:
        yield f"{where}: shard is {row['shard']}; {row['file']} has {count} shards, numbered from 0."
    elif of_shards is not None:
        held = manifest.architecture_of(row["file"], row["shard"]).name
        if row["architecture"] != held:
            yield f"{where}: architecture is {row['architecture']!r}; its shard holds networks of {held!r}."
    if row["split"] != row["file"]:
        yield f"{where}: split is {row['split']!r} in {index_path(row['file'])}."
    if row["step"] not in manifest.snapshots:
        yield f"{where}: the zoo has no snapshots at this step, only at {manifest.snapshots}."


def _check_labels(row: Mapping[str, Any], fractions: set[str], losses: set[str]) -> Iterator[str]:
    """Yield findings about the labels of one row; of labels that are not known only whether they are finite."""
    where = _name(row)
    for name, value in row.items():
        if isinstance(value, float) and not np.isfinite(value):
            yield f"{where}: {name} is {value}; expected a finite number."
        elif name in fractions and not 0 <= value <= 1:
            yield f"{where}: {name} is {value}; expected 0 to 1."
        elif name in losses and value < 0:
            yield f"{where}: {name} is {value}; expected at least 0."
    if row.keys() >= _GAP:
        gap = row["eval_loss"] - row["train_loss"]
        if abs(row["generalization_gap"] - gap) > 1e-5 * (1 + abs(row["eval_loss"])):
            yield f"{where}: generalization_gap is {row['generalization_gap']}; expected eval_loss - train_loss, {gap}."


def _check_run_labels(tables: Mapping[str, pa.Table], labels: Collection[str]) -> Iterator[str]:
    """Yield rows whose labels of runs do not follow from the accuracies of their run, if the zoo has accuracies."""
    for table in (table for table in tables.values() if ACCURACY in table.column_names):
        runs, steps, accuracies = (table[name].to_numpy() for name in ("run", "step", ACCURACY))
        expected = run_labels(runs, steps, accuracies)
        for name in sorted(labels):
            found = table[name].to_numpy()
            for row in np.flatnonzero(found != expected[name]):
                where = _name({"run": runs[row], "step": steps[row]})
                yield f"{where}: {name} is {found[row]}; expected {expected[name][row]}, by the accuracies of the run."


def _check_assignment(tables: Mapping[str, pa.Table], manifest: Manifest, family: TaskFamily) -> Iterator[str]:
    """Yield rows and runs that are not as the seed assigns them: task, split, architecture or hyperparameters."""
    num_rows = sum(len(table) for table in tables.values())
    if manifest.runs > _MAX_RUNS_PER_ROW * (1 + num_rows):
        yield f"The zoo has {manifest.runs} runs, far more than the {num_rows} rows read; assignment was not checked."
        return
    settings = {**manifest.settings, "seed": manifest.seed, "runs": manifest.runs}
    table = run_table(family, settings)
    splits = family.splits(torch.from_numpy(table["task"].copy()))
    for split, counts in manifest.splits.items():
        if counts["runs"] != (expected := int((splits == split).sum())):
            yield f"{MANIFEST} counts {counts['runs']} runs of {split}; seed {manifest.seed} assigns {expected}."
    present = _runs_of(tables.values())
    read = [split for split, counts in manifest.splits.items() if split in tables or not counts["shards"]]
    missing = ~np.isin(table["run"], present) & np.isin(splits, read)
    yield from _check_missing_runs(table[missing], manifest)
    assigned = _assigned_values(table[present], splits[present], manifest, family)
    for row in _rows(tables):
        for name, expected in assigned[row["run"]].items():
            if row[name] != expected:
                column = "split" if name == "file" else name
                yield f"{_name(row)}: {column} is {row[name]!r}; seed {manifest.seed} assigns {expected!r}."


def _check_missing_runs(missing: Table, manifest: Manifest) -> Iterator[str]:
    """Yield a finding if runs without rows, records of the table of runs, ought to have a row of step 0.

    A run that diverged before its first snapshot has no rows, but the initial weights are finite.
    """
    numbers = missing["run"][missing["initial_scale"] <= _LARGEST_SCALE].tolist()
    if numbers and 0 in manifest.snapshots:
        shown = shortened(numbers, _SHOWN_RUNS)
        yield f"{len(numbers)} of {manifest.runs} runs have no rows: {shown}; expected that of step 0 of every run."


def _runs_of(tables: Iterable[pa.Table]) -> npt.NDArray[np.int64]:
    """Return the different numbers of the runs that have rows, ascending."""
    numbers = [table["run"].to_numpy() for table in tables]
    return np.unique(np.concatenate([np.zeros(0, np.int32), *numbers])).astype(np.int64)


def _assigned_values(
    table: Table, splits: npt.NDArray[np.str_], manifest: Manifest, family: TaskFamily
) -> dict[int, dict[str, Any]]:
    """Return run -> task, task columns, split (as `file`), architecture and hyperparameters that follow from the seed.

    Args:
        table: Records of the runs.
        splits: The split of each.
        manifest: The zoo's manifest.
        family: Its task family.
    """
    mixed = manifest.shard_architectures is not None
    assigned = {}
    for record, split in zip(table, splits, strict=True):
        task, architecture = int(record["task"]), manifest.architectures[record["architecture"]]
        values = {
            "task": family.task_name(task),
            **family.task_values(task),
            "file": str(split),
            **(architecture_values(architecture) if mixed else {}),
            "weight_decay": float(record["weight_decay"]),
            **varied_values(manifest.settings, record),
        }
        assigned[int(record["run"])] = {
            name: float(np.float32(value)) if name in _ROUNDED else value for name, value in values.items()
        }
    return assigned


def _check_imported_tasks(tables: Mapping[str, pa.Table], family: TaskFamily) -> Iterator[str]:
    """Yield rows of an imported zoo whose task name or split differs from what their task columns determine."""
    for row in _rows(tables):
        try:
            task = family.task_of(row)
        except ValueError as error:
            yield f"{_name(row)}: the task columns do not describe a task of {family.name} ({error})."
            continue
        expected = {"task": family.task_name(task), "split": str(family.splits(torch.tensor([task]))[0])}
        for name, value in expected.items():
            if row[name] != value:
                yield f"{_name(row)}: {name} is {row[name]!r}; its task columns determine {value!r}."


def _check_imported_counts(tables: Mapping[str, pa.Table], manifest: Manifest) -> Iterator[str]:
    """Yield splits of an imported zoo that have more runs than the manifest counts; fewer, if some diverged at once."""
    for split, table in tables.items():
        found, counted = len(_runs_of([table])), manifest.splits[split]["runs"]
        if found > counted:
            yield f"{MANIFEST} counts {counted} runs of {split}; {index_path(split)} has {found}."
