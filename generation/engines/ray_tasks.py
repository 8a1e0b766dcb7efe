"""What Ray runs on the nodes of a cluster: tasks that make shards or train runs; an actor that gathers heartbeats."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import ray
import torch
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rnn_zoos.generation.engines.groups import ShardArrays, train_together
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.trainers.groups import RUNS_AT_ONCE
from rnn_zoos.generation.trainers.memory import bounded_runs_at_once
from rnn_zoos.generation.trainers.trainer import Run
from rnn_zoos.generation.writing.provenance import provenance
from rnn_zoos.generation.writing.records import ComputedShard
from rnn_zoos.generation.writing.resuming import PartialShard
from rnn_zoos.generation.writing.shards import compute_shard
from rnn_zoos.generation.writing.store import Store

REPORT_INTERVAL = 1.0
"""Seconds between a task's heartbeats."""


class Heartbeats:
    """An actor that gathers the heartbeats of tasks: number of the task -> updates since they were last taken."""

    def __init__(self) -> None:
        self._updates: dict[int, int] = {}

    def add(self, task: int, updates: int) -> None:
        """Add updates of a task; 0 updates are a heartbeat, too."""
        self._updates[task] = self._updates.get(task, 0) + updates

    def take(self) -> dict[int, int]:
        """Return what was gathered since the last call."""
        updates, self._updates = self._updates, {}
        return updates


def start_heartbeats() -> Any:  # noqa: ANN401 - a handle of Ray
    """Start the actor on the driver's node, where it survives the loss of other nodes; it is restarted if killed."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    return ray.remote(Heartbeats).options(**options, scheduling_strategy=here).remote()


class Reporter:
    """The `report` of a task: sends updates to the actor, about once per second."""

    def __init__(self, heartbeats: Any, task: int) -> None:  # noqa: ANN401 - a handle of Ray
        self.heartbeats, self.task, self.updates, self.last_sent = heartbeats, task, 0, -REPORT_INTERVAL

    def __call__(self, updates: int) -> None:
        """Count updates, and send them if it is time."""
        self.updates += updates
        if time.monotonic() - self.last_sent > REPORT_INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Send the updates that were not sent yet."""
        self.heartbeats.add.remote(self.task, self.updates)
        self.updates, self.last_sent = 0, time.monotonic()


def pack(argument: object) -> bytes:
    """Return an argument of a task in the form in which `remote_call` takes it."""
    packed: bytes = cloudpickle.dumps(argument)
    return packed


def remote_call() -> Any:  # noqa: ANN401 - a remote function of Ray
    """Return the remote function that all tasks are calls of: `call(heartbeats, task, function, *arguments)`.

    `task` is the number of the task. The others are packed (`pack`), or references to what was packed. So the first
    heartbeat is sent before anything is imported or unpacked: a task that sent none is waiting for a core.
    """

    def call(heartbeats: Any, task: int, *packed: bytes) -> Any:  # noqa: ANN401 - as a local function, sent by value
        heartbeats.add.remote(task, 0)
        function, *arguments = map(cloudpickle.loads, packed)
        return function(*arguments, heartbeats, task)

    return ray.remote(call)


def make_shard_task(
    plan: Plan,
    shard: ShardPlan,
    partial: PartialShard | None,
    trained: ShardArrays | None,
    store: Store | None,
    heartbeats: Any,  # noqa: ANN401 - a handle of Ray
    task: int,
) -> ComputedShard:
    """Compute a shard and return it; without its files, if they went to the store."""
    torch.set_num_threads(1)
    report = Reporter(heartbeats, task)
    report(0)  # imports have ended
    if trained is None:
        computed = compute_shard(plan, shard, report, partial)
    else:
        runs = trained.as_trained_shard()
        computed = compute_shard(plan, shard, report, partial, runs.runs, runs.made, runs.seconds)
    report.flush()
    if store is None:
        return computed
    for kind, data in computed.files.items():
        store.write(shard.path(kind), data)
    return replace(computed, files={})


def train_runs_task(
    plan: Plan,
    missing: list[tuple[Run, ...]],
    runs_at_once: int | None,
    heartbeats: Any,  # noqa: ANN401 - a handle of Ray
    task: int,
) -> list[Any]:
    """Train the runs of several shards together on the GPU that Ray provides, as many at once as fit into memory.

    Returns:
        The provenance of the runs, which is small; then the trained runs of every shard, packed for `make_shard_task`.
    """
    report = Reporter(heartbeats, task)
    report(0)  # imports have ended
    device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted = runs_at_once or RUNS_AT_ONCE
    architecture = next((run.architecture for runs in missing for run in runs), 0)
    settings = plan.settings.largest()[architecture]
    count, notice = bounded_runs_at_once(plan.backend, plan.family, settings, [device], wanted)
    if notice is not None:
        print(notice, file=sys.stderr)  # for the log of the task
    trained = [pack(ShardArrays.of(shard)) for shard in train_together(plan, missing, report, None, count)]
    report.flush()
    return [provenance(plan.backend), *trained]
