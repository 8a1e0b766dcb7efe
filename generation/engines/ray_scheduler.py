"""Scheduling on a Ray cluster: submits tasks, writes their results, submits lost ones again, cancels those that hang.

Ray itself retries nothing: whatever it started again would send heartbeats that nobody waits for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import NodeDiedError, ObjectLostError, RayError, RayTaskError

from rnn_zoos.errors import WorkerError, ZooError
from rnn_zoos.generation.engines.groups import ShardGroup, updates_of
from rnn_zoos.generation.engines.progress import Progress
from rnn_zoos.generation.engines.ray_cluster import alive_nodes, check_provenance, fetch
from rnn_zoos.generation.engines.ray_tasks import (
    REPORT_INTERVAL,
    make_shard_task,
    pack,
    remote_call,
    start_heartbeats,
    train_runs_task,
)
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.writing.provenance import provenance
from rnn_zoos.generation.writing.records import ComputedShard
from rnn_zoos.generation.writing.store import Store
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.processes import MAX_ATTEMPTS, POLL_SECONDS, is_retryable

_NODES_INTERVAL = 5.0  # seconds between two looks at the nodes


@dataclass
class _Task:
    """A shard to be made, or a group of shards whose runs a GPU trains together.

    Attributes:
        work: the shard or the group.
        trained: reference to the trained runs of a shard; None if its task trains them.
        training: number of the task that trained them.
        attempt: how often the work was submitted, without the losses that were the cluster's.
        number: the number of the task, which its heartbeats have.
        results: references to what the task returns after its first result.
        updates: the updates that were reported.
        started: whether it has sent a heartbeat.
        silence: seconds without a heartbeat.
    """

    work: ShardPlan | ShardGroup
    trained: Any = None
    training: int | None = None
    attempt: int = 1
    number: int = 0
    results: Sequence[Any] = ()
    updates: int = 0
    started: bool = False
    silence: float = 0.0

    @property
    def shards(self) -> tuple[ShardPlan, ...]:
        """The shards that become of it."""
        return self.work.shards if isinstance(self.work, ShardGroup) else (self.work,)

    def __str__(self) -> str:
        return f"training of {self.work}" if isinstance(self.work, ShardGroup) else str(self.work)


@dataclass
class Scheduler:
    """Has shards made by a cluster that this process has joined, and writes them.

    Attributes:
        workspace: the output directory and its plan, locked by the caller.
        progress: receives updates, finished runs and the state of the cluster.
        store: where tasks write the files of the shards; None to send them here.
        runs_at_once: how many runs are trained together on a GPU; None for the default.
        silence_limit: seconds without a heartbeat after which a task is considered hung.
    """

    workspace: Workspace
    progress: Progress
    store: Store | None
    runs_at_once: int | None
    silence_limit: float
    _tasks: dict[Any, _Task] = field(default_factory=dict)  # by the reference to the first result
    _nodes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    _newest_started: dict[type, int] = field(default_factory=dict)  # kind of work -> number of a task
    _num_submitted: int = 0
    _largest_group: int = 0
    _shards_made: int = 0

    def __post_init__(self) -> None:
        self._provenance = provenance(self.workspace.plan.backend)
        self._plan = ray.put(pack(self.workspace.plan))  # once for all tasks, with the digits
        self._call, self._heartbeats = remote_call(), start_heartbeats()
        self._last_look = self._last_look_at_nodes = -_NODES_INTERVAL
        self._look_at_nodes()

    def make(self, pending: Iterable[ShardPlan | ShardGroup]) -> None:
        """Make shards; those of a group are trained together on a GPU. A plan of any size takes constant memory.

        Raises ClusterError, WorkerError and StorageError as `RayEngine.make` does.
        """
        for work in pending:
            while sum(len(task.shards) for task in self._tasks.values()) >= self._capacity():
                self._collect()
            self._submit(_Task(work))
        while self._tasks:
            self._collect()

    def _capacity(self) -> float:
        """Return how many shards keep all cores and GPUs busy."""
        cores, gpus = (sum(node.get(kind, 0) for node in self._nodes.values()) for kind in ("CPU", "GPU"))
        return 2 * max(1, cores, gpus * self._largest_group)

    def _submit(self, task: _Task) -> None:
        self._num_submitted += 1
        task.number = self._num_submitted
        function: Callable[..., Any]
        options: dict[str, int]
        if isinstance(task.work, ShardGroup):
            self._largest_group = max(self._largest_group, len(task.shards))
            missing = [self.workspace.missing_runs(shard) for shard in task.shards]
            arguments = [pack(missing), pack(self.runs_at_once)]
            function, options = train_runs_task, {"num_gpus": 1, "num_returns": 1 + len(missing)}
        else:
            partial = self.workspace.partial_shard(task.work)
            trained = pack(None) if task.trained is None else task.trained
            arguments = [pack(task.work), pack(partial), trained, pack(self.store)]
            function, options = make_shard_task, {}
        call = self._call.options(name=function.__name__, num_cpus=1, max_retries=0, **options)
        references = call.remote(self._heartbeats, task.number, pack(function), self._plan, *arguments)
        first, *task.results = references if isinstance(references, list) else [references]
        self._tasks[first] = task

    def _collect(self) -> None:
        """Write results, submit lost tasks again, cancel those that hang."""
        references = list(self._tasks)
        ray.wait(references, num_returns=1, timeout=POLL_SECONDS)
        finished, _ = ray.wait(references, num_returns=len(references), timeout=0)
        self._take_heartbeats(finished)
        for reference in finished:
            if reference in self._tasks:  # not if it was submitted again meanwhile
                self._finish(reference, self._tasks.pop(reference))
        for reference, task in list(self._tasks.items()):
            if task.silence > self.silence_limit:
                self._cancel(reference)
                # Before its first heartbeat it may have waited for a core all the time.
                self._resubmit(task, f"it sent no heartbeat for {self.silence_limit:g} seconds", counts=task.started)
        if time.monotonic() - self._last_look_at_nodes > _NODES_INTERVAL:
            self._look_at_nodes()

    def _take_heartbeats(self, finished: Collection[Any]) -> None:
        """Count reported updates, and the seconds of silence in which this process was awake."""
        now = time.monotonic()
        awake, self._last_look = min(now - self._last_look, REPORT_INTERVAL + 2 * POLL_SECONDS), now
        reports: dict[int, int] = fetch(self._heartbeats.take.remote(), "The heartbeats of the tasks")
        self.progress.advance(sum(reports.values()))
        for reference, task in self._tasks.items():
            kind = type(task.work)
            if task.number in reports:
                task.started, task.silence, task.updates = True, 0.0, task.updates + reports[task.number]
                self._newest_started[kind] = max(task.number, self._newest_started.get(kind, 0))
            elif reports and not task.started and task.number > self._newest_started.get(kind, 0):
                task.silence = 0.0  # it waits for a core: others work, and none that was submitted later has started
            elif reference not in finished:
                task.silence += awake

    def _finish(self, reference: Any, task: _Task) -> None:  # noqa: ANN401 - a reference of Ray
        """Write a shard, submit the shards of a group that is trained, or submit a lost task again."""
        try:
            result = fetch(reference, f"The result of the {task}")
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            if not (isinstance(cause, RayError) or is_retryable(cause)):
                raise self._failure(task, cause) from error
            reason = type(cause).__name__ if isinstance(cause, RayError) else str(cause)
            is_lost = isinstance(cause, ObjectLostError)
            counts = not is_lost and not isinstance(cause, NodeDiedError)
            self._resubmit(task, reason, counts=counts, train=is_lost and task.trained is not None)
            return
        if isinstance(task.work, ShardGroup):
            check_provenance(result, self._provenance)
            for shard, trained in zip(task.shards, task.results, strict=True):
                self._submit(_Task(shard, trained, task.number))
        else:
            self._write(task.work, result)

    def _write(self, shard: ShardPlan, computed: ComputedShard) -> None:
        check_provenance(computed.record.made, self._provenance)
        self.workspace.write(shard, computed)
        self._shards_made += 1
        self._show_nodes()
        self.progress.finished(len(shard.table))

    def _resubmit(self, task: _Task, reason: str, *, counts: bool, train: bool = False) -> None:
        """Submit a lost task again, with `train` after training its runs again.

        Raises WorkerError after too many losses that count.
        """
        self.progress.advance(-task.updates)
        if counts and task.attempt == MAX_ATTEMPTS:
            raise WorkerError(
                f"The {task} lost its worker {MAX_ATTEMPTS} times ({reason}). Finished shards are kept; run the same "
                "command again, with fewer cores per node if there was not enough memory."
            )
        self.progress.print_line(f"The {task} lost its worker or node ({reason}); it is started again.")
        self._look_at_nodes()
        if train:
            self._train_again(task)
        else:
            self._submit(_Task(task.work, task.trained, task.training, task.attempt + counts))

    def _train_again(self, lost: _Task) -> None:
        """Train the runs of a shard again, with those of the shards that would find theirs lost, too."""
        same = {r: t for r, t in self._tasks.items() if t.training == lost.training and not t.started}
        for reference in same:
            self._cancel(reference)
        shards = [shard for task in (lost, *same.values()) for shard in task.shards]
        self.progress.advance(-sum(updates_of(self.workspace, shard) for shard in shards))
        self._submit(_Task(ShardGroup(tuple(shards)), attempt=lost.attempt))

    def _cancel(self, reference: Any) -> None:  # noqa: ANN401 - a reference of Ray
        """Cancel a task and forget it: a node that does not answer may never confirm it."""
        ray.cancel(reference, force=True)
        del self._tasks[reference]

    def _failure(self, task: _Task, cause: BaseException) -> BaseException:
        """Return the error to raise for a task that failed and would fail again."""
        if isinstance(cause, ZooError) or not isinstance(cause, RuntimeError):
            return cause
        hint = " Use a smaller --at-once, or another --backend." if isinstance(task.work, ShardGroup) else ""
        return WorkerError(f"The {task} could not be made: {cause}. Finished shards are kept.{hint}")

    def _look_at_nodes(self) -> None:
        self._last_look_at_nodes = time.monotonic()
        self._nodes = alive_nodes()
        self._show_nodes()

    def _show_nodes(self) -> None:
        cores = int(sum(resources.get("CPU", 0) for resources in self._nodes.values()))
        nodes = f"{len(self._nodes)} node{'s' * (len(self._nodes) != 1)}"
        text = f"{nodes}, {cores} cores, {self._shards_made} shards made"
        self.progress.set_status(text if cores else f"{text}: waiting for a node with cores")
