"""All results of a benchmark, side by side: one process a core makes one result after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import TypeAlias

from rnn_zoos.baselines.benchmark import preset_of, run_control, run_encoder
from rnn_zoos.baselines.data import Biases, ZooData, load_data
from rnn_zoos.errors import WorkerError
from rnn_zoos.workers import available_cores, spawn_context, submit, worker_processes

_POLL = 0.2  # seconds between looks at the workers' reports
Reports: TypeAlias = SimpleQueue[tuple[int, int]]
"""Which piece of work, and how many updates of it are done."""


@dataclass(frozen=True)
class Work:
    """One result: of an encoder and a seed, or of a control, which has none."""

    name: str
    seed: int | None

    def __str__(self) -> str:
        return f"control {self.name}" if self.seed is None else f"{self.name}, seed {self.seed}"


@dataclass(frozen=True)
class Benchmark:
    """What all results of one call share."""

    zoo: str
    out: Path
    preset: str = "cpu"
    revision: str | None = None
    biases: Biases = "apart"
    device: str = "cpu"

    def data(self) -> ZooData:
        """Open the zoo."""
        return load_data(self.zoo, self.revision, self.biases, self.device)

    def make(self, data: ZooData, work: Work, report: Callable[[int, float], None]) -> Path:
        """Make one result and return its path."""
        if work.seed is None:
            return run_control(data, work.name, self.out)
        return run_encoder(data, work.name, work.seed, self.preset, self.out, report)


def make_results(
    benchmark: Benchmark,
    wanted: Sequence[Work],
    workers: int | None = None,
    finished: Callable[[Work, Path], None] = lambda work, path: None,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Make all results that are wanted; what is there is not done again.

    Small networks train faster in one single-threaded process a core than by threads; one worker is this process.
    `finished` gets every result, `progress` the share of all updates that is done. Raises ZooError children; results
    that are finished stay.
    """
    workers = min(workers or (available_cores() if benchmark.device == "cpu" else 1), max(1, len(wanted)))
    data = benchmark.data()
    updates = preset_of(benchmark.preset).settings[data.zoo.manifest.zoo].updates
    done = dict.fromkeys(range(len(wanted)), 0)

    def reached(number: int, update: int) -> None:
        done[number] = update
        progress(sum(done.values()) / (updates * len(wanted)))

    if workers == 1:
        for number, work in enumerate(wanted):
            finished(work, benchmark.make(data, work, partial(_in_order, reached, number)))
            reached(number, updates)
        return
    reports: Reports = spawn_context().SimpleQueue()
    with worker_processes(workers, _start, benchmark, reports) as pool:
        futures = {submit(pool, _make, number, work): number for number, work in enumerate(wanted)}
        while futures:
            ready, _ = wait(futures, _POLL, FIRST_COMPLETED)
            while not reports.empty():
                reached(*reports.get())
            for future in ready:
                number = futures.pop(future)
                finished(wanted[number], _result(future, workers))
                reached(number, updates)


def _in_order(reached: Callable[[int, int], None], number: int, update: int, loss: float) -> None:
    reached(number, update)


def _result(future: Future[Path], workers: int) -> Path:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "A worker process died (killed, or out of memory). Finished results are kept; run the same command again, "
            f"with fewer --workers than {workers} if memory was short."
        ) from error


_shared: tuple[Benchmark, Reports] | None = None  # of this worker process


def _start(benchmark: Benchmark, reports: Reports) -> None:
    global _shared
    _shared = benchmark, reports


@lru_cache(maxsize=1)
def _data(benchmark: Benchmark) -> ZooData:
    return benchmark.data()


def _make(number: int, work: Work) -> Path:
    assert _shared is not None, "worker processes start with _start"
    benchmark, reports = _shared
    return benchmark.make(_data(benchmark), work, lambda update, loss: reports.put((number, update)))
