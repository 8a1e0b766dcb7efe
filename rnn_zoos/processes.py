"""Worker processes: one thread each, deaf to Ctrl-C, which the parent decides on, and gone when the parent is.

A pool outlives its workers: one that dies (killed, out of memory) or hangs is replaced, and its task is done again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.sharedctypes import RawArray
from types import TracebackType
from typing import Any, Generic, TypeVar

import torch

from rnn_zoos.errors import WorkerError

Task = TypeVar("Task")
Result = TypeVar("Result")

POLL = 0.2
"""Seconds between looks at the workers."""
SILENCE_LIMIT = 1800.0
"""Seconds without a sign of life after which a worker counts as hanging."""
TRIES = 3
"""Times that a task is begun before its loss is an error."""
_MANAGER_ENDS = 5.0  # seconds for a pool's thread to end: Python's own exit, if it meets it, prints a traceback


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Worker:
    """A worker's place in its pool: its number, and how it says that it has done some units of work (or just lives)."""

    number: int
    report: Callable[[int], None]


class WorkerPool(Generic[Task, Result]):
    """`size` processes that call `work(*shared, task, worker)`, a function that can be pickled by name.

    `shared` is sent to every process once. `advance` gets every task's units of work that were done, and those that
    were lost with a worker as a negative number; `say` a line for people when a worker is replaced. Leaving kills
    all workers, by an exception or not. A worker hangs if it reports nothing for `silence_limit` seconds in which this
    process was awake, so that a suspended machine accuses nobody.
    """

    def __init__(
        self,
        size: int,
        work: Callable[..., Result],
        *shared: object,
        silence_limit: float = SILENCE_LIMIT,
        advance: Callable[[Task, int], None] = lambda task, units: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.silence_limit, self.advance, self.say = silence_limit, advance, say
        job = (work, shared)
        self._processes: list[_WorkerProcess[Task, Result]] = [_WorkerProcess(number, job) for number in range(size)]
        self._last_look = time.monotonic()

    def __enter__(self) -> WorkerPool[Task, Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Kill all: what they have finished is collected, and one that hangs would not end otherwise."""
        for worker in self._processes:
            worker.kill()
        for worker in self._processes:
            worker.join()

    @property
    def idle(self) -> int:
        """How many workers have nothing to do."""
        return sum(worker.task is None for worker in self._processes)

    @property
    def busy(self) -> int:
        """How many tasks are in work."""
        return len(self._processes) - self.idle

    def work_through(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Future[Result]]]:
        """Give out all tasks, and yield each with its future as it is finished, as `collect` does."""
        waiting = deque(tasks)
        while waiting or self.busy:
            while waiting and self.idle:
                self.give(waiting.popleft())
            yield from self.collect()

    def give(self, task: Task) -> None:
        """Give a task to an idle worker."""
        next(worker for worker in self._processes if worker.task is None).begin(task)

    def collect(self, timeout: float = POLL) -> Iterator[tuple[Task, Future[Result]]]:
        """Yield what was finished within some seconds: each task and its future, which has the result or the error.

        Raises WorkerError if a task has lost its worker too often.
        """
        futures = {worker.future: worker for worker in self._processes if worker.future is not None}
        if not futures:
            time.sleep(timeout)
        finished, _ = wait(futures, timeout, FIRST_COMPLETED)
        awake = min(time.monotonic() - self._last_look, 2 * max(timeout, POLL))
        self._last_look = time.monotonic()
        for future, worker in futures.items():
            task = worker.task
            assert task is not None
            self.advance(task, worker.news(awake))
            if future in finished:
                if is_loss(future.exception()):
                    self._replace(worker, task)
                else:
                    worker.task, worker.future = None, None
                    yield task, future
            elif worker.silence > self.silence_limit:
                worker.hung = True
                self._replace(worker, task)

    def _replace(self, worker: _WorkerProcess[Task, Result], task: Task) -> None:
        tries = worker.tries
        self.advance(task, -worker.done)
        silent = f"gave no sign of life for {self.silence_limit:g} seconds"
        how = silent if worker.hung else "died or was out of memory"
        if tries == TRIES:
            raise WorkerError(
                f"The worker process at {task} {how}, {TRIES} times. What was finished is kept; run the same command "
                f"again, with fewer --workers than {len(self._processes)} if memory was short."
            )
        self.say(f"The worker process at {task} {how}; the work is begun again ({tries + 1} of {TRIES}).")
        worker.kill()
        worker.begin(task, tries + 1)


class _WorkerProcess(Generic[Task, Result]):
    """One process, in a pool of its own: what kills it breaks nobody else's pool."""

    def __init__(self, number: int, job: tuple[Callable[..., Result], tuple[object, ...]]) -> None:
        self.number, self.job = number, job
        self.task: Task | None = None
        self.future: Future[Result] | None = None
        self.tries, self.done, self.beats, self.silence, self.hung = 0, 0, 0, 0.0, False
        # Units of work and signs of life, written by the worker alone: a lock that a killed process held would stay.
        self.pulse: Any = RawArray("Q", 2)
        self.pool: ProcessPoolExecutor | None = None
        self.manager: Any = None  # the thread of the last pool

    def begin(self, task: Task, tries: int = 1) -> None:
        """Start a task; processes that this starts are deaf to Ctrl-C from their first moment: they inherit it."""
        if self.pool is None:
            self._open()
        self.task, self.tries, self.silence, self.hung = task, tries, 0.0, False
        self.done, self.base, self.beats = 0, self.pulse[0], self.pulse[1]
        try:
            self.future = self._submit(_work, task)
        except BrokenProcessPool:  # it died while it had nothing to do
            self.kill()
            self._open()
            self.base, self.beats = 0, 0
            self.future = self._submit(_work, task)

    def _open(self) -> None:
        self.join()
        self.pulse[:] = (0, 0)
        spawn = multiprocessing.get_context("spawn")  # forks of a process with threads may hang
        self.pool = ProcessPoolExecutor(1, spawn, _start, (self.number, self.pulse))
        # As a task, not to be read at the start: this process would wait for one that hangs before it has read it.
        self._submit(_take_job, self.job)

    def _submit(self, function: Callable[..., Any], argument: object) -> Future[Any]:
        assert self.pool is not None, "_open opens it"
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self.pool.submit(function, argument)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def news(self, awake: float) -> int:
        """Return the units of work since the last look; `awake` seconds have passed since then."""
        done, beats = self.pulse[0] - self.base, self.pulse[1]
        new, self.done = done - self.done, done
        self.silence = 0.0 if beats != self.beats else self.silence + awake
        self.beats = beats
        return int(new)

    def kill(self) -> None:
        """Stop the process, whatever it does; the next task gets a new one."""
        if self.pool is None:
            return
        processes = list((self.pool._processes or {}).values())  # no public way to stop one before Python 3.14
        self.manager = self.pool._executor_manager_thread
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        self.pool = None

    def join(self) -> None:
        """Wait for what a killed process leaves to be done here."""
        if self.manager is not None:
            self.manager.join(_MANAGER_ENDS)


def is_loss(error: BaseException | None) -> bool:
    """Tell whether a task may go well if it is begun again: its process is gone, or memory was short."""
    no_memory = isinstance(error, RuntimeError) and "allocate memory" in str(error)  # how torch says it
    return no_memory or isinstance(error, (BrokenProcessPool, MemoryError))


_worker: Worker | None = None  # of this worker process
_job: tuple[Callable[..., Any], tuple[object, ...]] | None = None


def _start(number: int, pulse: Any) -> None:  # noqa: ANN401
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def report(units: int) -> None:
        pulse[0] += units
        pulse[1] += 1

    _worker = Worker(number, report)
    report(0)


def _take_job(job: tuple[Callable[..., Any], tuple[object, ...]]) -> None:
    global _job
    _job = job


def _work(task: object) -> object:
    assert _job is not None and _worker is not None, "a worker is given its job before any task"
    work, shared = _job
    return work(*shared, task, _worker)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
