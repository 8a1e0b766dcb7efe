"""Reading the zoos that the authors of the paper released, as a finished zoo of format 1.

What is taken over, measured anew or cannot be known is said where it is decided: `import_paper`, the functions of the
two families, and `TaskFamily.imported_label_columns`.
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
from rnn_zoos.format.files import DTYPES, Array, new_directory, write_tensors
from rnn_zoos.format.index import index_schema, write_index
from rnn_zoos.format.manifest import FORMAT, Manifest, index_path, shard_path
from rnn_zoos.loaders.paper.layout import Part, SourceRun, common_steps, open_parts
from rnn_zoos.loaders.paper.snapshots import Snapshot, language_weight_decay, read_run

RUNS_PER_SHARD = 20


@dataclass(frozen=True)
class _Run:
    """A run of a part with its new number, its task and split, and the row of its part in the whole source."""

    number: int
    part: Part
    source: SourceRun
    task: int
    split: str
    part_row: int


def import_paper(source: Path, out: Path) -> Manifest:
    """Write a finished zoo to the new directory `out` from a directory of .npy files as the paper's code writes them.

    `source` holds these files, or folders that do: parts of one zoo. Runs are numbered anew over all parts, in order,
    since every part of the paper's data counts from 0; `original_run` and `original_row` say where they come from.
    `step` is the number of updates done, as in every zoo: one more than the source's own, which is `original_step`.
    Splits are ours, by the task. A run from whose snapshot on weights, outputs or labels are not finite keeps the
    earlier ones and is flagged `diverged`; a run that lacks snapshots of the source for no such reason is left out.
    All such counts are in `Manifest.imported`. Raises FormatError for what is not of the layout, StorageError for what
    cannot be written; then nothing is left behind.
    """
    started = monotonic()
    parts = open_parts(source)
    family = task_family(parts[0].zoo)
    runs, steps, counts = _runs(parts, family)
    files, splits = {}, {}
    with new_directory(out) as directory:
        for split in SPLITS:
            own = [run for run in runs if run.split == split]
            shards = [own[start : start + RUNS_PER_SHARD] for start in range(0, len(own), RUNS_PER_SHARD)]
            rows: list[dict[str, Any]] = []
            for number, shard in enumerate(shards):
                shard_rows, tensors = _shard(shard, family, counts)
                rows += [{**row, "shard": number, "row": place} for place, row in enumerate(shard_rows)]
                about = {"format": FORMAT, "zoo": family.name, "split": split, "runs": [run.number for run in shard]}
                for kind in tensors:
                    path = shard_path(kind, split, number, len(shards))
                    files[path] = write_tensors(directory / path, tensors[kind], about)
            splits[split] = {"runs": len(own), "rows": len(rows), "shards": len(shards)}
            if shards:
                schema = index_schema(family.imported_columns)
                table = pa.Table.from_pylist(rows, schema=schema)
                files[index_path(split)] = write_index(directory / index_path(split), [table], schema)
        manifest = Manifest(
            zoo=family.name,
            preset="imported",
            settings=_settings(parts, len(runs), steps),
            seed=0,
            runs=len(runs),
            architecture=parts[0].architecture,
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
    """Return what an import changed or left out, one line each."""
    counts = (manifest.imported or {}).get("counts", {})
    return [f"{count:,} {what}" for what, count in counts.items() if count]


_REPAIRED = "sequences of networks that did not finish began with EOS; BOS, which the network had read, was put back"
_DIVERGED = "runs are not finite from some snapshot on; their earlier snapshots are kept"
_UNFINISHED = "runs lack snapshots that the others have, and were left out"


def _runs(parts: list[Part], family: TaskFamily) -> tuple[list[_Run], tuple[int, ...], Counter[str]]:
    """Number the runs of all parts that have all snapshots; return them, their steps, and the counts so far."""
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
    """Return the task's own columns of a row, with the angle in full precision."""
    task = part.arrays["tasks"][row].tolist()
    if part.zoo == FormalLanguages.name:
        return dict(zip(("m_b", "m_c", "m_d"), task[1:], strict=True))
    return {"angle": task[0]}


def _shard(
    runs: list[_Run], family: TaskFamily, counts: Counter[str]
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Array]]]:
    """Return the index rows (without their place) and the tensors, shards and rollouts, of the runs of a shard."""
    rows: list[dict[str, Any]] = []
    snapshots: list[Snapshot] = []
    for run in runs:
        kept, repaired = read_run(run.part, run.source, run.task)
        diverged = len(kept) < len(run.source.steps)
        counts.update({_REPAIRED: repaired, _DIVERGED: int(diverged)})
        snapshots += kept
        for place, snapshot in enumerate(kept):
            row = run.source.first + place
            rows.append(
                {
                    "run": run.number,
                    "step": run.source.steps[place] + run.part.updates_at_step_0,
                    "split": run.split,
                    "task": family.task_name(run.task),
                    "diverged": diverged,
                    **_task_values(run.part, row),
                    **snapshot.labels,
                    "original_run": run.source.original_run,
                    "original_row": run.part_row + row,
                    "original_step": run.source.steps[place],
                }
            )
    part = runs[0].part
    shapes = family.imported_rollout_shapes(part.num_rollouts)
    weights = {name: (np.float32, shape) for name, shape in part.architecture.parameter_shapes.items()}
    rollouts = {name: (DTYPES[dtype], shape) for name, (dtype, shape) in shapes.items()}
    return rows, {
        "shards": _stack([snapshot.weights for snapshot in snapshots], weights),
        "rollouts": _stack([snapshot.rollouts for snapshot in snapshots], rollouts),
    }


def _stack(rows: list[Mapping[str, Array]], types: Mapping[str, tuple[Any, tuple[int, ...]]]) -> dict[str, Array]:
    """Stack the tensors of rows: name -> [rows, ...], of the given dtypes and shapes also if there is no row."""
    empty = {name: np.empty((len(rows), *shape), dtype) for name, (dtype, shape) in types.items()}
    for name, stacked in empty.items():
        for place, row in enumerate(rows):
            stacked[place] = row[name]
    return empty


def _settings(parts: list[Part], runs: int, updates: tuple[int, ...]) -> dict[str, Any]:
    """Return what is known of how the zoo was made, under the names of a preset."""
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
    return {
        "layout": "paper",
        "parts": [{"name": p.directory.name, "rows": p.num_rows, "arguments": dict(p.arguments)} for p in parts],
        "counts": dict(counts),
    }


def _made(seconds: float) -> dict[str, Any]:
    versions = {"rnn-zoos": __version__, "torch": torch.__version__, "numpy": np.__version__}
    return {
        "backend": "import",
        "versions": {**versions, "python": platform.python_version()},
        "machine": f"{platform.machine()}, {platform.system()}",
        "seconds": round(seconds, 1),
    }
