"""How fast the trainers for GPUs are, and where their time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch

from rnn_zoos.families.family import TaskFamily
from rnn_zoos.generation.measuring.gpu_checks import Methods, Sizes, final_weights, make_runs
from rnn_zoos.generation.measuring.gpu_work import Rows, Unit
from rnn_zoos.generation.trainers.trainer import Trainer
from rnn_zoos.machine import update_flop

PAPER_UPDATES = 20_000
_MEASURED_SECONDS = 6.0
_FEW = 10


def measure_speed(
    methods: Methods, families: Sequence[TaskFamily], counts: Sequence[int], seconds: float = _MEASURED_SECONDS
) -> Iterator[Unit]:
    """Yield units that measure every method's updates/s for every number of runs.

    Each measures a piece of about `seconds` and extrapolates the time for `PAPER_UPDATES` updates of all runs. The
    whole is measured where zoos are generated, see `gpu_zoos`.
    """
    for family in families:
        for count in counts:
            for name, make in methods.items():
                yield Unit(
                    f"speed, {family.name}, {count} runs, {name}", partial(_speed, name, make, family, count, seconds)
                )


def _speed(method: str, make: Callable[[], Trainer], family: TaskFamily, count: int, seconds: float) -> Rows:
    trainer = make()
    runs, sizes = make_runs(family, count), Sizes(snapshots=(10,))
    on_gpu = torch.cuda.is_available()
    trainer.runs_at_once = None
    final_weights(trainer, family, sizes, runs)  # compiles
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()

    def train(updates: int) -> None:
        final_weights(trainer, family, replace(sizes, snapshots=(updates,)), runs)

    each, beginning, updates = time_updates(train, seconds)
    sampler = family.sampler(sizes.seed, [0], [runs[0].task], 1)
    steps = sampler.batch(sampler.draw(0, 1)[:, 0])[1].shape[-1]
    rate = count / each
    row = {
        "zoo": family.name,
        "way": method,
        "runs": count,
        "updates/s": rate,
        "TFLOP/s": rate * update_flop(sizes.architecture(family), sizes.batch_size, steps) / 1e12,
        "extrapolated seconds for 20,000 updates": count * PAPER_UPDATES / rate,
        "from updates": updates,
        "seconds to begin": beginning,
        "GiB": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0,
    }
    return [row]


def time_updates(train: Callable[[int], object], seconds: float, most: int = PAPER_UPDATES) -> tuple[float, float, int]:
    """Return the seconds of an update, the seconds that a training takes besides, and how many updates were measured.

    The time of 10 updates is subtracted from that of more, because beginning a training takes longer than they do.

    Args:
        train: Does a number of updates, at least 10 if it is asked for more; it was called before.
        seconds: How long the measured updates take, about; at least half of that.
        most: Updates to measure at most.
    """

    def timed(updates: int) -> float:
        started = time.perf_counter()
        train(updates)
        return time.perf_counter() - started

    short, updates = timed(_FEW), min(2 * _FEW, most)
    taken = timed(updates)
    while taken - short < seconds / 2 and updates < most:
        updates = min(4 * updates, most)
        taken = timed(updates)
    if updates <= _FEW or taken <= short:  # too few, or too noisy, to subtract anything
        return taken / updates, 0.0, updates
    each = (taken - short) / (updates - _FEW)
    return each, max(0.0, taken - each * updates), updates


def profile(methods: Methods, families: Sequence[TaskFamily], count: int, updates: int = 30) -> Iterator[Unit]:
    """Yield units that list the kernels on which each method spends most of its time on the device."""
    for family in families:
        for name, make in methods.items():
            yield Unit(
                f"profile, {family.name}, {count} runs, {name}", partial(_profile, name, make, family, count, updates)
            )


def _profile(method: str, make: Callable[[], Trainer], family: TaskFamily, count: int, updates: int) -> Rows:
    trainer, sizes, runs = make(), Sizes(snapshots=(updates,)), make_runs(family, count)
    trainer.runs_at_once = None
    final_weights(trainer, family, sizes, runs)
    with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as recorded:
        final_weights(trainer, family, sizes, runs)
    events = sorted(recorded.key_averages(), key=lambda event: -event.self_device_time_total)
    total = sum(event.self_device_time_total for event in events)
    shared = {"zoo": family.name, "way": method}
    if not total:  # on a CPU, or CUPTI is not allowed or has no memory left
        return [{**shared, "left out": "the profiler saw no kernels of a GPU"}]
    return [
        {**shared, "kernel": event.key[:60], "calls": event.count, "share": event.self_device_time_total / total}
        for event in events[:6]
    ]
