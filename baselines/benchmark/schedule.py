"""All results of a benchmark, side by side: one process a core makes one result after the other."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from rnn_zoos.baselines.benchmark.results import preset_of, run_control, run_encoder
from rnn_zoos.baselines.emulation.data import Biases, ZooData, load_data
from rnn_zoos.processes import Worker, WorkerPool, available_cores


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
    wanted = list(dict.fromkeys(wanted))
    workers = min(workers or (available_cores() if benchmark.device == "cpu" else 1), max(1, len(wanted)))
    data = benchmark.data()
    updates = preset_of(benchmark.preset).settings[data.zoo.manifest.zoo].updates
    done = dict.fromkeys(wanted, 0)

    def reached(work: Work, update: int) -> None:
        done[work] = update
        progress(sum(done.values()) / (updates * len(wanted)))

    def advance(work: Work, new: int) -> None:
        reached(work, done[work] + new)

    if workers == 1:
        for work in wanted:
            finished(work, benchmark.make(data, work, partial(_in_order, reached, work)))
            reached(work, updates)
        return
    with WorkerPool[Work, Path](workers, _make, benchmark, silence_limit=math.inf, advance=advance, say=_say) as pool:
        for work, future in pool.work_through(wanted):
            finished(work, future.result())
            reached(work, updates)


def _in_order(reached: Callable[[Work, int], None], work: Work, update: int, loss: float) -> None:
    reached(work, update)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


@lru_cache(maxsize=1)
def _data(benchmark: Benchmark) -> ZooData:
    return benchmark.data()


def _make(benchmark: Benchmark, work: Work, worker: Worker) -> Path:
    before = 0

    def report(update: int, loss: float) -> None:
        nonlocal before
        worker.report(update - before)
        before = update

    return benchmark.make(_data(benchmark), work, report)
