"""The engine of a cluster: Ray tasks compute shards on all nodes, and this process, the driver, writes the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnn_zoos.generation.engines.groups import group_shards
from rnn_zoos.generation.engines.limits import check_numbers
from rnn_zoos.generation.engines.progress import Progress
from rnn_zoos.generation.engines.ray_cluster import check_nodes, connected, has_gpus, wait_for_nodes
from rnn_zoos.generation.engines.ray_scheduler import Scheduler
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.trainers.backends import GPU_BACKENDS
from rnn_zoos.generation.trainers.groups import RUNS_AT_ONCE
from rnn_zoos.generation.writing.store import Store
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.processes import SILENCE_LIMIT

NODES_LIMIT = 600.0
"""Seconds in which the first node has to join a cluster: autoscalers start machines for the first task."""


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
        nodes_limit: seconds to wait for the first node with a core, or with the GPU that triton needs.

    Example:
        >>> from rnn_zoos.generation import RayEngine
        >>> engine = RayEngine(workers=2)  # for generate(plan, directory, engine)
    """

    address: str | None = None
    workers: int | None = None
    runs_at_once: int | None = None
    silence_limit: float = SILENCE_LIMIT
    store: Store | None = None
    nodes_limit: float = NODES_LIMIT

    def __post_init__(self) -> None:
        """Raise WorkerError for numbers that cannot work."""
        check_numbers(self.workers, self.runs_at_once, self.silence_limit)

    def make(self, workspace: Workspace, pending: Sequence[ShardPlan], progress: Progress) -> None:
        """Make shards, and write them with their records into the workspace, or into the store.

        Args:
            workspace: the output directory and its plan, locked by the caller.
            pending: the shards to be made.
            progress: receives updates, finished runs and the state of the cluster.

        Raises:
            ClusterError: the cluster is out of reach, fails or does not answer, or its nodes cannot make this zoo.
            WorkerError: a shard could not be made, or lost its worker three times.
            StorageError: a file could not be written, here or in the store.
        """
        backend = workspace.plan.backend
        if self.store is not None:
            self.store.check_access()
        with connected(self.address, self.workers):
            wait_for_nodes(backend, self.nodes_limit, progress.print_line)
            check_nodes(backend, progress.print_line)
            scheduler = Scheduler(workspace, progress, self.store, self.runs_at_once, self.silence_limit)
            on_gpus = backend in GPU_BACKENDS and has_gpus()
            scheduler.make(group_shards(pending, self.runs_at_once or RUNS_AT_ONCE) if on_gpus else pending)
