"""The engine of a cluster: Ray tasks make shards wherever there is a core, this process writes what comes back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import ray
import torch
from ray.exceptions import NodeDiedError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rnn_zoos.errors import WorkerError, ZooError
from rnn_zoos.generation.engines.local import Group, Packed, groups, pack, unpack
from rnn_zoos.generation.engines.progress import Progress
from rnn_zoos.generation.engines.ray_cluster import alive_nodes, check_made, check_nodes, connected
from rnn_zoos.generation.plan import Plan, ShardPlan
from rnn_zoos.generation.trainers.backends import make_trainer
from rnn_zoos.generation.trainers.groups import RUNS_AT_ONCE
from rnn_zoos.generation.trainers.trainer import Run
from rnn_zoos.generation.writing.records import MadeShard, making
from rnn_zoos.generation.writing.shards import compute_shard
from rnn_zoos.generation.writing.store import Store
from rnn_zoos.generation.writing.workspace import KeptRuns, Workspace
from rnn_zoos.processes import POLL, SILENCE_LIMIT, TRIES, is_loss

_REPORT_EVERY = 1.0  # seconds between a task's reports
_NODES_EVERY = 5.0  # seconds between looks at the nodes


@dataclass(frozen=True)
class RayEngine:
    """Ray tasks of one core each; with the backends `triton` and `stacked`, tasks of one GPU train for them.

    `address` is that of a running cluster; without one, a Ray is started on this machine with `workers` cores (by
    default all). Shards come back as bytes, or are written to `store`, and what is lost with a node is begun again on
    another. `at_once` and `silence_limit` as in `LocalEngine`.
    """

    address: str | None = None
    workers: int | None = None
    at_once: int | None = None
    silence_limit: float = SILENCE_LIMIT
    store: Store | None = None

    def make(self, workspace: Workspace, pending: Sequence[ShardPlan], progress: Progress) -> None:
        """Have all these shards made and recorded in the workspace. Raises ClusterError, WorkerError, StorageError."""
        plan = workspace.plan
        if self.store is not None:
            self.store.check_access()
        with connected(self.address, self.workers):
            check_nodes(plan.backend, progress.say)
            work = _Work(self, workspace, progress)
            gpus = plan.backend in ("triton", "stacked") and any(r.get("GPU", 0) >= 1 for r in alive_nodes().values())
            waiting = groups(pending, self.at_once or RUNS_AT_ONCE) if gpus else map(_alone, pending)
            for group in waiting:
                while work.full:
                    work.collect()
                work.begin(group, on_gpu=gpus)
            while work.tasks:
                work.collect()


@dataclass
class _Task:
    """A shard in work: how often it was begun, what is known of its worker, and its trained runs if a GPU has them."""

    shard: ShardPlan
    trained: Any = None
    tries: int = 1
    updates: int = 0
    begun: bool = False  # it has given a sign of life
    silence: float = 0.0
    hung: bool = False


@dataclass
class _Work:
    """All that is in work in the cluster."""

    engine: RayEngine
    workspace: Workspace
    progress: Progress
    tasks: dict[Any, _Task] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    largest_group: int = 0

    def __post_init__(self) -> None:
        self.here = making(self.workspace.plan.backend)
        self.plan = ray.put(self.workspace.plan)  # once for all tasks, with the digits
        self.pulses: Any = ray.remote(_Pulses).options(**_beside_driver()).remote()
        self.looked = self.looked_at_nodes = -_NODES_EVERY
        self.made = 0
        self._look_at_nodes()

    @property
    def full(self) -> bool:
        """Whether enough is submitted for all cores and GPUs to be busy: a plan of any size takes constant memory."""
        cores, gpus = (sum(node.get(kind, 0) for node in self.nodes.values()) for kind in ("CPU", "GPU"))
        return len(self.tasks) >= 2 * max(1, cores, gpus * self.largest_group)

    def begin(self, group: Group, *, on_gpu: bool) -> None:
        """Submit the shards of a group, whose runs a GPU trains first if there are any."""
        trained: list[Any] = [None] * len(group.shards)
        if on_gpu:
            self.largest_group = max(self.largest_group, len(group.shards))
            missing = [self.workspace.missing_runs(shard) for shard in group.shards]
            train = ray.remote(_train).options(num_cpus=1, num_gpus=1, num_returns=len(missing), max_retries=TRIES - 1)
            references: Any = train.remote(self.plan, missing, self.engine.at_once, self.pulses)
            trained = references if len(missing) > 1 else [references]
        for shard, reference in zip(group.shards, trained, strict=True):
            self._submit(_Task(shard, reference))

    def _submit(self, task: _Task) -> None:
        kept = self.workspace.kept_runs(task.shard)
        make = ray.remote(_make).options(num_cpus=1, max_retries=0)  # what is lost is said, and begun again here
        reference = make.remote(self.plan, task.shard, kept, task.trained, self.engine.store, self.pulses)
        self.tasks[reference] = task

    def collect(self) -> None:
        """Write what was finished, begin again what was lost, stop what hangs."""
        finished, _ = ray.wait(list(self.tasks), num_returns=1, timeout=POLL)
        self._listen()
        for reference in finished:
            task = self.tasks.pop(reference)
            try:
                made: MadeShard = ray.get(reference)
            except RayTaskError as error:
                if not is_loss(error.cause):
                    raise _failure(task.shard, error.cause) from error
                self._again(task, str(error.cause), counts=True)
            except RayError as error:
                self._again(task, type(error).__name__, counts=not isinstance(error, NodeDiedError))
            else:
                check_made(made.record.made, self.here)
                self.workspace.write(task.shard, made)
                self.made += 1
                self._describe()
                self.progress.finished(len(task.shard.table))

    def _again(self, task: _Task, why: str, *, counts: bool) -> None:
        if task.hung:
            why, counts = f"no sign of life for {self.engine.silence_limit:g} seconds", task.begun
        self.progress.advance(-task.updates)
        if counts and task.tries == TRIES:
            raise WorkerError(
                f"{task.shard} lost its worker {TRIES} times ({why}). What was finished is kept; run the same command "
                "again, with fewer cores a node if memory was short."
            )
        self.progress.say(f"{task.shard} lost its worker or node ({why}); it is begun again.")
        self._look_at_nodes()
        self._submit(_Task(task.shard, task.trained, task.tries + counts))

    def _listen(self) -> None:
        """Count reported updates; stop tasks that were silent for too long while this process was awake."""
        now = time.monotonic()
        awake, self.looked = min(now - self.looked, _REPORT_EVERY + 2 * POLL), now
        reports: dict[str, int] = ray.get(self.pulses.take.remote())
        self.progress.advance(sum(reports.values()))
        for reference, task in self.tasks.items():
            if task.shard.name in reports:
                task.begun, task.silence, task.updates = True, 0.0, task.updates + reports[task.shard.name]
            elif reports and not task.begun:
                task.silence = 0.0  # as long as others give signs, it may wait for a core
            else:
                task.silence += awake
                if task.silence > self.engine.silence_limit and not task.hung:
                    task.hung = True
                    ray.cancel(reference, force=True)
        if now - self.looked_at_nodes > _NODES_EVERY:
            self._look_at_nodes()

    def _look_at_nodes(self) -> None:
        self.looked_at_nodes = time.monotonic()
        self.nodes = alive_nodes()
        self._describe()

    def _describe(self) -> None:
        cores = int(sum(resources.get("CPU", 0) for resources in self.nodes.values()))
        text = f"{len(self.nodes)} node{'s' * (len(self.nodes) != 1)}, {cores} cores, {self.made} shards made"
        self.progress.describe(text if cores else f"{text}: waiting for a node with cores")


def _beside_driver() -> dict[str, Any]:
    """Return the options of an actor that lives on this node, whatever others are lost, and rises again if killed."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}


