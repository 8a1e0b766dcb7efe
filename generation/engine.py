"""Making a zoo on one machine: a worker process per core, a shard at a time, and a person who watches."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for_any
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch

from rnn_zoos.errors import WorkerError
from rnn_zoos.generation.plan import Plan, ShardPlan
from rnn_zoos.generation.progress import Progress
from rnn_zoos.generation.shards import make_shard
from rnn_zoos.generation.workspace import Workspace, locked
from rnn_zoos.manifest import Manifest, read_manifest

_POLL = 0.2  # seconds between looks at the workers' reports

Reports = SimpleQueue[int]


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def generate(plan: Plan, directory: Path, workers: int | None = None) -> Manifest:
    """Make the zoo of a plan in a directory, or finish or extend the one that was begun there.

    One single-threaded process per core trains one shard at a time: on small networks that is faster than threads
    within a process. Stopping it in any way loses at most the shards in work. Raises ZooError children;
    KeyboardInterrupt passes through after the workers have been stopped.
    """
    workspace = Workspace(directory, plan)
    workspace.look()  # before anything is written, were it only a lock
    with locked(directory):
        pending = workspace.prepare()
        if pending is None:
            return read_manifest(directory)
        if pending:
            _make_shards(workspace, pending, min(workers or available_cores(), len(pending)))
        return workspace.finish()


def _make_shards(workspace: Workspace, pending: list[ShardPlan], workers: int) -> None:
    plan = workspace.plan
    new = {shard.name: len(shard.runs) - len(workspace.kept_runs(shard)) for shard in pending}
    done_before, updates = plan.settings.runs - sum(new.values()), sum(new.values()) * plan.settings.num_updates
    with (
        _pool(workers, plan, workspace.directory) as (pool, reports),
        Progress(plan.settings.runs, done_before, updates) as progress,
    ):
        with _deaf_to_ctrl_c():  # new processes are, from their first moment: they inherit it
            futures = {pool.submit(_work, shard): shard for shard in pending}
        running: set[Future[None]] = set(futures)
        while running:
            finished, running = wait(running, timeout=_POLL, return_when=FIRST_COMPLETED)
            while not reports.empty():
                progress.advance(reports.get())
            for future in finished:
                try:
                    future.result()
                except BrokenProcessPool as error:
                    raise WorkerError(
                        "A worker process died (killed, or out of memory). Finished shards are kept; run the same "
                        f"command again, with fewer --workers than {workers} if memory was short."
                    ) from error
                except (RuntimeError, MemoryError) as error:  # torch reports want of memory as a RuntimeError
                    raise WorkerError(
                        f"Shard {futures[future].name} could not be made: {error}. Finished shards are kept; if memory "
                        f"was short, run the same command again with fewer --workers than {workers}, or make the "
                        "networks of the preset smaller."
                    ) from error
                progress.finished(new[futures[future].name])


@contextmanager
def _pool(workers: int, plan: Plan, directory: Path) -> Iterator[tuple[ProcessPoolExecutor, Reports]]:
    """Yield worker processes and the queue of their reports; leaving by an exception stops them at once."""
    context = multiprocessing.get_context("spawn")
    reports: Reports = context.SimpleQueue()
    pool = ProcessPoolExecutor(workers, context, _start_worker, (plan, directory, reports))
    try:
        yield pool, reports
    except BaseException:
        processes = list((pool._processes or {}).values())  # no public way to stop a running task before Python 3.14
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        raise
    pool.shutdown()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Hold SIGINT back until the end of the block, where it is delivered."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_job: tuple[Plan, Path, Reports] | None = None  # of this worker process: sent once, not with every shard


def _start_worker(plan: Plan, directory: Path, reports: Reports) -> None:
    """Set up a worker process: one thread, deaf to Ctrl-C (the parent decides), gone when the parent is."""
    global _job
    _job = plan, directory, reports
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_any([parent.sentinel])
        os._exit(1)


def _work(shard: ShardPlan) -> None:
    assert _job is not None, "worker processes start with _start_worker"
    plan, directory, reports = _job
    make_shard(directory, plan, shard, reports.put)
