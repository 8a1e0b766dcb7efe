"""Produces many results of the benchmark, several at a time, in single-threaded worker processes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from rnn_zoos.baselines.benchmark.presets import preset_of
from rnn_zoos.baselines.benchmark.runner import run_control, run_encoder
from rnn_zoos.baselines.downstream.protocols import PROTOCOLS
from rnn_zoos.baselines.emulation.data import Biases, ZooData, load_data
from rnn_zoos.baselines.emulation.references import REFERENCES
from rnn_zoos.processes import Worker, WorkerPool, available_cores, one_thread


@dataclass(frozen=True)
class Job:
    """One result to produce: that of an encoder and a seed, or that of a control (`seed` None)."""

    name: str
    seed: int | None

    def __str__(self) -> str:
        return f"control {self.name}" if self.seed is None else f"{self.name}, seed {self.seed}"


@dataclass(frozen=True)
class BenchmarkWork:
    """What all jobs of one call share: the zoo, the folder of results, and the settings."""

    zoo: str
    out: Path
    preset: str = "cpu"
    revision: str | None = None
    biases: Biases = "apart"
    device: str = "cpu"
    transfer: str | None = None

    def load(self) -> ZooData:
        """Open the zoo."""
        return load_data(self.zoo, self.revision, self.biases, self.device, self.transfer)

    def updates(self, data: ZooData, job: Job) -> int:
        """Return the number of updates of a job, by emulation and end to end; a control counts as one."""
        if job.seed is None:
            return 1
        chosen = preset_of(self.preset)
        emulation, end_to_end = chosen.settings_of(data.zoo.manifest.zoo).updates, chosen.end_to_end.updates
        return emulation + (0 if job.name in REFERENCES else len(PROTOCOLS) * end_to_end)

    def run(self, data: ZooData, job: Job, report: Callable[[int, float], None]) -> Path:
        """Produce one result and return the path of its file."""
        if job.seed is None:
            return run_control(data, job.name, self.out)
        return run_encoder(data, job.name, job.seed, self.preset, self.out, report)


class Work(Hashable, Protocol):
    """What jobs have in common: `BenchmarkWork`, or a study. Hashable, and sent to worker processes."""

    @property
    def device(self) -> str:
        """Torch device that the jobs use."""

    def load(self) -> ZooData:
        """Open the zoo."""

    def updates(self, data: ZooData, job: Any) -> int:  # noqa: ANN401 - each kind of work has its own jobs
        """Return the number of updates of a job."""

    def run(self, data: ZooData, job: Any, report: Callable[[int, float], None]) -> Path:  # noqa: ANN401
        """Do a job and return the path of its file."""


class _Progress:
    """The fraction of all updates of all jobs that is done; a finished job counts as all its updates."""

    def __init__(self, updates: dict[Any, int], show: Callable[[float], None]) -> None:
        self.updates, self.show = updates, show
        self.done = dict.fromkeys(updates, 0)

    def set(self, job: Any, update: int) -> None:  # noqa: ANN401
        self.done[job] = update
        self.show(sum(self.done.values()) / sum(self.updates.values()))

    def advance(self, job: Any, updates: int) -> None:  # noqa: ANN401
        self.set(job, self.done[job] + updates)

    def finish(self, job: Any) -> None:  # noqa: ANN401
        self.set(job, self.updates[job])

    def reporter(self, job: Any) -> Callable[[int, float], None]:  # noqa: ANN401
        """Return the `report` of `run_encoder` for a job in this process."""
        return lambda update, loss: self.set(job, update)


def make_results(
    work: Work,
    jobs: Sequence[Any],
    workers: int | None = None,
    finished: Callable[[Any, Path], None] = lambda job, path: None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Produce the results of all jobs. Existing results are kept; they are not produced again.

    Args:
        work: What the jobs have in common.
        jobs: The results to produce; duplicates are ignored.
        workers: Number of worker processes; with 1, this process does the work, with one thread as workers do. Default:
            one per core, or 1 on a GPU. Single-threaded processes side by side train small networks faster than one
            process with many threads, which wait for each other twenty times as long when a core is taken.
        finished: Called with every job and the path of its result file.
        progress: Called with the fraction of all updates that is done.

    Raises:
        ZooError: A job failed (see `run_encoder`, `run_control`); finished results are kept.
    """
    jobs = list(dict.fromkeys(jobs))
    workers = min(workers or (available_cores() if work.device == "cpu" else 1), max(1, len(jobs)))
    data = work.load()
    counter = _Progress({job: work.updates(data, job) for job in jobs}, progress)
    if workers == 1:
        with one_thread():
            for job in jobs:
                finished(job, work.run(data, job, counter.reporter(job)))
                counter.finish(job)
        return
    with WorkerPool[Any, Path](
        workers, _run, work, silence_limit=math.inf, advance=counter.advance, notify=_print_to_stderr
    ) as pool:
        for job, future in pool.map_unordered(jobs):
            finished(job, future.result())
            counter.finish(job)


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


@lru_cache(maxsize=1)
def _load(work: Work) -> ZooData:
    """Open the zoo once per worker process."""
    return work.load()


def _run(work: Work, job: Any, worker: Worker) -> Path:  # noqa: ANN401
    """Produce one result in a worker process."""
    before = 0

    def report(update: int, loss: float) -> None:
        nonlocal before
        worker.report(update - before)
        before = update

    return work.run(_load(work), job, report)
