"""What measuring the labels of a zoo costs, beside training its runs: `rnn-zoos speed labels`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.labels import Snapshot, evaluate, measure
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.measuring.trainer_speed import MeasurementPool
from rnn_zoos.generation.plan import Plan, plan_of_zoo
from rnn_zoos.generation.trainers.backends import backend_details, make_trainer
from rnn_zoos.generation.trainers.trainer import Run
from rnn_zoos.generation.writing.label_jobs import label_jobs, stored_snapshots
from rnn_zoos.generation.writing.relabel import measuring_plan
from rnn_zoos.machine import describe_machine

_WARM_UP = 50  # updates
ALL = "all labels and rollouts"

Times = Mapping[str, float]
"""What is measured -> seconds of all snapshots; of the training, seconds of one update."""
_TRAINING = "training"


def measure_label_costs(
    directory: Path, runs: int, updates: int, repeats: int, backend: str, mnist: str | None = None
) -> dict[str, Any]:
    """Return the machine, and what labels cost on one of its cores, for the networks of a zoo.

    The labels are measured again on all snapshots of the first runs, as at generation: in one process with one thread.
    A row has the labels that one function measures together; the last has all labels, and the rollouts. `ms per
    snapshot` is a mean over snapshots and a median over repeats. `of training` compares these snapshots with the
    training of their runs: with all their updates, each as long as one of the first run.

    Args:
        directory: Directory of a finished zoo.
        runs: Number of runs, of the first shard, whose snapshots are measured.
        updates: Updates of a measurement of training.
        repeats: How often each is measured; they take turns.
        backend: The trainer that is compared with.
        mnist: Where this machine finds the digits; None for the zoo's own source.

    Raises:
        FormatError: The directory holds no finished zoo, or an imported one.
        IntegrityError: A file is damaged.
        DigitsError: The digits are not those of the zoo.
        BackendError: The trainer was not installed.
    """
    manifest = read_manifest(directory)
    plan = measuring_plan(plan_of_zoo(manifest, mnist=mnist), manifest)
    make_trainer(backend)
    with MeasurementPool(1) as pool:
        work = partial(_measure, directory=directory, runs=runs, updates=updates, repeats=repeats, backend=backend)
        measured = pool.in_one_process(work, plan)
    per_run = plan.settings.num_updates * statistics.median(times[_TRAINING] for times in measured.times)
    return {
        "machine": {**backend_details(backend), **describe_machine()},
        "zoo": {"zoo": plan.zoo, "preset": plan.preset, "updates": plan.settings.num_updates},
        "backend": backend,
        "repeats": repeats,
        "training": {"ms per update": 1e3 * per_run / plan.settings.num_updates, "s per run": per_run},
        "results": _rows(measured),
    }


@dataclass(frozen=True)
class _Measured:
    """Times of every repeat, how many snapshots were measured, and how many updates their runs have."""

    times: Sequence[Times]
    snapshots: int
    updates: int


def _measure(plan: Plan, directory: Path, runs: int, updates: int, repeats: int, backend: str) -> _Measured:
    """Measure labels and training in turn, in the measuring process."""
    job = next(label_jobs(directory, read_manifest(directory), plan))
    chosen = replace(job.shard, table=job.shard.table[:runs])
    snapshots = [snapshot for snapshot in stored_snapshots(plan, directory, job) if snapshot.run in chosen.run_numbers]
    methods, train = _methods(plan.family), _trainer(plan, chosen.runs[0], backend)
    for method in methods.values():  # the first call also loads code and data
        method(snapshots[0])
    train(_WARM_UP)
    times = []
    for _ in range(repeats):
        seconds = {name: _seconds(method, snapshots) for name, method in methods.items()}
        times.append({**seconds, _TRAINING: train(updates) / updates})
    return _Measured(times, len(snapshots), chosen.total_updates(plan.settings))


def _methods(family: TaskFamily) -> dict[str, Callable[[Snapshot], object]]:
    """Return the functions that measure labels, by the names of their labels."""
    together: dict[Any, list[str]] = {}
    for name, label in family.further_labels.items():
        together.setdefault(label.measure, []).append(name)
    first = [name for name in family.measured_labels if name not in family.further_labels]
    return {
        ", ".join(first) + ", and rollouts": partial(evaluate, family),
        **{", ".join(names): partial(own, family) for own, names in together.items()},
        ALL: partial(measure, family),
    }


def _trainer(plan: Plan, run: Run, backend: str) -> Callable[[int], float]:
    """Return a function: number of updates -> seconds of that many updates of a run."""
    trainer, own = make_trainer(backend), replace(run, num_updates=0)

    def train(updates: int) -> float:
        settings = plan.settings.model_copy(update={"snapshots": (updates,)}).of_architecture(run.architecture)
        started = time.perf_counter()
        list(trainer.train(plan.family, settings, [own], lambda updates: None))
        return time.perf_counter() - started

    return train


def _seconds(method: Callable[[Snapshot], object], snapshots: Sequence[Snapshot]) -> float:
    started = time.perf_counter()
    for snapshot in snapshots:
        method(snapshot)
    return time.perf_counter() - started


def _rows(measured: _Measured) -> list[dict[str, Any]]:
    """Return medians of the times, and medians of their ratios within a repeat."""
    rows = []
    for name in [name for name in measured.times[0] if name != _TRAINING]:
        each = [times[name] / measured.snapshots for times in measured.times]
        shares = [times[name] / (times[_TRAINING] * measured.updates) for times in measured.times]
        rows.append(
            {
                "labels": name,
                "ms per snapshot": 1e3 * statistics.median(each),
                "of training": statistics.median(shares),
            }
        )
    return rows