class _Pulses:
    """A Ray actor that gathers what tasks report: shard -> updates since the last look."""

    def __init__(self) -> None:
        self._news: dict[str, int] = {}

    def add(self, shard: str, updates: int) -> None:
        """Add updates of a shard; none are a sign of life."""
        self._news[shard] = self._news.get(shard, 0) + updates

    def take(self) -> dict[str, int]:
        """Return the news, and forget them."""
        news, self._news = self._news, {}
        return news


class _Reporter:
    """Sends the updates of a task to the driver now and then."""

    def __init__(self, pulses: Any, shard: str) -> None:  # noqa: ANN401 - a handle of Ray
        self.pulses, self.shard, self.updates, self.sent = pulses, shard, 0, -_REPORT_EVERY

    def __call__(self, updates: int) -> None:
        self.updates += updates
        if time.monotonic() - self.sent > _REPORT_EVERY:
            self.flush()

    def flush(self) -> None:
        self.pulses.add.remote(self.shard, self.updates)
        self.updates, self.sent = 0, time.monotonic()


def _make(
    plan: Plan,
    shard: ShardPlan,
    kept: KeptRuns | None,
    trained: list[Packed] | None,
    store: Store | None,
    pulses: Any,  # noqa: ANN401
) -> MadeShard:
    """Make a shard, on a node: return it whole, or its record if the files went to the store."""
    torch.set_num_threads(1)
    report = _Reporter(pulses, shard.name)
    report(0)
    made = compute_shard(plan, shard, report, kept, None if trained is None else map(unpack, trained))
    report.flush()
    if store is None:
        return made
    for kind, data in made.files.items():
        store.write(shard.path(kind), data)
    return replace(made, files={})


def _train(
    plan: Plan,
    missing: list[tuple[Run, ...]],
    at_once: int | None,
    pulses: Any,  # noqa: ANN401
) -> list[list[Packed]] | list[Packed]:
    """Train the runs of some shards at once, on the GPU that Ray gives; return those of every shard."""
    report = _Reporter(pulses, "trained on GPUs")
    runs = [run for shard in missing for run in shard]
    trained = make_trainer(plan.backend, at_once=at_once).train(plan.family, plan.settings, runs, report)
    results = [[pack(run) for run in islice(trained, len(shard))] for shard in missing]
    report.flush()
    return results if len(missing) > 1 else results[0]


def _alone(shard: ShardPlan) -> Group:
    return Group((shard,))


def _failure(shard: ShardPlan, cause: BaseException) -> BaseException:
    if isinstance(cause, ZooError):
        return cause
    if isinstance(cause, RuntimeError):
        return WorkerError(f"{shard} could not be made: {cause}. Finished shards are kept.")
    return cause
