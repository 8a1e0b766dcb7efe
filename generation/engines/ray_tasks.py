"""What Ray runs on the nodes of a cluster: tasks that make shards or train runs; an actor that gathers heartbeats."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rnn_zoos.generation.engines.groups import RunArrays, train_together
from rnn_zoos.generation.plan import Plan, ShardPlan
from rnn_zoos.generation.trainers.trainer import Run
from rnn_zoos.generation.writing.records import ComputedShard
from rnn_zoos.generation.writing.resuming import PartialShard
from rnn_zoos.generation.writing.shards import compute_shard
from rnn_zoos.generation.writing.store import Store

REPORT_INTERVAL = 1.0
"""Seconds between a task's heartbeats."""


class Heartbeats:
    """An actor that gathers the heartbeats of tasks: name of the shard -> updates done since they were last taken."""

    def __init__(self) -> None:
        self._updates: dict[str, int] = {}

    def add(self, shard: str, updates: int) -> None:
        """Add updates of a shard; 0 updates are a heartbeat, too."""
        self._updates[shard] = self._updates.get(shard, 0) + updates

    def take(self) -> dict[str, int]:
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

    def __init__(self, heartbeats: Any, name: str) -> None:  # noqa: ANN401 - a handle of Ray
        self.heartbeats, self.name, self.updates, self.last_sent = heartbeats, name, 0, -REPORT_INTERVAL

    def __call__(self, updates: int) -> None:
        """Count updates, and send them if it is time."""
        self.updates += updates
        if time.monotonic() - self.last_sent > REPORT_INTERVAL:
            self.flush()

    def flush(self) -> None:
        """Send the updates that were not sent yet."""
        self.heartbeats.add.remote(self.name, self.updates)
        self.updates, self.last_sent = 0, time.monotonic()


def make_shard_task(
    plan: Plan,
    shard: ShardPlan,
    partial: PartialShard | None,
    trained: list[RunArrays] | None,
    store: Store | None,
    heartbeats: Any,  # noqa: ANN401 - a handle of Ray
) -> ComputedShard:
    """Compute a shard and return it; without its files, if they went to the store."""
    torch.set_num_threads(1)
    report = Reporter(heartbeats, shard.name)
    report(0)
    runs = None if trained is None else (run.as_trained_run() for run in trained)
    computed = compute_shard(plan, shard, report, partial, runs)
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
) -> list[list[RunArrays]] | list[RunArrays]:
    """Train the runs of several shards together on the GPU that Ray provides; return the trained runs of every shard.

    For a single shard the result is not a list of lists, because the task then has one return value.
    """
    report = Reporter(heartbeats, "trained on GPUs")
    trained = train_together(plan, missing, report, None, runs_at_once)
    report.flush()
    return trained if len(missing) > 1 else trained[0]
