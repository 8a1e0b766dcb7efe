"""A pool of worker processes that survives the loss of its workers.

Each worker is a single-threaded process that ignores Ctrl-C (the parent decides what to do about it) and exits when its
parent does. A worker that dies (killed, out of memory) or hangs is replaced, and its task is started again.
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
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.sharedctypes import RawArray
from types import TracebackType
from typing import Any, Generic, TypeVar

import torch

from rnn_zoos.errors import WorkerError

Task = TypeVar("Task")
Result = TypeVar("Result")

POLL_SECONDS = 0.2
"""Seconds between two looks at the workers."""
SILENCE_LIMIT = 1800.0
"""Seconds without a heartbeat after which a worker is considered hung."""
MAX_ATTEMPTS = 3
"""How often a task is started before the loss of its worker becomes an error."""
_SCRIPT_HINT = (
    "What it printed says why. In a script of your own, put what starts workers below "
    'if __name__ == "__main__": every worker process imports the script again.'
)
_MANAGER_JOIN_SECONDS = 5.0  # wait for an executor's thread to end: if Python exits first, it prints a traceback


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one CPU thread, so that the order of additions depends neither on the machine nor on the caller."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Worker:
    """What a work function knows about the worker process that it runs in.

    `number` counts the workers of a pool from 0. `report(units)` adds finished units of work, and every call, even with
    0 units, is a heartbeat.
    """

    number: int
    report: Callable[[int], None]


class WorkerPool(Generic[Task, Result]):
    """`size` worker processes that call `work(*shared, task, worker)`. Use it as a context manager.

    Leaving the context kills all workers, whether or not an exception was raised.

    Args:
        size: Number of worker processes; each is started when it gets its first task.
        work: A module-level function (it is pickled by name) that takes `shared`, a task and its `Worker`.
        shared: Leading arguments of `work`, sent to every process once.
        silence_limit: Seconds without a heartbeat after which a worker is considered hung. Only time in which this
            process was awake counts, so that workers are not blamed for a suspended machine.
        advance: Called with a task and the units of work that were done on it since the last call; units that were lost
            with a worker are reported as a negative number.
        notify: Called with a line of text for the user when a worker is replaced.
    """

    def __init__(
        self,
        size: int,
        work: Callable[..., Result],
        *shared: object,
        silence_limit: float = SILENCE_LIMIT,
        advance: Callable[[Task, int], None] = lambda task, units: None,
        notify: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.silence_limit, self.advance, self.notify = silence_limit, advance, notify
        job = (work, shared)
        self._workers: list[_WorkerProcess[Task, Result]] = [_WorkerProcess(number, job) for number in range(size)]
        self._last_look = time.monotonic()

    def __enter__(self) -> WorkerPool[Task, Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Kill all workers: finished results are already collected, and a hung worker would not end by itself."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.join()

    @property
    def num_idle(self) -> int:
        """Number of workers without a task."""
        return sum(worker.task is None for worker in self._workers)

    @property
    def num_busy(self) -> int:
        """Number of workers with a task."""
        return len(self._workers) - self.num_idle

    def map_unordered(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Future[Result]]]:
        """Run all tasks; yield each with its future as soon as it has finished, as `collect` does."""
        waiting = deque(tasks)
        while waiting or self.num_busy:
            while waiting and self.num_idle:
                self.submit(waiting.popleft())
            yield from self.collect()

    def submit(self, task: Task) -> None:
        """Start a task on an idle worker; there must be one (`num_idle`)."""
        next(worker for worker in self._workers if worker.task is None).start(task)

    def collect(self, timeout: float = POLL_SECONDS) -> Iterator[tuple[Task, Future[Result]]]:
        """Wait up to `timeout` seconds; yield every task that has finished, with the future of its result or error.

        Dead and hung workers are replaced here. Raises WorkerError if a task has lost `MAX_ATTEMPTS` workers.
        """
        futures = {worker.future: worker for worker in self._workers if worker.future is not None}
        if not futures:
            time.sleep(timeout)
        finished, _ = wait(futures, timeout, FIRST_COMPLETED)
        awake = min(time.monotonic() - self._last_look, 2 * max(timeout, POLL_SECONDS))
        self._last_look = time.monotonic()
        for future, worker in futures.items():
            task = worker.task
            assert task is not None
            self.advance(task, worker.poll(awake))
            if future in finished:
                if is_retryable(future.exception()):
                    self._replace(worker, task)
                else:
                    worker.task, worker.future = None, None
                    yield task, future
            elif worker.silence > self.silence_limit:
                worker.hung = True
                self._replace(worker, task)

    def _replace(self, worker: _WorkerProcess[Task, Result], task: Task) -> None:
        attempt = worker.attempt
        self.advance(task, -worker.units)
        if worker.hung:
            reason = f"sent no heartbeat for {self.silence_limit:g} seconds"
        else:
            reason = "was killed or ran out of memory" if worker.has_started else "ended while it was starting"
        if attempt == MAX_ATTEMPTS:
            number = len(self._workers)
            fewer = f"with fewer --workers than {number}" if number > 1 else "when other programs need less"
            hint = f"Finished work is kept; run the same command again, {fewer} if memory was short."
            hint = hint if worker.hung or worker.has_started else _SCRIPT_HINT
            raise WorkerError(f"The worker on {task} {reason}, {MAX_ATTEMPTS} times. {hint}")
        self.notify(
            f"The worker on {task} {reason}; the task is started again (attempt {attempt + 1} of {MAX_ATTEMPTS})."
        )
        worker.kill()
        worker.start(task, attempt + 1)


class _WorkerProcess(Generic[Task, Result]):
    """One worker process in an executor of its own, so that its death does not break another worker's executor."""

    def __init__(self, number: int, job: tuple[Callable[..., Result], tuple[object, ...]]) -> None:
        self.number, self.job = number, job
        self.task: Task | None = None
        self.future: Future[Result] | None = None
        self.attempt, self.units, self.heartbeats, self.silence, self.hung = 0, 0, 0, 0.0, False
        # [units of work, heartbeats] since the process started. Only the worker writes, so no lock is needed: a lock
        # that a killed process held would never be released.
        self.counters: Any = RawArray("Q", 2)
        self.executor: ProcessPoolExecutor | None = None
        self.manager: Any = None  # thread of the executor that was shut down last

    def start(self, task: Task, attempt: int = 1) -> None:
        """Start a task, in a new process if there is none."""
        if self.executor is None:
            self._open()
        self.task, self.attempt, self.silence, self.hung = task, attempt, 0.0, False
        self.units, self.units_before, self.heartbeats = 0, self.counters[0], self.counters[1]
        try:
            self.future = self._submit(_work, task)
        except BrokenProcessPool:  # the process died while it was idle
            self.kill()
            self._open()
            self.units_before, self.heartbeats = 0, 0
            self.future = self._submit(_work, task)

    def _open(self) -> None:
        self.join()
        self.counters[:] = (0, 0)
        spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self.executor = ProcessPoolExecutor(1, spawn, _start, (self.number, self.counters))
        # Sent as a task, not as an argument of _start: this process would wait for a worker that hangs before it has
        # read its arguments.
        self._submit(_take_job, self.job)

    @property
    def has_started(self) -> bool:
        """Whether the process has sent a heartbeat, which it does before its first task."""
        return bool(self.counters[1])

    def _submit(self, function: Callable[..., Any], argument: object) -> Future[Any]:
        """Submit a call with SIGINT blocked: a process that this starts inherits the mask, so it ignores Ctrl-C."""
        assert self.executor is not None, "_open creates it"
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self.executor.submit(function, argument)
        except OSError as error:
            raise WorkerError(
                f"A worker process could not be started: {error.strerror or error}. Finished work is kept; use fewer "
                "--workers, or raise the limits on processes and open files (`ulimit -u`, `ulimit -n`)."
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def poll(self, awake: float) -> int:
        """Return the units of work since the last poll, and update `silence`; `awake` seconds have passed since."""
        units, heartbeats = self.counters[0] - self.units_before, self.counters[1]
        new, self.units = units - self.units, units
        self.silence = 0.0 if heartbeats != self.heartbeats else self.silence + awake
        self.heartbeats = heartbeats
        return int(new)

    def kill(self) -> None:
        """Kill the process, whatever it is doing; the next task gets a new one."""
        if self.executor is None:
            return
        processes = list((self.executor._processes or {}).values())  # no public way to kill one before Python 3.14
        self.manager = self.executor._executor_manager_thread
        self.executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        self.executor = None

    def join(self) -> None:
        """Wait until the executor of a killed process has cleaned up."""
        if self.manager is not None:
            self.manager.join(_MANAGER_JOIN_SECONDS)


def is_retryable(error: BaseException | None) -> bool:
    """Tell whether a task may succeed if it is started again: its process died, or memory was short."""
    no_memory = isinstance(error, RuntimeError) and "allocate memory" in str(error)  # torch's wording
    return no_memory or isinstance(error, (BrokenProcessPool, MemoryError))


# State of a worker process, set by _start and _take_job.
_worker: Worker | None = None
_job: tuple[Callable[..., Any], tuple[object, ...]] | None = None


def _start(number: int, counters: Any) -> None:  # noqa: ANN401
    """Initialise a worker process."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_exit_with_parent, daemon=True).start()

    def report(units: int) -> None:
        counters[0] += units
        counters[1] += 1

    _worker = Worker(number, report)
    report(0)


def _take_job(job: tuple[Callable[..., Any], tuple[object, ...]]) -> None:
    global _job
    _job = job


def _work(task: object) -> object:
    assert _job is not None and _worker is not None, "_start and _take_job run before any task"
    work, shared = _job
    return work(*shared, task, _worker)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
