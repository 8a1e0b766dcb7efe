"""Verifying: can a zoo be reproduced? Some of its runs are trained again and compared with the stored ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rnn_zoos.errors import DigitsError, PresetError, WorkerError
from rnn_zoos.generation.plan import Plan, plan_of_zoo
from rnn_zoos.generation.trainers.backends import make_trainer
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun, total_updates
from rnn_zoos.generation.writing.comparison import RetrainedRun, StoredRun, compare_bits, compare_labels
from rnn_zoos.generation.writing.criterion import criterion_of
from rnn_zoos.generation.writing.provenance import provenance
from rnn_zoos.generation.writing.shards import evaluate_run
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.processes import Worker, WorkerPool, available_cores
from rnn_zoos.progress import progress_bar


@dataclass(frozen=True)
class VerificationReport:
    """What was compared, and what could not be reproduced.

    Attributes:
        exact: whether every bit had to be equal: of weights, labels and rollouts.
        criterion: what had to be equal, and why, in words.
        runs: the numbers of the runs that were trained again.
        rows: a table for the user, one row per snapshot.
        findings: one line per snapshot that was not reproduced.
    """

    exact: bool
    criterion: str
    runs: list[int]
    rows: list[dict[str, Any]]
    findings: list[str]


def verify(
    directory: Path | str,
    runs: int = 3,
    seed: int | None = None,
    workers: int | None = None,
    backend: str | None = None,
    mnist: str | None = None,
) -> VerificationReport:
    """Train some random runs of a zoo again, and compare weights, rollouts and labels of every snapshot.

    With the backend of the zoo, on a machine, a GPU and with versions like those that made it, every bit must be equal.
    Labels and rollouts that a GPU measured need only be those of the stored weights up to rounding
    (`comparison.TOLERANCE`, `comparison.few`). Elsewhere this, and equal initial weights, is all that is asked; how far
    apart training ends is only reported.

    Args:
        directory: the directory of a zoo.
        runs: how many runs are trained again, at most all.
        seed: of the choice of runs; None for another choice every time.
        workers: worker processes; None for one per core.
        backend: what trains; None for the backend of the zoo.
        mnist: where this machine finds the digits: "hub", "embedded", or a directory; None for the zoo's own source.

    Returns:
        What was compared, and what could not be reproduced.

    Raises:
        PresetError: there is no run to be trained again.
        FormatError: the directory holds no zoo, or an imported one, which has no plan.
        DigitsError: the digits are not those of the zoo.
        BackendError: the backend is not installed.
        DeviceError: the backend needs a device that is not available.
        WorkerError: a run could not be trained.

    Example:
        >>> from rnn_zoos.generation import verify
        >>> report = verify("zoos/formal-languages", runs=1, seed=0)
        >>> report.findings
        []
    """
    if runs < 1:
        raise PresetError(f"The number of runs to be trained again is {runs}; expected at least 1.")
    zoo = open_zoo(directory)
    plan = plan_of_zoo(zoo.manifest, backend, mnist)
    make_trainer(plan.backend)
    if plan.digits() != zoo.manifest.digits:
        raise DigitsError(
            f"The zoo was made with the digits {zoo.manifest.digits}; these are {plan.digits()}. Give their --mnist."
        )
    criterion = criterion_of(zoo.manifest.made, provenance(plan.backend))
    chosen = choose_runs(plan.settings.runs, runs, seed)
    again = set(chosen)
    tasks = [
        RetrainingTask(run, split, StoredRun.read(zoo, run).as_trained_run() if not criterion.labels else None)
        for run, split in plan.runs()
        if run.run in again
    ]
    rows, findings = [], []
    sizes = plan.settings.evaluation_sizes(plan.family)
    close = partial(compare_labels, plan.family, sizes, same_weights=criterion.weights)
    compare = compare_bits if criterion.labels else close
    for task, retrained in _retrain(plan, tasks, workers):
        for row, problem in compare(StoredRun.read(zoo, task.run), retrained):
            rows.append(row)
            findings += [f"Run {row['run']}, step {row['step']}: {problem}."] if problem else []
    rows.sort(key=lambda row: (row["run"], row["step"]))
    return VerificationReport(criterion.labels, str(criterion), chosen, rows, findings)


@dataclass(frozen=True)
class RetrainingTask:
    """A run to be trained again, and its stored snapshots if their labels are to be recomputed, too."""

    run: Run
    split: str
    stored: TrainedRun | None

    def __str__(self) -> str:
        return f"run {self.run.run}"


def choose_runs(total: int, runs: int, seed: int | None) -> list[int]:
    """Return the numbers of `runs` different runs of `total`, or all, ascending; without a seed others every time."""
    return sorted(random.Random(seed).sample(range(total), min(runs, total)))


def _retrain(
    plan: Plan, tasks: list[RetrainingTask], workers: int | None
) -> Iterator[tuple[RetrainingTask, RetrainedRun]]:
    """Yield runs as soon as they are trained and evaluated, by one process per core, or one for a GPU."""
    on_gpu = make_trainer(plan.backend).runs_at_once is not None
    size = min(1 if on_gpu else workers or available_cores(), len(tasks))
    done, total = 0, total_updates(plan.settings, [task.run for task in tasks])
    with progress_bar(f"training {len(tasks)} runs again") as progress:

        def advance(task: RetrainingTask, updates: int) -> None:
            nonlocal done
            done += updates
            progress(done / max(total, 1))

        with WorkerPool[RetrainingTask, RetrainedRun](size, retrain_run, plan, advance=advance) as pool:
            for task, future in pool.map_unordered(tasks):
                yield task, _result(future, task)


def retrain_run(plan: Plan, task: RetrainingTask, worker: Worker) -> RetrainedRun:
    """Train and evaluate a run, in a worker process."""
    settings = plan.settings.of_architecture(task.run.architecture)
    (trained,) = make_trainer(plan.backend).train(plan.family, settings, [task.run], worker.report)
    rows, tensors = evaluate_run(plan, task.split, trained, worker.report)
    if task.stored is None:
        return RetrainedRun(rows, tensors, [], {})
    recomputed, again = evaluate_run(plan, task.split, task.stored, worker.report)
    return RetrainedRun(rows, tensors, recomputed, again["rollouts"])


def _result(future: Future[RetrainedRun], task: RetrainingTask) -> RetrainedRun:
    try:
        return future.result()
    except RuntimeError as error:
        raise WorkerError(f"{task} could not be trained: {error}.") from error
