"""The engine for runs that were trained elsewhere: it measures them and writes them as shards of a regular zoo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnn_zoos.errors import PlanMismatchError
from rnn_zoos.generation.engines.groups import RunArrays
from rnn_zoos.generation.engines.local import raise_failure
from rnn_zoos.generation.engines.progress import Progress
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.trainers.trainer import total_updates
from rnn_zoos.generation.writing.raw_runs import RawRuns, all_runs, read_raw, training_settings
from rnn_zoos.generation.writing.shards import make_shard
from rnn_zoos.generation.writing.store import Store
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.processes import Worker, WorkerPool, available_cores


@dataclass(frozen=True)
class ShardJob:
    """A shard with its trained runs."""

    shard: ShardPlan
    trained: list[RunArrays]

    def __str__(self) -> str:
        return str(self.shard)


@dataclass(frozen=True)
class TrainedEngine:
    """Makes shards of runs that `generation/check_gpu.py` trained.

    Attributes:
        source: a directory with raw.json and the files that it lists.
        workers: the number of worker processes, which measure the snapshots; None for one per core.
        store: None; only Ray writes to stores.
    """

    source: Path
    workers: int | None = None
    store: Store | None = None

    def make(self, workspace: Workspace, pending: Sequence[ShardPlan], progress: Progress) -> None:
        """Make shards and write them, with their records, into the workspace.

        Args:
            workspace: the output directory and its plan, locked by the caller.
            pending: the shards to be made.
            progress: receives the updates and finished runs.

        Raises:
            PlanMismatchError: the runs were trained with other settings, or some runs of the plan are missing.
            IntegrityError: a file of trained runs is missing or damaged.
            WorkerError: a shard could not be made.
        """
        plan, raw = workspace.plan, read_raw(self.source)
        check_source(self.source, raw, plan)
        trained = _in_memory(self.source, raw, plan, {run.run for shard in pending for run in shard.runs})
        waiting = [ShardJob(shard, [trained[run.run] for run in workspace.missing_runs(shard)]) for shard in pending]
        workers = min(self.workers or available_cores(), len(pending))
        pool = WorkerPool[ShardJob, None](
            workers, _make, plan, workspace.directory, raw.made, raw.seconds_per_run, notify=progress.print_line
        )
        with pool:
            for job, future in pool.map_unordered(waiting):
                raise_failure(future, job.shard, workers)
                progress.advance(total_updates(plan.settings, [trained.run for trained in job.trained]))
                progress.finished(len(job.shard.table))


def check_source(source: Path, raw: RawRuns, plan: Plan) -> None:
    """Raise PlanMismatchError unless the trained runs are all runs of a plan."""
    requested: dict[str, Any] = {
        "zoo": plan.zoo,
        "backend": plan.backend,
        "digits": plan.digits(),
        **training_settings(plan.settings_data()),
    }
    found = {"zoo": raw.zoo, "backend": raw.backend, "digits": raw.digits, **raw.settings}
    differences = [
        f"  {key}: {found.get(key)!r} in {source}, {value!r} in the plan"
        for key, value in requested.items()
        if value != found.get(key)
    ]
    if differences:
        raise PlanMismatchError(
            f"The runs of {source} were trained with other settings than those of the plan; nothing was written:\n"
            + "\n".join(differences)
            + "\nGive the preset that they were trained with."
        )
    missing = set(range(plan.settings.runs)) - set(raw.runs)
    if missing:
        raise PlanMismatchError(
            f"{source} lacks {len(missing)} of the {plan.settings.runs} runs of the plan, such as {min(missing)}; "
            f"nothing was written. Give --runs {min(missing)} for a zoo of the runs before it, or train the others."
        )


def _in_memory(source: Path, raw: RawRuns, plan: Plan, numbers: set[int]) -> dict[int, RunArrays]:
    """Return the runs with these numbers."""
    trained = all_runs(source, raw, plan.architecture, plan.settings.snapshots)
    return {run.run.run: RunArrays.of(run) for run in trained if run.run.run in numbers}


def _make(
    plan: Plan, directory: Path, made: dict[str, Any], seconds_per_run: float, job: ShardJob, worker: Worker
) -> None:
    """Measure the runs of a shard and write it, in a worker process, with the provenance of where it was trained."""
    trained = [run.as_trained_run() for run in job.trained]
    make_shard(directory, plan, job.shard, worker.report, trained, made, seconds_per_run * len(trained))
