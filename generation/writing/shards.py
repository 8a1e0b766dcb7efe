"""Making one shard: train its runs, measure every snapshot, write weights, rollouts and record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnn_zoos.families.family import Measured
from rnn_zoos.format.files import DTYPES, Array, tensor_bytes
from rnn_zoos.format.manifest import FORMAT
from rnn_zoos.generation.plan import Plan, ShardPlan
from rnn_zoos.generation.trainers.backends import make_trainer, network_type
from rnn_zoos.generation.trainers.trainer import Report, TrainedRun
from rnn_zoos.generation.writing.records import KINDS, MadeShard, ShardRecord, joined_making, making
from rnn_zoos.generation.writing.workspace import KeptRuns, Workspace
from rnn_zoos.networks.weights import unstack_weights

Tensors = dict[str, dict[str, Array]]
"""kind (shards, rollouts) -> name -> [rows, ...]"""


def make_shard(
    directory: Path, plan: Plan, shard: ShardPlan, report: Report, trained: Iterable[TrainedRun] | None = None
) -> None:
    """Make a shard of the plan in an output directory; the record that is written last makes it count.

    Runs that a partial shard already holds (a zoo that is being extended) are copied from it, not trained again; the
    others are trained here unless they are given as `trained`, in order.
    """
    workspace = Workspace(directory, plan)
    workspace.write(shard, compute_shard(plan, shard, report, workspace.kept_runs(shard), trained))


def compute_shard(
    plan: Plan,
    shard: ShardPlan,
    report: Report,
    kept: KeptRuns | None = None,
    trained: Iterable[TrainedRun] | None = None,
) -> MadeShard:
    """Return a shard of the plan, unwritten: `kept` are its first runs, if they need not be trained again."""
    started = time.monotonic()
    parts, rows, seconds, missing = [_empty(plan)], [], 0.0, shard.runs
    if kept is not None:
        rows, seconds, missing = list(kept.record.rows), kept.record.seconds, kept.missing(shard)
        parts.append({kind: dict(tensors) for kind, tensors in kept.tensors.items()})
    if trained is None:
        trained = make_trainer(plan.backend).train(plan.family, plan.settings, missing, report)
    for trained_run in trained:
        run_rows, tensors = measure_run(plan, shard.split, trained_run, report)
        for row in run_rows:
            rows.append(row | {"shard": shard.number, "row": len(rows)})
        parts.append(tensors)
    about = {"format": FORMAT, "zoo": plan.zoo, "split": shard.split, "runs": shard.run_numbers}
    content = {kind: tensor_bytes(_concatenate([part[kind] for part in parts]), about) for kind in KINDS}
    seconds += time.monotonic() - started
    made = making(plan.backend) if kept is None else joined_making([kept.record.made, making(plan.backend)])
    entries = {kind: entry for kind, (_, entry) in content.items()}
    record = ShardRecord(plan.identity(), shard.run_numbers, entries, seconds, rows, made)
    return MadeShard(record, {kind: data for kind, (data, _) in content.items()})


def measure_run(
    plan: Plan, split: str, trained: TrainedRun, report: Report = lambda updates: None
) -> tuple[list[dict[str, Any]], Tensors]:
    """Return the index rows of a run (without their place) and its tensors; every snapshot is a sign of life."""
    steps, measured = [], []
    for step, snapshot in _snapshots(plan, trained):
        report(0)
        if not _finite(snapshot):
            break  # finite weights whose outputs overflow: the run counts as diverged from here on
        steps.append(step)
        measured.append(snapshot)
    run = trained.run
    shared = {
        "run": run.run,
        "split": split,
        "task": plan.family.task_name(run.task),
        "weight_decay": run.weight_decay,
        "diverged": trained.diverged or len(steps) < len(trained.steps),
        **plan.family.task_values(run.task),
    }
    rows = [{**shared, "step": step, **snapshot.labels} for step, snapshot in zip(steps, measured, strict=True)]
    weights = {name: tensor[: len(steps)].numpy() for name, tensor in trained.weights.items()}
    rollouts = {
        name: np.stack([snapshot.rollouts[name].numpy() for snapshot in measured]) if measured else empty
        for name, empty in _empty(plan)["rollouts"].items()
    }
    return rows, {"shards": weights, "rollouts": rollouts}


def _snapshots(plan: Plan, trained: TrainedRun) -> Iterator[tuple[int, Measured]]:
    """Yield the measured snapshots of a run, in order of their steps."""
    sizes, run, make_network = plan.settings.evaluation_sizes(plan.family), trained.run, network_type(plan.backend)
    for step, weights in zip(trained.steps, unstack_weights(trained.weights), strict=True):
        network = make_network(plan.architecture, weights)
        yield step, plan.family.evaluate(network, plan.settings.seed, run.run, run.task, step, sizes)


def _finite(measured: Measured) -> bool:
    labels = torch.tensor(list(measured.labels.values()))
    return bool(labels.isfinite().all()) and all(bool(t.isfinite().all()) for t in measured.rollouts.values())


def _empty(plan: Plan) -> Tensors:
    """Return the tensors of a shard without rows: they fix names, order, dtypes and shapes."""
    rollouts = plan.family.rollout_shapes(plan.settings.evaluation_sizes(plan.family))
    return {
        "shards": {n: np.empty((0, *shape), np.float32) for n, shape in plan.architecture.parameter_shapes.items()},
        "rollouts": {name: np.empty((0, *shape), DTYPES[dtype]) for name, (dtype, shape) in rollouts.items()},
    }


def _concatenate(parts: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
