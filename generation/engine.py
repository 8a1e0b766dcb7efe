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
    with locked(directory):
        workspace = Workspace(directory, plan)
        pending = workspace.prepare()
        if workspace.is_finished():
            return read_manifest(directory)
        if pending:
            _make_shards(plan, directory, pending, min(workers or available_cores(), len(pending)))
        return workspace.finish()


def _make_shards(plan: Plan, directory: Path, pending: list[ShardPlan], workers: int) -> None:
    updates = sum(len(shard.runs) for shard in pending) * plan.settings.num_updates
    done_before = plan.settings.runs - sum(len(shard.runs) for shard in pending)
    with (
        _pool(workers, plan, directory) as (pool, reports),
        Progress(plan.settings.runs, done_before, updates) as progress,
    ):
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
                progress.finished(len(futures[future].runs))


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
