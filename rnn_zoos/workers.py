"""Worker processes: one thread each, deaf to Ctrl-C, which the parent decides on, and gone when the parent is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spawn_context() -> SpawnContext:
    """Return the context of new processes, for queues that they share: forks of a process with threads may hang."""
    return multiprocessing.get_context("spawn")


@contextmanager
def worker_processes(workers: int, start: Callable[..., None], *arguments: object) -> Iterator[ProcessPoolExecutor]:
    """Yield worker processes, in which `start(*arguments)` was called; leaving by an exception stops them at once.

    Give them work with `submit`.
    """
    pool = ProcessPoolExecutor(workers, spawn_context(), _start, (start, arguments))
    try:
        yield pool
    except BaseException:
        processes = list((pool._processes or {}).values())  # no public way to stop a running task before Python 3.14
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        raise
    pool.shutdown()


def submit(pool: ProcessPoolExecutor, work: Callable[..., Result], *arguments: Any) -> Future[Result]:  # noqa: ANN401
    """Submit work; processes that this starts are deaf to Ctrl-C from their first moment: they inherit it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(work, *arguments)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(start: Callable[..., None], arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    start(*arguments)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
