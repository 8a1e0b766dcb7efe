"""The engine of one machine: a worker process per core, or per GPU and core, and a shard at a time for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from rnn_zoos.errors import WorkerError
from rnn_zoos.format.files import Array
from rnn_zoos.generation.engines.progress import Progress
from rnn_zoos.generation.plan import Plan, ShardPlan
from rnn_zoos.generation.trainers.backends import make_trainer, training_devices
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun
from rnn_zoos.generation.writing.shards import make_shard
from rnn_zoos.generation.writing.store import Store
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.processes import SILENCE_LIMIT, Worker, WorkerPool, available_cores

Packed = tuple[Run, tuple[int, ...], dict[str, Array], bool]
"""A TrainedRun on its way to another process."""
Trained = list[list[Packed]]
"""The runs of every shard of a group."""


@dataclass(frozen=True)
class Job:
    """A shard to be made, with its trained runs if a GPU has trained them."""

    shard: ShardPlan
    trained: list[Packed] | None = None

    def __str__(self) -> str:
        return str(self.shard)


@dataclass(frozen=True)
class Group:
    """Shards whose runs a GPU trains at once."""

    shards: tuple[ShardPlan, ...]

    @property
    def num_runs(self) -> int:
        """Runs of all its shards."""
        return sum(len(shard.table) for shard in self.shards)

    def __str__(self) -> str:
        return f"{self.shards[0]} and {len(self.shards) - 1} more"


@dataclass(frozen=True)
class LocalEngine:
    """Processes of this machine: `workers` that make shards (by default one per core), each with one thread.

    On small networks that is faster than threads within a process. A backend for GPUs has one more process per device
    (`devices`, by default all that it can use), which trains the runs of many shards at once (`at_once`, by default
    what suits the device); the workers measure and write them. A process that dies, or reports nothing for
    `silence_limit` seconds, is replaced and its shards are begun again, up to three times.
    """

    workers: int | None = None
    devices: tuple[str, ...] | None = None
    at_once: int | None = None
    silence_limit: float = SILENCE_LIMIT
    store: Store | None = None

    def make(self, workspace: Workspace, pending: Sequence[ShardPlan], progress: Progress) -> None:
        """Have all these shards made and recorded in the workspace. Raises WorkerError, and what the shards raise."""
        plan, workers = workspace.plan, min(self.workers or available_cores(), len(pending))
        devices = training_devices(plan.backend) if self.devices is None else self.devices
        shared = plan, workspace.directory
        options: dict[str, Any] = {"silence_limit": self.silence_limit, "say": progress.say}

        def advance(task: object, updates: int) -> None:
            progress.advance(updates)

        def source() -> _FromPlan | _FromDevices:
            if not devices:
                return _FromPlan(pending)
            at_once = self.at_once or make_trainer(plan.backend).at_once or max(len(shard.table) for shard in pending)
            pool = WorkerPool[Group, Trained](
                len(devices), train_group, *shared, devices, at_once, advance=advance, **options
            )
            return _FromDevices(pool, groups(pending, at_once), plan.backend)

        counted = options if devices else {**options, "advance": advance}
        with source() as shards, WorkerPool[Job, None](workers, make_job, *shared, **counted) as makers:
            while makers.busy or not shards.empty:
                while makers.idle and (job := shards.take()) is not None:
                    makers.give(job)
                for job, future in makers.collect():
                    _raise_failure(future, job.shard, workers)
                    progress.finished(len(job.shard.table))


def make_job(plan: Plan, directory: Path, job: Job, worker: Worker) -> None:
    """Make a shard, in a worker process."""
    trained = None if job.trained is None else map(unpack, job.trained)
    make_shard(directory, plan, job.shard, worker.report, trained)


def train_group(
    plan: Plan, directory: Path, devices: Sequence[str], at_once: int, group: Group, worker: Worker
) -> Trained:
    """Train the runs of some shards at once, in the process of a device; return those of every shard."""
    workspace = Workspace(directory, plan)
    missing = [workspace.missing_runs(shard) for shard in group.shards]
    trainer = make_trainer(plan.backend, devices[worker.number], at_once)
    trained = trainer.train(plan.family, plan.settings, [run for runs in missing for run in runs], worker.report)
    return [[pack(run) for run in islice(trained, len(runs))] for runs in missing]


class _FromPlan:
    """Shards whose runs the workers train themselves."""

    def __init__(self, pending: Iterable[ShardPlan]) -> None:
        self._waiting = deque(pending)

    def __enter__(self) -> _FromPlan:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is to be closed."""

    @property
    def empty(self) -> bool:
        return not self._waiting

    def take(self) -> Job | None:
        return Job(self._waiting.popleft()) if self._waiting else None


class _FromDevices:
    """Shards whose runs a process per device trains; they are dealt as devices have finished."""

    def __init__(self, pool: WorkerPool[Group, Trained], waiting: Iterator[Group], backend: str) -> None:
        self._pool, self._waiting, self._backend = pool, deque(waiting), backend
        self._ready: deque[Job] = deque()

    def __enter__(self) -> _FromDevices:
        self._pool.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:  # noqa: ANN401
        self._pool.__exit__(*error)

    @property
    def empty(self) -> bool:
        return not (self._waiting or self._ready or self._pool.busy)

    def take(self) -> Job | None:
        """Return a shard whose runs are trained, if there is one; keep the devices busy."""
        for group, future in self._pool.collect(timeout=0):
            self._ready += map(Job, group.shards, self._trained(group, future))
        while self._waiting and self._pool.idle:
            self._pool.give(self._waiting.popleft())
        return self._ready.popleft() if self._ready else None

    def _trained(self, group: Group, future: Future[Trained]) -> Trained:
        try:
            return future.result()
        except RuntimeError as error:  # out of memory, or whatever else a device reports
            raise WorkerError(
                f"Backend {self._backend} could not train {group.num_runs} runs at once: {error}. Finished shards are "
                "kept; use a smaller --at-once, make the networks of the preset smaller, or use --backend native."
            ) from error


def groups(pending: Sequence[ShardPlan], at_once: int) -> Iterator[Group]:
    """Yield shards in groups of at most `at_once` runs, but at least one shard."""
    group: list[ShardPlan] = []
    for shard in pending:
        if group and sum(len(s.table) for s in [*group, shard]) > at_once:
            yield Group(tuple(group))
            group = []
        group.append(shard)
    if group:
        yield Group(tuple(group))


def _raise_failure(future: Future[None], shard: ShardPlan, workers: int) -> None:
    try:
        future.result()
    except (RuntimeError, MemoryError) as error:  # torch reports want of memory as a RuntimeError
        raise WorkerError(
            f"Shard {shard.name} could not be made: {error}. Finished shards are kept; if memory "
            f"was short, run the same command again with fewer --workers than {workers}, or make the "
            "networks of the preset smaller."
        ) from error


def pack(trained: TrainedRun) -> Packed:
    """Turn tensors into arrays: torch would send tensors by shared memory, of which containers have little."""
    weights = {name: tensor.numpy() for name, tensor in trained.weights.items()}
    return trained.run, trained.steps, weights, trained.diverged


def unpack(packed: Packed) -> TrainedRun:
    """Turn arrays back into tensors. Inverse of `pack`."""
    run, steps, weights, diverged = packed
    return TrainedRun(run, steps, {name: torch.from_numpy(array) for name, array in weights.items()}, diverged)
