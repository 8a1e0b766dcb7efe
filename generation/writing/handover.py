"""Trained runs in files: what the process of a device leaves for the process that makes a shard of them.

unfinished/trained/train-00000.safetensors   weights, and rollouts if the device has measured the runs
unfinished/trained/train-00000.json          everything else, with the hash of the other file; written last

They are as large as the shards, so they do not go through a pipe. They are removed when the shard is written. If
generation is killed before, the next call makes the shard of them: its runs are not trained again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.families.family import Measurement
from rnn_zoos.format.files import Array, FileEntry, check_bytes
from rnn_zoos.format.hashed_json import read_hashed_json, write_hashed_json
from rnn_zoos.format.tensors import DTYPES, map_tensors, write_tensors
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.trainers.trainer import TrainedRun
from rnn_zoos.generation.writing.workspace import Workspace

_FOLDER = "trained"
_WEIGHTS, _ROLLOUTS = "weights ", "rollouts "  # prefixes of the names of tensors
_REMEDY = "Delete it and run the same command again: its runs are trained again."


@dataclass(frozen=True)
class TrainedShard:
    """The runs of a shard that were trained together with those of other shards.

    Attributes:
        runs: The runs, in order, without those that a partial shard holds.
        made: Their provenance.
        seconds: The share of these runs in the time of the device.
    """

    runs: Sequence[TrainedRun]
    made: Mapping[str, Any]
    seconds: float


def write_trained(workspace: Workspace, shard: ShardPlan, trained: TrainedShard) -> None:
    """Write the trained runs of a shard. Raises StorageError."""
    record, tensors = _paths(workspace, shard)
    record.unlink(missing_ok=True)  # that of another plan, whose tensors are replaced
    entry = write_tensors(tensors, _tensors(workspace.plan, shard.architecture, trained.runs), {})
    runs = [
        {
            "run": run.run.run,
            "steps": run.steps,
            "diverged": run.diverged,
            "labels": None if run.measurements is None else [dict(m.labels) for m in run.measurements],
        }
        for run in trained.runs
    ]
    about = {"plan": _identity(workspace.plan), "made": trained.made, "seconds": trained.seconds}
    write_hashed_json(record, {**about, "runs": runs, "entry": asdict(entry)})


def has_trained(workspace: Workspace, shard: ShardPlan) -> bool:
    """Return whether the missing runs of a shard are in files. Raises IntegrityError if their record is damaged."""
    return _record(workspace, shard) is not None


def read_trained(workspace: Workspace, shard: ShardPlan) -> TrainedShard | None:
    """Return the missing runs of a shard if they are in files, else None. Raises IntegrityError if one is damaged."""
    record = _record(workspace, shard)
    if record is None:
        return None
    _, path = _paths(workspace, shard)
    check_bytes(path, FileEntry(**record["entry"]), _REMEDY)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in map_tensors(path).items()}
    first, runs = 0, []
    for run, about in zip(workspace.missing_runs(shard), record["runs"], strict=True):
        end = first + len(about["steps"])
        weights = _part(tensors, _WEIGHTS, slice(first, end))
        labels, rollouts = about["labels"], _part(tensors, _ROLLOUTS, slice(first, end))
        measurements = None if labels is None else tuple(_measurements(labels, rollouts))
        runs.append(TrainedRun(run, tuple(about["steps"]), weights, about["diverged"], measurements))
        first = end
    return TrainedShard(runs, record["made"], record["seconds"])


def remove_trained(workspace: Workspace, shard: ShardPlan) -> None:
    """Remove the files of a shard, if there are any."""
    for path in _paths(workspace, shard):
        path.unlink(missing_ok=True)


def _paths(workspace: Workspace, shard: ShardPlan) -> tuple[Path, Path]:
    """Return the paths of the record and of the tensors."""
    folder = workspace.paths.unfinished / _FOLDER
    return folder / f"{shard.name}.json", folder / f"{shard.name}.safetensors"


def _identity(plan: Plan) -> dict[str, Any]:
    """Return what the trained runs of a shard depend on; the number of all runs may grow."""
    return {key: value for key, value in plan.identity().items() if key != "runs"}


def _record(workspace: Workspace, shard: ShardPlan) -> dict[str, Any] | None:
    """Return the record of a shard, None unless it is of this plan, and of the runs that are missing now."""
    path, tensors = _paths(workspace, shard)
    if not (path.is_file() and tensors.is_file()):
        return None
    record = read_hashed_json(path, _REMEDY)
    same_runs = [about["run"] for about in record["runs"]] == [run.run for run in workspace.missing_runs(shard)]
    return record if same_runs and record["plan"] == _identity(workspace.plan) else None


def _tensors(plan: Plan, architecture: int, runs: Sequence[TrainedRun]) -> dict[str, Array]:
    """Return the weights and rollouts of all snapshots of some runs, one after the other."""
    tensors = {
        f"{_WEIGHTS}{name}": np.concatenate([run.weights[name].numpy() for run in runs])
        for name in plan.architectures[architecture].parameter_shapes
    }
    if any(run.measurements is not None for run in runs):
        measurements = [measurement for run in runs for measurement in run.measurements or ()]
        shapes = plan.family.rollout_shapes(plan.settings.evaluation_sizes(plan.family))
        for name, (dtype, shape) in shapes.items():
            empty = np.empty((0, *shape), DTYPES[dtype])
            stored = [measurement.rollouts[name].numpy()[None] for measurement in measurements]
            tensors[f"{_ROLLOUTS}{name}"] = np.concatenate([empty, *stored])
    return tensors


def _part(tensors: Mapping[str, Tensor], prefix: str, rows: slice) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor[rows] for name, tensor in tensors.items() if name.startswith(prefix)}


def _measurements(labels: Sequence[Mapping[str, float]], rollouts: Mapping[str, Tensor]) -> list[Measurement]:
    return [
        Measurement(values, {name: tensor[number] for name, tensor in rollouts.items()})
        for number, values in enumerate(labels)
    ]
