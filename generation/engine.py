"""Making a zoo on one machine: a worker process per core, a shard at a time, and a person who watches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch

from rnn_zoos.errors import WorkerError
from rnn_zoos.files import Array
from rnn_zoos.generation.backends import make_trainer
from rnn_zoos.generation.plan import Plan, ShardPlan
from rnn_zoos.generation.progress import Progress
from rnn_zoos.generation.shards import make_shard
from rnn_zoos.generation.training import Report, Run, TrainedRun
from rnn_zoos.generation.workspace import Workspace, locked
from rnn_zoos.manifest import Manifest, read_manifest
from rnn_zoos.workers import available_cores, spawn_context, submit, worker_processes

_POLL = 0.2  # seconds between looks at the workers' reports

Reports = SimpleQueue[int]
Packed = tuple[Run, tuple[int, ...], dict[str, Array], bool]
"""A TrainedRun on its way to a worker."""


def generate(plan: Plan, directory: Path, workers: int | None = None) -> Manifest:
    """Make the zoo of a plan in a directory, or finish or extend the one that was begun there.

    One single-threaded process per core trains one shard at a time: on small networks that is faster than threads
    within a process. A backend for GPUs trains the runs of many shards at once in this process, and the workers
    measure and write them. Stopping it in any way loses at most the shards in work. Raises ZooError children;
    KeyboardInterrupt passes through after the workers have been stopped.
    """
    workspace = Workspace(directory, plan)
    workspace.look()  # before anything is written, were it only a lock
    with locked(directory):
        pending = workspace.prepare()
        if pending is None:
            return read_manifest(directory)
        if pending:
            workers = min(workers or available_cores(), len(pending))
            try:
                _make_shards(workspace, pending, workers)
            except BrokenProcessPool as error:
                raise WorkerError(
                    "A worker process died (killed, or out of memory). Finished shards are kept; run the same "
                    f"command again, with fewer --workers than {workers} if memory was short."
                ) from error
        return workspace.finish()


def _make_shards(workspace: Workspace, pending: list[ShardPlan], workers: int) -> None:
    plan = workspace.plan
    missing = {shard.name: workspace.missing_runs(shard) for shard in pending}
    new = sum(map(len, missing.values()))
    reports: Reports = spawn_context().SimpleQueue()
    with (
        worker_processes(workers, _start_worker, plan, workspace.directory, reports) as pool,
        Progress(plan.settings.runs, plan.settings.runs - new, new * plan.settings.num_updates) as progress,
    ):
        futures: dict[Future[None], ShardPlan] = {}

        def collect(timeout: float) -> None:
            finished, _ = wait(futures, timeout, FIRST_COMPLETED)
            while not reports.empty():
                progress.advance(reports.get())
            for future in finished:
                shard = futures.pop(future)
                _raise_failure(future, shard, workers)
                progress.finished(len(missing[shard.name]))

        for shard, trained in _assignments(plan, pending, missing, progress.advance):
            futures[submit(pool, _work, shard, trained)] = shard
            collect(0)  # what failed is noticed before the next shards are trained
        while futures:
            collect(_POLL)


def _raise_failure(future: Future[None], shard: ShardPlan, workers: int) -> None:
    try:
        future.result()
    except BrokenProcessPool:
        raise
    except (RuntimeError, MemoryError) as error:  # torch reports want of memory as a RuntimeError
        raise WorkerError(
            f"Shard {shard.name} could not be made: {error}. Finished shards are kept; if memory "
            f"was short, run the same command again with fewer --workers than {workers}, or make the "
            "networks of the preset smaller."
        ) from error


def _assignments(
    plan: Plan, pending: list[ShardPlan], missing: Mapping[str, list[Run]], report: Report
) -> Iterator[tuple[ShardPlan, list[Packed] | None]]:
    """Yield every shard that a worker is to make, with its trained runs if the backend trains many at once (here).

    The workers measure and write while the runs of the next shards are being trained.
    """
    trainer = make_trainer(plan.backend)
    at_once = trainer.at_once
    if at_once is None:
        yield from ((shard, None) for shard in pending)
        return
    for group in _groups(pending, missing, at_once):
        runs = [run for shard in group for run in missing[shard.name]]
        try:
            trained = trainer.train(plan.family, plan.settings, runs, report)
            for shard in group:
                yield shard, [_pack(run) for run in islice(trained, len(missing[shard.name]))]
        except RuntimeError as error:  # out of memory, or whatever else a device reports
            raise WorkerError(
                f"Backend {plan.backend} could not train {len(runs)} runs at once: {error}. Finished shards are kept; "
                "make the networks of the preset smaller, or use --backend native."
            ) from error


def _groups(pending: list[ShardPlan], missing: Mapping[str, list[Run]], at_once: int) -> Iterator[list[ShardPlan]]:
    """Yield shards in groups that have `at_once` runs to be trained, or fewer, but at least one shard."""
    group: list[ShardPlan] = []
    for shard in pending:
        if group and sum(len(missing[s.name]) for s in [*group, shard]) > at_once:
            yield group
            group = []
        group.append(shard)
    if group:
        yield group


def _pack(trained: TrainedRun) -> Packed:
    """Turn tensors into arrays: torch would send tensors by shared memory, of which containers have little."""
    weights = {name: tensor.numpy() for name, tensor in trained.weights.items()}
    return trained.run, trained.steps, weights, trained.diverged


def _unpack(packed: Packed) -> TrainedRun:
    run, steps, weights, diverged = packed
    return TrainedRun(run, steps, {name: torch.from_numpy(array) for name, array in weights.items()}, diverged)


_job: tuple[Plan, Path, Reports] | None = None  # of this worker process: sent once, not with every shard


def _start_worker(plan: Plan, directory: Path, reports: Reports) -> None:
    global _job
    _job = plan, directory, reports


def _work(shard: ShardPlan, trained: list[Packed] | None) -> None:
    assert _job is not None, "worker processes start with _start_worker"
    plan, directory, reports = _job
    make_shard(directory, plan, shard, reports.put, None if trained is None else map(_unpack, trained))
