"""The engine of one machine: a worker process per core makes one shard at a time; a process per GPU trains for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from rnn_zoos.errors import BackendError, WorkerError
from rnn_zoos.generation.engines.groups import ShardGroup, group_shards, train_together, updates_of
from rnn_zoos.generation.engines.limits import check_numbers
from rnn_zoos.generation.engines.progress import Progress
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.trainers.backends import best_runs_at_once, check_devices, training_devices
from rnn_zoos.generation.trainers.memory import bounded_runs_at_once
from rnn_zoos.generation.writing.handover import has_trained, read_trained, remove_trained, write_trained
from rnn_zoos.generation.writing.shards import make_shard
from rnn_zoos.generation.writing.store import Store
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.processes import SILENCE_LIMIT, Worker, WorkerPool, available_cores


@dataclass(frozen=True)
class LocalEngine:
    """Makes shards with worker processes of this machine, each with one thread.

    For small networks, processes are faster than threads within one process. With a backend for GPUs, one more process
    per device trains the runs of many shards together, and leaves them in files, of which the workers make shards. A
    process that dies, or hangs, is replaced, and its shards are started again, up to three times.

    Attributes:
        workers: the number of worker processes; None for one per core.
        devices: the devices on which runs are trained together; None for all that the backend can use.
        runs_at_once: how many runs are trained together on a device; None for what suits the device.
        silence_limit: seconds without a heartbeat after which a process is considered hung.
        store: None; only Ray writes to stores.
        measure_on_devices: whether the devices also measure what they train, many snapshots at once; None if they are
            GPUs, and the task family can. Otherwise the workers measure one snapshot after the other.

    Example:
        >>> from rnn_zoos.generation import LocalEngine
        >>> engine = LocalEngine(workers=2)  # for generate(plan, directory, engine)
    """

    workers: int | None = None
    devices: tuple[str, ...] | None = None
    runs_at_once: int | None = None
    silence_limit: float = SILENCE_LIMIT
    store: Store | None = None
    measure_on_devices: bool | None = None

    def __post_init__(self) -> None:
        """Raise WorkerError for numbers that cannot work."""
        check_numbers(self.workers, self.runs_at_once, self.silence_limit)

    def make(self, workspace: Workspace, pending: Sequence[ShardPlan], progress: Progress) -> None:
        """Make shards and write them, with their records, into the workspace.

        Args:
            workspace: the output directory and its plan, locked by the caller.
            pending: the shards to be made.
            progress: receives the updates and finished runs.

        Raises:
            WorkerError: a shard could not be made, or lost its worker three times.
            BackendError: there are devices, and the backend trains on the CPU; or runs at once are given, and there are
                no devices.
            DeviceError: a device does not exist.
            StorageError: a file could not be written.
        """
        check_devices(workspace.plan.backend, self.devices or ())
        workers = min(self.workers or available_cores(), len(pending))
        devices = training_devices(workspace.plan.backend) if self.devices is None else self.devices
        if self.runs_at_once is not None and not devices:
            raise BackendError(
                f"Without a GPU, {workspace.plan.backend} trains the runs of a shard at once, not "
                f"{self.runs_at_once}. Leave out runs_at_once (--at-once), or give devices (--device)."
            )

        def advance(task: object, updates: int) -> None:
            progress.advance(updates)

        options: dict[str, Any] = {"silence_limit": self.silence_limit, "notify": progress.print_line}
        counted = {**options, "advance": advance}  # updates are counted by the processes that train
        trained, untrained = split_by_trained(workspace, pending)
        progress.advance(sum(updates_of(workspace, shard) for shard in trained))  # by an earlier call
        source = (
            self._train_on_devices(workspace, trained, untrained, devices, counted)
            if devices
            else _UntrainedJobs(pending)
        )
        shared = workspace.plan, workspace.directory
        pool = WorkerPool[ShardPlan, None](workers, make_job, *shared, **(options if devices else counted))
        with source, pool:
            while pool.num_busy or not source.empty:
                while pool.num_idle and (shard := source.next_job()) is not None:
                    pool.submit(shard)
                for shard, future in pool.collect():
                    raise_failure(future, shard, workers)
                    progress.finished(len(shard.table))

    def _train_on_devices(
        self,
        workspace: Workspace,
        trained: Sequence[ShardPlan],
        untrained: Sequence[ShardPlan],
        devices: tuple[str, ...],
        options: dict[str, Any],
    ) -> _TrainedJobs:
        plan = workspace.plan
        largest = max((len(shard.table) for shard in untrained), default=1)
        bounds = []
        for settings in plan.settings.largest():
            best = self.runs_at_once or best_runs_at_once(plan.backend, plan.family, settings, devices[0])
            bounds.append(bounded_runs_at_once(plan.backend, plan.family, settings, devices, best or largest))
        runs_at_once, notice = min(bounds, key=itemgetter(0))
        if notice is not None:
            options["notify"](notice)
        shared = plan, workspace.directory, devices, runs_at_once, self.measure_on_devices
        pool = WorkerPool[ShardGroup, None](len(devices), train_group, *shared, **options)
        return _TrainedJobs(pool, group_shards(untrained, runs_at_once), trained, plan.backend)


def make_job(plan: Plan, directory: Path, shard: ShardPlan, worker: Worker) -> None:
    """Make a shard, in a worker process, of the runs that a device has trained, if it has."""
    workspace = Workspace(directory, plan)
    if workspace.paths.record(shard).is_file():
        return  # a process made it, and was lost before it could say so
    trained = read_trained(workspace, shard)
    if trained is None:
        make_shard(directory, plan, shard, worker.report)
    else:
        make_shard(directory, plan, shard, worker.report, trained.runs, trained.made, trained.seconds)
    remove_trained(workspace, shard)


def train_group(
    plan: Plan,
    directory: Path,
    devices: Sequence[str],
    runs_at_once: int,
    measure: bool | None,
    group: ShardGroup,
    worker: Worker,
) -> None:
    """Train the runs of a group together, in the process of a device, and leave them in files.

    Shards that have files already are left out: a process that was lost has written them.
    """
    workspace = Workspace(directory, plan)
    done, shards = split_by_trained(workspace, group.shards)
    worker.report(sum(updates_of(workspace, shard) for shard in done))
    missing = [workspace.missing_runs(shard) for shard in shards]
    trained = train_together(plan, missing, worker.report, devices[worker.number], runs_at_once, measure)
    for shard, runs in zip(shards, trained, strict=True):
        write_trained(workspace, shard, runs)
        worker.report(0)


class _UntrainedJobs:
    """Jobs whose runs the workers train themselves."""

    def __init__(self, pending: Iterable[ShardPlan]) -> None:
        self._waiting = deque(pending)

    def __enter__(self) -> _UntrainedJobs:
        return self

    def __exit__(self, *error: object) -> None:
        """There is nothing to close."""

    @property
    def empty(self) -> bool:
        return not self._waiting

    def next_job(self) -> ShardPlan | None:
        return self._waiting.popleft() if self._waiting else None


class _TrainedJobs:
    """Shards whose runs one process per device trains, group by group. Use it as a context manager.

    Args:
        pool: The processes of the devices.
        groups: What they are to train.
        trained: Shards whose runs are trained already.
        backend: The backend, for messages.
    """

    def __init__(
        self,
        pool: WorkerPool[ShardGroup, None],
        groups: Iterable[ShardGroup],
        trained: Iterable[ShardPlan],
        backend: str,
    ) -> None:
        self._pool, self._waiting, self._trained, self._backend = pool, deque(groups), deque(trained), backend

    def __enter__(self) -> _TrainedJobs:
        self._pool.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:  # noqa: ANN401
        self._pool.__exit__(*error)

    @property
    def empty(self) -> bool:
        return not (self._waiting or self._trained or self._pool.num_busy)

    def next_job(self) -> ShardPlan | None:
        """Return a shard whose runs are trained, None if there is none yet; keep the devices busy."""
        for group, future in self._pool.collect(timeout=0):
            self._raise_failure(group, future)
            self._trained += group.shards
        while self._waiting and self._pool.num_idle:
            self._pool.submit(self._waiting.popleft())
        return self._trained.popleft() if self._trained else None

    def _raise_failure(self, group: ShardGroup, future: Future[None]) -> None:
        try:
            future.result()
        except RuntimeError as error:  # out of memory, or whatever else a device reports
            raise WorkerError(
                f"Backend {self._backend} could not train {group.num_runs} runs at once: {error}. Finished shards are "
                "kept; use a smaller --at-once, smaller networks in the preset, or --backend native."
            ) from error


def split_by_trained(workspace: Workspace, shards: Sequence[ShardPlan]) -> tuple[list[ShardPlan], list[ShardPlan]]:
    """Return the shards that need no training, as a device has left their missing runs in files, and the others."""
    parts: tuple[list[ShardPlan], list[ShardPlan]] = [], []
    for shard in shards:
        is_trained = not workspace.missing_runs(shard) or has_trained(workspace, shard)
        parts[not is_trained].append(shard)
    return parts


def raise_failure(future: Future[None], shard: ShardPlan, workers: int) -> None:
    """Raise WorkerError if a worker could not make a shard; `workers` is their number."""
    try:
        future.result()
    except (RuntimeError, MemoryError) as error:  # torch reports a lack of memory as RuntimeError
        raise WorkerError(
            f"Shard {shard.name} could not be made: {error}. Finished shards are kept; if there was not enough memory, "
            f"run the same command again with fewer --workers than {workers}, or use smaller networks in the preset."
        ) from error
