"""`import_paper`: convert the .npy files that the paper's authors released into a finished zoo of format 1.

The files are described in `rnn_zoos.loaders.paper.layout`. Labels, repairs and checks of single snapshots are in
`rnn_zoos.loaders.paper.snapshots`; this module numbers the runs, assigns splits and writes the zoo.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from rnn_zoos import __version__
from rnn_zoos.families.family import SPLITS, TaskFamily
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.files import Array, FileEntry, new_directory
from rnn_zoos.format.index import index_schema, write_index
from rnn_zoos.format.manifest import FORMAT, Manifest, index_path, shard_path
from rnn_zoos.format.tensors import DTYPES, write_tensors
from rnn_zoos.loaders.paper.layout import Part, SourceRun, common_steps, open_parts
from rnn_zoos.loaders.paper.snapshots import ImportedSnapshot, language_weight_decay, read_run

RUNS_PER_SHARD = 20


# These texts are keys of `Manifest.imported["counts"]`, stored in zoo.json: do not reword them.
_REPAIRED = "sequences of networks that did not finish began with EOS; BOS, which the network had read, was put back"
_DIVERGED = "runs are not finite from some snapshot on; their earlier snapshots are kept"
_UNFINISHED = "runs lack snapshots that the others have, and were left out"


@dataclass(frozen=True)
class _Run:
    """A run of the new zoo: where it is in its part, and its number, task and split.

    `part_row` is the row of the part's first snapshot when all parts are counted one after the other.
    """

    number: int
    part: Part
    source: SourceRun
    task: int
    split: str
    part_row: int


def import_paper(source: str | Path, out: str | Path) -> Manifest:
    """Convert the .npy files of the paper's authors into a finished zoo in a new directory.

    Runs are renumbered over all parts, in order, since every part of the paper's data counts from 0; the columns
    `original_run` and `original_row` locate them in the source. `step` is the number of updates done, as in every zoo:
    one more than the step of the source, which is `original_step`. Splits are assigned by task, as in every zoo.

    Repairs and omissions are counted in `Manifest.imported`, and `findings` lists them:

    - sequences that begin with EOS because the paper's code overwrote their BOS get BOS back;
    - a run whose weights, outputs or labels become non-finite keeps its earlier snapshots and is flagged `diverged`;
    - a run that lacks snapshots for any other reason is left out.

    Args:
        source: directory with the .npy files, or with subfolders that hold parts of one zoo.
        out: new directory for the zoo.

    Returns:
        The manifest of the new zoo.

    Raises:
        FormatError: if the files do not have the expected layout or hold impossible values.
        StorageError: if `out` is not new or cannot be written. After an error nothing is left behind.

    Example:
        >>> from rnn_zoos.loaders import export_paper, import_paper
        >>> summary = export_paper("zoos/formal-languages", "npy-files")
        >>> manifest = import_paper("npy-files", "zoos/imported-languages")
    """
    started = monotonic()
    parts = open_parts(Path(source))
    family = task_family(parts[0].zoo)
    runs, steps, counts = _runs(parts, family)
    files: dict[str, FileEntry] = {}
    splits = {}
    with new_directory(Path(out)) as directory:
        for split in SPLITS:
            split_runs = [run for run in runs if run.split == split]
            split_files, splits[split] = _write_split(directory, split, split_runs, family, counts)
            files |= split_files
        manifest = Manifest(
            zoo=family.name,
            preset="imported",
            settings=_settings(parts, len(runs), steps),
            seed=0,
            runs=len(runs),
            architectures=(parts[0].architecture,),
            rollouts=family.imported_rollout_shapes(parts[0].num_rollouts),
            columns={name: asdict(column) for name, column in family.imported_columns.items()},
            splits=splits,
            digits=None,
            made=_made(monotonic() - started),
            files=files,
            imported=_imported(parts, counts),
        )
        manifest.write(directory)
    return manifest


def findings(manifest: Manifest) -> list[str]:
    """Return what an import repaired or left out, one line per kind."""
    counts = (manifest.imported or {}).get("counts", {})
    return [f"{count:,} {text}" for text, count in counts.items() if count]


def _runs(parts: list[Part], family: TaskFamily) -> tuple[list[_Run], tuple[int, ...], Counter[str]]:
    """Return the complete runs of all parts, numbered; the updates done at their snapshots; and the counts so far."""
    found = [(part, run) for part in parts for run in part.runs()]
    steps = common_steps([run for _, run in found])
    kept = [(part, run) for part, run in found if run.steps == steps]
    tasks = [family.task_of(_task_values(part, run.first)) for part, run in kept]
    splits = family.splits(torch.tensor(tasks))
    before = {id(part): sum(p.num_rows for p in parts[:number]) for number, part in enumerate(parts)}
    runs = [
        _Run(number, part, run, task, str(split), before[id(part)])
        for number, ((part, run), task, split) in enumerate(zip(kept, tasks, splits, strict=True))
    ]
    updates = tuple(step + parts[0].updates_at_step_0 for step in steps)
    return runs, updates, Counter({_REPAIRED: 0, _DIVERGED: 0, _UNFINISHED: len(found) - len(kept)})


def _task_values(part: Part, row: int) -> dict[str, Any]:
    """Return the task columns of a row: m_b, m_c and m_d, or the angle in full precision."""
    task = part.arrays["tasks"][row].tolist()
    if part.zoo == FormalLanguages.name:
        return dict(zip(("m_b", "m_c", "m_d"), task[1:], strict=True))
    return {"angle": task[0]}


def _write_split(
    directory: Path, split: str, runs: list[_Run], family: TaskFamily, counts: Counter[str]
) -> tuple[dict[str, FileEntry], dict[str, int]]:
    """Write the shards, rollouts and index of a split; return the entries of its files, and its manifest entry."""
    files = {}
    shards = [runs[start : start + RUNS_PER_SHARD] for start in range(0, len(runs), RUNS_PER_SHARD)]
    rows: list[dict[str, Any]] = []
    for number, shard in enumerate(shards):
        shard_rows, tensors = _shard(shard, family, counts)
        rows += [{**row, "shard": number, "row": position} for position, row in enumerate(shard_rows)]
        about = {"format": FORMAT, "zoo": family.name, "split": split, "runs": [run.number for run in shard]}
        for kind in tensors:
            path = shard_path(kind, split, number, len(shards))
            files[path] = write_tensors(directory / path, tensors[kind], about)
    if shards:
        schema = index_schema(family.imported_columns)
        table = pa.Table.from_pylist(rows, schema=schema)
        files[index_path(split)] = write_index(directory / index_path(split), [table], schema)
    return files, {"runs": len(runs), "rows": len(rows), "shards": len(shards)}


def _shard(
    runs: list[_Run], family: TaskFamily, counts: Counter[str]
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Array]]]:
    """Return the index rows of a shard (without `shard` and `row`), and its tensors by kind: shards and rollouts."""
    rows: list[dict[str, Any]] = []
    snapshots: list[ImportedSnapshot] = []
    for run in runs:
        kept, num_repaired = read_run(run.part, run.source, run.task)
        diverged = len(kept) < len(run.source.steps)
        counts.update({_REPAIRED: num_repaired, _DIVERGED: int(diverged)})
        snapshots += kept
        rows += [_index_row(run, position, snapshot, family, diverged) for position, snapshot in enumerate(kept)]
    part = runs[0].part
    shapes = family.imported_rollout_shapes(part.num_rollouts)
    weights = {name: (np.float32, shape) for name, shape in part.architecture.parameter_shapes.items()}
    rollouts = {name: (DTYPES[dtype], shape) for name, (dtype, shape) in shapes.items()}
    return rows, {
        "shards": _batch([snapshot.weights for snapshot in snapshots], weights),
        "rollouts": _batch([snapshot.rollouts for snapshot in snapshots], rollouts),
    }


def _index_row(
    run: _Run, position: int, snapshot: ImportedSnapshot, family: TaskFamily, diverged: bool
) -> dict[str, Any]:
    """Return the index row of the snapshot at a position of its run, without `shard` and `row`."""
    row, step = run.source.first + position, run.source.steps[position]
    return {
        "run": run.number,
        "step": step + run.part.updates_at_step_0,
        "split": run.split,
        "task": family.task_name(run.task),
        "diverged": diverged,
        **_task_values(run.part, row),
        **snapshot.labels,
        "original_run": run.source.original_run,
        "original_row": run.part_row + row,
        "original_step": step,
    }


def _batch(snapshots: list[Mapping[str, Array]], types: Mapping[str, tuple[Any, tuple[int, ...]]]) -> dict[str, Array]:
    """Copy the tensors of snapshots into arrays name -> [rows, ...]; dtypes and shapes hold for 0 rows, too."""
    arrays = {name: np.empty((len(snapshots), *shape), dtype) for name, (dtype, shape) in types.items()}
    for name, array in arrays.items():
        for position, snapshot in enumerate(snapshots):
            array[position] = snapshot[name]
    return arrays


def _settings(parts: list[Part], runs: int, updates: tuple[int, ...]) -> dict[str, Any]:
    """Return what the source tells about how the zoo was made, under the keys of a preset."""
    part, sizes = parts[0], {"rollouts": parts[0].num_rollouts}
    if part.zoo == FormalLanguages.name:
        decays = {language_weight_decay(part) for part in parts}
        sizes["strings"] = part.num_rollouts
    else:
        decays = {decay for part in parts for decay in part.arrays["accuracy_losses"][:, 3].tolist()}
    return {
        "seed": 0,
        "runs": runs,
        "runs_per_shard": RUNS_PER_SHARD,
        "cell": part.architecture.cell,
        "num_layers": part.architecture.num_layers,
        "hidden_size": part.architecture.hidden_size,
        "snapshots": list(updates),
        "weight_decay": sorted(decays),
        "evaluation": sizes,
    }


def _imported(parts: list[Part], counts: Counter[str]) -> dict[str, Any]:
    """Return `Manifest.imported`: what was read, and how often something was repaired or left out."""
    return {
        "layout": "paper",
        "parts": [{"name": p.directory.name, "rows": p.num_rows, "arguments": dict(p.arguments)} for p in parts],
        "counts": dict(counts),
    }


def _made(seconds: float) -> dict[str, Any]:
    """Return `Manifest.made`."""
    versions = {"rnn-zoos": __version__, "torch": torch.__version__, "numpy": np.__version__}
    return {
        "backend": "import",
        "versions": {**versions, "python": platform.python_version()},
        "machine": f"{platform.machine()}, {platform.system()}",
        "seconds": round(seconds, 1),
    }
