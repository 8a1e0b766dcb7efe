"""Making one shard: train its runs, evaluate every snapshot, write weights, rollouts and record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.families.family import Measurement
from rnn_zoos.families.labels import Snapshot, measure
from rnn_zoos.families.run_labels import with_run_labels
from rnn_zoos.format.files import Array
from rnn_zoos.format.manifest import FORMAT
from rnn_zoos.format.tensors import DTYPES, tensor_bytes
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.trainers.backends import make_trainer, network_type
from rnn_zoos.generation.trainers.trainer import Report, Run, TrainedRun
from rnn_zoos.generation.writing.provenance import merge_provenance, provenance
from rnn_zoos.generation.writing.records import KINDS, ComputedShard, ShardRecord
from rnn_zoos.generation.writing.resuming import PartialShard
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.networks.weights import unstack_weights

Tensors = dict[str, dict[str, Array]]
"""kind (shards, rollouts) -> name -> [rows, ...]"""


def make_shard(
    directory: Path,
    plan: Plan,
    shard: ShardPlan,
    report: Report,
    trained: Iterable[TrainedRun] | None = None,
    made: Mapping[str, Any] | None = None,
    seconds: float = 0.0,
) -> None:
    """Compute a shard of the plan and write it into an output directory.

    Args:
        directory: the output directory.
        plan: the plan of the zoo.
        shard: the shard of the plan.
        report: called with the number of updates done since the last call; 0 is a heartbeat.
        trained: the runs of the shard in order, without those that a partial shard holds; None to train them here.
        made: their provenance; None if they are trained here.
        seconds: how long they were trained elsewhere.
    """
    workspace = Workspace(directory, plan)
    partial = workspace.partial_shard(shard)
    workspace.write(shard, compute_shard(plan, shard, report, partial, trained, made, seconds))


def compute_shard(
    plan: Plan,
    shard: ShardPlan,
    report: Report,
    partial: PartialShard | None = None,
    trained: Iterable[TrainedRun] | None = None,
    made: Mapping[str, Any] | None = None,
    seconds: float = 0.0,
) -> ComputedShard:
    """Return a shard of the plan without writing it.

    The runs of a partial shard (of a zoo that is being extended, or has lost its index) are not trained again: they are
    copied, or measured again if they have no labels. The other arguments are those of `make_shard`.
    """
    started = time.monotonic()
    parts, rows, missing, unmeasured = [_empty(plan, shard.architecture)], [], shard.runs, list[TrainedRun]()
    made = dict(made or provenance(plan.backend))
    if partial is not None:
        missing, seconds = partial.missing_runs(shard), seconds + partial.record.seconds
        made = merge_provenance([partial.record.made, made])
        if partial.record.is_measured:
            rows = with_run_labels(plan.family, list(partial.record.rows))
            parts.append({kind: dict(tensors) for kind, tensors in partial.tensors.items()})
        else:
            unmeasured = partial.as_trained_runs(shard)
    if trained is None:
        trained = _train(plan, shard, missing, report)
    for trained_run in chain(unmeasured, trained):
        run_rows, tensors = evaluate_run(plan, shard.split, trained_run, report)
        for row in run_rows:
            rows.append(row | {"shard": shard.number, "row": len(rows)})
        parts.append(tensors)
    about = {"format": FORMAT, "zoo": plan.zoo, "split": shard.split, "runs": shard.run_numbers}
    content = {kind: tensor_bytes(_concatenate([part[kind] for part in parts]), about) for kind in KINDS}
    entries = {kind: entry for kind, (_, entry) in content.items()}
    seconds += time.monotonic() - started
    record = ShardRecord(plan.identity(), shard.run_numbers, entries, seconds, rows, made)
    return ComputedShard(record, {kind: data for kind, (data, _) in content.items()})


def _train(plan: Plan, shard: ShardPlan, runs: Sequence[Run], report: Report) -> Iterable[TrainedRun]:
    settings = plan.settings.of_architecture(shard.architecture)
    return make_trainer(plan.backend).train(plan.family, settings, runs, report) if runs else ()


def evaluate_run(
    plan: Plan, split: str, trained: TrainedRun, report: Report = lambda updates: None
) -> tuple[list[dict[str, Any]], Tensors]:
    """Return the index rows of a run, without shard and row, and its tensors; every snapshot is a heartbeat."""
    steps, measurements = [], []
    for step, measurement in _evaluate_snapshots(plan, trained):
        report(0)
        if not _is_finite(measurement):
            break  # finite weights whose outputs overflow: the run counts as diverged from this step on
        steps.append(step)
        measurements.append(measurement)
    run = trained.run
    diverged = trained.diverged or len(steps) < len(trained.steps)
    shared = {**plan.run_values(run), "split": split, "diverged": diverged}
    rows = [
        {**shared, "step": step, **measurement.labels} for step, measurement in zip(steps, measurements, strict=True)
    ]
    weights = {name: tensor[: len(steps)].numpy() for name, tensor in trained.weights.items()}
    rollouts = {
        name: np.stack([measurement.rollouts[name].numpy() for measurement in measurements]) if measurements else empty
        for name, empty in _empty(plan, run.architecture)["rollouts"].items()
    }
    return with_run_labels(plan.family, rows), {"shards": weights, "rollouts": rollouts}


def _evaluate_snapshots(plan: Plan, trained: TrainedRun) -> Iterator[tuple[int, Measurement]]:
    """Yield step and measurement of the snapshots of a run, in order of their steps."""
    evaluated = trained.measurements or [None] * len(trained.steps)
    for step, weights, done in zip(trained.steps, unstack_weights(trained.weights), evaluated, strict=True):
        yield step, measure(plan.family, snapshot_of(plan, trained.run, step, weights), done)


def snapshot_of(plan: Plan, run: Run, step: int, weights: Mapping[str, Tensor]) -> Snapshot:
    """Return a snapshot of a run, name -> [*shape], as it is measured in the zoo of a plan."""
    network = network_type(plan.backend)(plan.architectures[run.architecture], weights)
    sizes = plan.settings.evaluation_sizes(plan.family)
    return Snapshot(network, plan.settings.seed, run.run, run.task, step, sizes, run.initial_scale)


def _is_finite(measurement: Measurement) -> bool:
    labels = torch.tensor(list(measurement.labels.values()))
    return bool(labels.isfinite().all()) and all(bool(t.isfinite().all()) for t in measurement.rollouts.values())


def _empty(plan: Plan, architecture: int) -> Tensors:
    """Return the tensors of a shard without rows, which determine names, order, dtypes and shapes."""
    shapes = plan.architectures[architecture].parameter_shapes
    rollouts = plan.family.rollout_shapes(plan.settings.evaluation_sizes(plan.family))
    return {
        "shards": {name: np.empty((0, *shape), np.float32) for name, shape in shapes.items()},
        "rollouts": {name: np.empty((0, *shape), DTYPES[dtype]) for name, (dtype, shape) in rollouts.items()},
    }


def _concatenate(parts: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
