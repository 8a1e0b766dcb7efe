"""The report of check_gpu.py: whether the trainers for GPUs are right, how fast they are, and where their time goes."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rnn_zoos.errors import DeviceError, ZooError
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.sequential_mnist import SequentialMnist
from rnn_zoos.generation.measuring.gpu_checks import (
    FAMILIES,
    Measurement,
    Methods,
    Rows,
    Sizes,
    check_gradients,
    check_training,
    final_weights,
    make_runs,
)
from rnn_zoos.generation.trainers.stacked import StackedTrainer
from rnn_zoos.generation.trainers.trainer import Run, Trainer
from rnn_zoos.generation.trainers.triton.trainer import TritonTrainer
from rnn_zoos.machine import describe_machine, update_flop

PAPER_UPDATES = 20_000
_MEASURED_SECONDS = 6.0


class Report:
    """Sections of results. Each result is written when it is known; sections that time did not allow are listed."""

    def __init__(self, seconds: float, out: Path | None) -> None:
        self.out, self.end = out, time.monotonic() + seconds
        self.data: dict[str, Any] = {"machine": describe_machine(), "sections": {}, "left out": []}

    def section(self, name: str, measurements: Iterator[Measurement]) -> None:
        """Make the measurements of a section until the time is over; a failure does not end the section."""
        rows: Rows = []
        self.data["sections"][name] = rows
        print(f"{name} ...", flush=True)
        for measure in measurements:
            if time.monotonic() > self.end:
                self.data["left out"].append(f"{name}, after {len(rows)} rows")
                break
            try:
                rows += measure()
            except (RuntimeError, ZooError) as error:  # reported by a device, a driver or a compiler
                rows.append({"failed": f"{type(error).__name__}: {error}"})
            self.write()

    def write(self) -> None:
        """Write everything that is known so far."""
        if self.out is not None:
            self.out.write_text(json.dumps(self.data, indent=2) + "\n")

    def close(self) -> int:
        """Print all tables, and at the end all wrong and failed results; return the exit status."""
        sections = self.data["sections"]
        for name, rows in sections.items():
            _print_table(name, rows)
        print("\nleft out for lack of time:", ", ".join(self.data["left out"]) or "nothing")
        wrong = [row for rows in sections.values() for row in rows if "failed" in row or not row.get("right", True)]
        _print_table("WRONG OR FAILED" if wrong else "All results are right.", wrong)
        return int(bool(wrong))


def _print_table(name: str, rows: Rows) -> None:
    print(f"\n{name}")
    for row in rows:
        cells = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
        print("  " + "  ".join(cells))


def training_methods() -> Methods:
    """Return the training methods that are checked and measured."""
    return {
        "triton tf32x3": TritonTrainer,
        "triton ieee": lambda: TritonTrainer(precision="ieee"),
        "stacked": StackedTrainer,
    }


def measure_speed(methods: Methods, counts: Sequence[int], seconds: float = _MEASURED_SECONDS) -> Iterator[Measurement]:
    """Yield measurements of every method's updates/s for every number of runs, and of the time for the paper's zoos."""
    for family in FAMILIES:
        for count in counts:
            yield from (partial(_speed, name, make, family, count, seconds) for name, make in methods.items())


def _speed(method: str, make: Callable[[], Trainer], family: TaskFamily, count: int, seconds: float) -> Rows:
    trainer = make()
    runs, sizes = make_runs(family, count), Sizes(snapshots=(10,))
    on_gpu = torch.cuda.is_available()
    trainer.runs_at_once = None
    final_weights(trainer, family, sizes, runs)  # compiles
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    updates, taken = _time_updates(trainer, family, sizes, runs, seconds)
    steps = 50 if isinstance(family, SequentialMnist) else 41
    rate = count * updates / taken
    row = {
        "zoo": family.name,
        "way": method,
        "runs": count,
        "updates/s": rate,
        "TFLOP/s": rate * update_flop(sizes.architecture(family), sizes.batch_size, steps) / 1e12,
        "seconds for 20,000 updates": count * PAPER_UPDATES / rate,
        "GiB": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0,
    }
    return [row]


def _time_updates(
    trainer: Trainer, family: TaskFamily, sizes: Sizes, runs: Sequence[Run], seconds: float
) -> tuple[int, float]:
    """Return a number of updates, and the seconds that they took: about `seconds`, if ten updates take less."""

    def timed(updates: int) -> float:
        started = time.perf_counter()
        final_weights(trainer, family, replace(sizes, snapshots=(updates,)), runs)
        return time.perf_counter() - started

    updates = 10
    taken = timed(updates)
    if taken < seconds / 2:  # too short to be measured well
        updates = max(updates, int(updates * seconds / taken))
        taken = timed(updates)
    return updates, taken


def profile(methods: Methods, count: int, updates: int = 30) -> Iterator[Measurement]:
    """Yield measurements of the kernels on which each method spends most of its time on the device."""
    for family in FAMILIES:
        yield from (partial(_profile, name, make, family, count, updates) for name, make in methods.items())


def _profile(method: str, make: Callable[[], Trainer], family: TaskFamily, count: int, updates: int) -> Rows:
    trainer, sizes, runs = make(), Sizes(snapshots=(updates,)), make_runs(family, count)
    trainer.runs_at_once = None
    final_weights(trainer, family, sizes, runs)
    with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as recorded:
        final_weights(trainer, family, sizes, runs)
    events = sorted(recorded.key_averages(), key=lambda event: -event.self_device_time_total)
    total = sum(event.self_device_time_total for event in events) or 1
    shared = {"zoo": family.name, "way": method}
    return [
        {**shared, "kernel": event.key[:60], "calls": event.count, "share": event.self_device_time_total / total}
        for event in events[:6]
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all checks and measurements; the exit status is 1 if a result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write all results to this file, section by section")
    parser.add_argument("--seconds", type=float, default=540, help="start nothing new after this time (default: 540)")
    parser.add_argument("--runs", type=int, default=1000, help="runs whose speed is measured (default: 1000)")
    options = parser.parse_args(arguments)
    methods = training_methods()
    try:
        methods["triton tf32x3"]()
    except DeviceError as error:
        raise SystemExit(f"Error: {error}") from error
    tuning = {f"{warps} warps": partial(TritonTrainer, num_warps=warps) for warps in (2, 4, 8, 16)}
    report = Report(options.seconds, options.json)
    report.data["machine"]["gpu"] = torch.cuda.get_device_name()
    paper, awkward = [Sizes()], [Sizes(*sizes, 13, 5) for sizes in (("lstm", 3), ("gru", 2), ("rnn", 1))]
    report.section("gradients", check_gradients(methods, paper, FAMILIES))
    report.section("training", check_training(methods, paper, FAMILIES))
    report.section("speed", measure_speed(methods, (options.runs,)))
    report.section("profile", profile(methods, options.runs))
    report.section("gradients, awkward sizes", check_gradients(methods, awkward, FAMILIES))
    report.section("training, awkward sizes", check_training(methods, awkward, FAMILIES))
    report.section("warps of a triton program", measure_speed(tuning, (options.runs,)))
    report.section("other numbers of runs", measure_speed(methods, (132, 264, 528)))
    raise SystemExit(report.close())
