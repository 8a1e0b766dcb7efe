"""The engine of a cluster: Ray tasks compute shards on all nodes, and this process, the driver, writes the results."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayError, RayTaskError

from rnn_zoos.errors import WorkerError, ZooError
from rnn_zoos.generation.engines.groups import ShardGroup, group_shards
from rnn_zoos.generation.engines.progress import Progress
from rnn_zoos.generation.engines.ray_cluster import (
    GPU_BACKENDS,
    alive_nodes,
    check_nodes,
    check_provenance,
    connected,
    has_gpus,
)
from rnn_zoos.generation.engines.ray_tasks import REPORT_INTERVAL, make_shard_task, start_heartbeats, train_runs_task
from rnn_zoos.generation.plan import ShardPlan
from rnn_zoos.generation.trainers.groups import RUNS_AT_ONCE
from rnn_zoos.generation.writing.records import ComputedShard, provenance
from rnn_zoos.generation.writing.store import Store
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.processes import MAX_ATTEMPTS, POLL_SECONDS, SILENCE_LIMIT, is_retryable

_NODES_INTERVAL = 5.0  # seconds between two looks at the nodes


@dataclass(frozen=True)
class RayEngine:
    """Makes shards with Ray, by tasks of one core each; with a backend for GPUs, tasks with a GPU train runs for them.

    Finished shards are sent to the driver, which writes them, or are written to a store. What is lost with a worker or
    a node is started again on another one.

    Attributes:
        address: HOST:PORT of a running cluster; None to start Ray on this machine.
        workers: the cores of the Ray that is started on this machine; None for all.
        runs_at_once: how many runs are trained together on a GPU; None for the default.
        silence_limit: seconds without a heartbeat after which a task is considered hung.
        store: where tasks write the files of the shards; None to send them to the driver.

    Example:
        >>> from rnn_zoos.generation import RayEngine
        >>> engine = RayEngine(workers=2)  # for generate(plan, directory, engine)
    """

    address: str | None = None
    workers: int | None = None
    runs_at_once: int | None = None
    silence_limit: float = SILENCE_LIMIT
    store: Store | None = None

    def make(self, workspace: Workspace, pending: Sequence[ShardPlan], progress: Progress) -> None:
        """Make shards, and write them with their records into the workspace, or into the store.

        Args:
            workspace: the output directory and its plan, locked by the caller.
            pending: the shards to be made.
            progress: receives updates, finished runs and the state of the cluster.

        Raises:
            ClusterError: the cluster is out of reach, or its nodes cannot make this zoo.
            WorkerError: a shard could not be made, or lost its worker three times.
            StorageError: a file could not be written, here or in the store.
        """
        backend = workspace.plan.backend
        if self.store is not None:
            self.store.check_access()
        with connected(self.address, self.workers):
            check_nodes(backend, progress.print_line)
            scheduler = _Scheduler(self, workspace, progress)
            if backend in GPU_BACKENDS and has_gpus():
                for group in group_shards(pending, self.runs_at_once or RUNS_AT_ONCE):
                    scheduler.wait_for_capacity()
                    scheduler.submit_group(group)
            else:
                for shard in pending:
                    scheduler.wait_for_capacity()
                    scheduler.submit(_Task(shard))
            while scheduler.tasks:
                scheduler.collect()


@dataclass
class _Task:
    """A submitted shard.

    Attributes:
        shard: the shard.
        trained: reference to its trained runs, if a GPU trains them.
        attempt: how often it was submitted, without the losses that were the cluster's.
        updates: the updates that were reported.
        started: whether it has sent a heartbeat.
        silence: seconds without a heartbeat.
        hung: whether it was cancelled because it sent none.
    """

    shard: ShardPlan
    trained: Any = None
    attempt: int = 1
    updates: int = 0
    started: bool = False
    silence: float = 0.0
    hung: bool = False


@dataclass
class _Scheduler:
    """Submits tasks, writes their results, and submits lost ones again."""

    engine: RayEngine
    workspace: Workspace
    progress: Progress
    tasks: dict[Any, _Task] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    largest_group: int = 0
    shards_made: int = 0

    def __post_init__(self) -> None:
        self.provenance = provenance(self.workspace.plan.backend)
        self.plan = ray.put(self.workspace.plan)  # once for all tasks, with the digits
        self.heartbeats = start_heartbeats()
        self.last_look = self.last_look_at_nodes = -_NODES_INTERVAL
        self._look_at_nodes()

    def wait_for_capacity(self) -> None:
        """Collect results until few enough tasks are submitted: a plan of any size takes constant memory."""
        while len(self.tasks) >= self._capacity():
            self.collect()

    def _capacity(self) -> float:
        """Return how many tasks keep all cores and GPUs busy."""
        cores, gpus = (sum(node.get(kind, 0) for node in self.nodes.values()) for kind in ("CPU", "GPU"))
        return 2 * max(1, cores, gpus * self.largest_group)

    def submit_group(self, group: ShardGroup) -> None:
        """Submit the training of a group on a GPU, and its shards, which wait for it."""
        self.largest_group = max(self.largest_group, len(group.shards))
        missing = [self.workspace.missing_runs(shard) for shard in group.shards]
        options = {"num_cpus": 1, "num_gpus": 1, "num_returns": len(missing), "max_retries": MAX_ATTEMPTS - 1}
        train = ray.remote(train_runs_task).options(**options)
        references: Any = train.remote(self.plan, missing, self.engine.runs_at_once, self.heartbeats)
        trained = references if len(missing) > 1 else [references]
        for shard, reference in zip(group.shards, trained, strict=True):
            self.submit(_Task(shard, reference))

    def submit(self, task: _Task) -> None:
        """Submit a shard."""
        partial = self.workspace.partial_shard(task.shard)
        make = ray.remote(make_shard_task).options(num_cpus=1, max_retries=0)  # lost tasks are submitted again here
        reference = make.remote(self.plan, task.shard, partial, task.trained, self.engine.store, self.heartbeats)
        self.tasks[reference] = task

    def collect(self) -> None:
        """Write results, submit lost tasks again, cancel those that hang."""
        finished, _ = ray.wait(list(self.tasks), num_returns=1, timeout=POLL_SECONDS)
        self._take_heartbeats()
        for reference in finished:
            task = self.tasks.pop(reference)
            try:
                computed: ComputedShard = ray.get(reference)
            except RayTaskError as error:
                if not is_retryable(error.cause):
                    raise _failure(task.shard, error.cause) from error
                self._resubmit(task, str(error.cause), counts=True)
            except RayError as error:
                self._resubmit(task, type(error).__name__, counts=not isinstance(error, NodeDiedError))
            else:
                self._write(task.shard, computed)

    def _write(self, shard: ShardPlan, computed: ComputedShard) -> None:
        check_provenance(computed.record.made, self.provenance)
        self.workspace.write(shard, computed)
        self.shards_made += 1
        self._show_nodes()
        self.progress.finished(len(shard.table))

    def _resubmit(self, task: _Task, reason: str, *, counts: bool) -> None:
        """Submit a lost task again. Raises WorkerError after too many losses that count."""
        if task.hung:  # before its first heartbeat, the cluster may just have been slow
            reason, counts = f"it sent no heartbeat for {self.engine.silence_limit:g} seconds", task.started
        self.progress.advance(-task.updates)
        if counts and task.attempt == MAX_ATTEMPTS:
            raise WorkerError(
                f"{task.shard} lost its worker {MAX_ATTEMPTS} times ({reason}). Finished shards are kept; run the same "
                "command again, with fewer cores per node if there was not enough memory."
            )
        self.progress.print_line(f"{task.shard} lost its worker or node ({reason}); it is started again.")
        self._look_at_nodes()
        self.submit(_Task(task.shard, task.trained, task.attempt + counts))

    def _take_heartbeats(self) -> None:
        """Count reported updates; cancel tasks that were silent for too long while this process was awake."""
        now = time.monotonic()
        awake, self.last_look = min(now - self.last_look, REPORT_INTERVAL + 2 * POLL_SECONDS), now
        reports: dict[str, int] = ray.get(self.heartbeats.take.remote())
        self.progress.advance(sum(reports.values()))
        for reference, task in self.tasks.items():
            if task.shard.name in reports:
                task.started, task.silence, task.updates = True, 0.0, task.updates + reports[task.shard.name]
            elif reports and not task.started:
                task.silence = 0.0  # as long as others report, it may be waiting for a core
            else:
                task.silence += awake
                if task.silence > self.engine.silence_limit and not task.hung:
                    task.hung = True
                    ray.cancel(reference, force=True)
        if now - self.last_look_at_nodes > _NODES_INTERVAL:
            self._look_at_nodes()

    def _look_at_nodes(self) -> None:
        self.last_look_at_nodes = time.monotonic()
        self.nodes = alive_nodes()
        self._show_nodes()

    def _show_nodes(self) -> None:
        cores = int(sum(resources.get("CPU", 0) for resources in self.nodes.values()))
        nodes = f"{len(self.nodes)} node{'s' * (len(self.nodes) != 1)}"
        text = f"{nodes}, {cores} cores, {self.shards_made} shards made"
        self.progress.set_status(text if cores else f"{text}: waiting for a node with cores")


def _failure(shard: ShardPlan, cause: BaseException) -> BaseException:
    """Return the error to raise for a task that failed and would fail again."""
    if isinstance(cause, ZooError):
        return cause
    if isinstance(cause, RuntimeError):
        return WorkerError(f"{shard} could not be made: {cause}. Finished shards are kept.")
    return cause
