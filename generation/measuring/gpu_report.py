"""The trainers for GPUs beside the loop trainer on the CPU, their speed, where their time goes; see check_gpu.py."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.errors import DeviceError, ZooError
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.sequential_mnist import SequentialMnist
from rnn_zoos.generation.trainers.loop import LoopTrainer
from rnn_zoos.generation.trainers.stacked import StackedTrainer, TrainingStack
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun, Trainer
from rnn_zoos.generation.trainers.triton.trainer import TritonStack, TritonTrainer
from rnn_zoos.machine import describe_machine, update_flop
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.networks.weights import flatten

Rows = list[dict[str, Any]]
Ways = Mapping[str, Callable[[], Trainer]]
Measurement = Callable[[], Rows]

FAMILIES: tuple[TaskFamily, ...] = (FormalLanguages(), SequentialMnist())
PAPER_UPDATES = 20_000
_GRADIENT_TOLERANCE, _WEIGHT_TOLERANCE = 1e-5, 1e-3  # contract 2: relative to the largest element
_MEASURED_SECONDS = 6.0


@dataclass(frozen=True)
class Sizes:
    """The settings that a trainer reads (`training.TrainingSettings`), of the paper's sizes unless said otherwise."""

    cell: str = "lstm"
    num_layers: int = 2
    hidden_size: int = 32
    batch_size: int = 32
    snapshots: tuple[int, ...] = (50,)
    learning_rate: Mapping[int, float] = field(default_factory=lambda: {0: 0.01, 10_000: 0.003, 20_000: 0.0003})
    seed: int = 0

    @property
    def num_updates(self) -> int:
        """Updates of one run."""
        return self.snapshots[-1]

    def architecture(self, family: TaskFamily) -> Architecture:
        """Return the architecture of every network."""
        return family.architecture(self.cell, self.num_layers, self.hidden_size)


def make_runs(family: TaskFamily, count: int, seed: int = 0) -> list[Run]:
    """Return runs 0..count-1 of a family with the tasks that it deals them."""
    tasks = family.assign_tasks(seed, torch.arange(count)).tolist()
    return [Run(number, task, 1e-4) for number, task in enumerate(tasks)]


class Report:
    """Sections of results, each written as soon as it is there; those for which no time is left are named."""

    def __init__(self, seconds: float, out: Path | None) -> None:
        self.out, self.end = out, time.monotonic() + seconds
        self.data: dict[str, Any] = {"machine": describe_machine(), "sections": {}, "left out": []}

    def section(self, name: str, measurements: Iterator[Measurement]) -> None:
        """Make the measurements of a section until the time is over; one that fails does not end it."""
        rows: Rows = []
        self.data["sections"][name] = rows
        print(f"{name} ...", flush=True)
        for measure in measurements:
            if time.monotonic() > self.end:
                self.data["left out"].append(f"{name}, after {len(rows)} rows")
                break
            try:
                rows += measure()
            except (RuntimeError, ZooError) as error:  # what a device, a driver or a compiler reports
                rows.append({"failed": f"{type(error).__name__}: {error}"})
            self.write()

    def write(self) -> None:
        """Write all that is known so far."""
        if self.out is not None:
            self.out.write_text(json.dumps(self.data, indent=2) + "\n")

    def close(self) -> int:
        """Print all tables, then what was wrong; return the exit status."""
        sections = self.data["sections"]
        for name, rows in sections.items():
            _print_table(name, rows)
        print("\nleft out for want of time:", ", ".join(self.data["left out"]) or "nothing")
        wrong = [row for rows in sections.values() for row in rows if "failed" in row or not row.get("right", True)]
        _print_table("WRONG OR FAILED" if wrong else "All right.", wrong)
        return int(bool(wrong))


def _print_table(name: str, rows: Rows) -> None:
    print(f"\n{name}")
    for row in rows:
        cells = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
        print("  " + "  ".join(cells))


def ways_to_train() -> Ways:
    """Return the trainers that are looked at, by name."""
    return {
        "triton tf32x3": TritonTrainer,
        "triton ieee": lambda: TritonTrainer(precision="ieee"),
        "stacked": StackedTrainer,
    }


def _relative(found: Tensor, expected: Tensor) -> float:
    return ((found.cpu() - expected).abs().max() / expected.abs().max()).item()


def check_gradients(ways: Ways, sizes: Sequence[Sizes], families: Sequence[TaskFamily]) -> Iterator[Measurement]:
    """Yield measurements of how far loss and gradients of one update are from autograd's on the CPU."""
    for family in families:
        for size in sizes:
            runs = make_runs(family, 3)
            expected = [_autograd(family, size, run) for run in runs]
            yield from (partial(_gradients_of, way, ways[way], family, size, runs, expected) for way in ways)


def _gradients_of(
    way: str,
    make: Callable[[], Trainer],
    family: TaskFamily,
    size: Sizes,
    runs: list[Run],
    expected: list[tuple[float, Tensor]],
) -> Rows:
    losses, gradients = _first_gradients(make(), family, size, runs)
    error = max(_relative(row, gradient) for row, (_, gradient) in zip(gradients, expected, strict=True))
    loss = max(abs(own.item() / its - 1) for own, (its, _) in zip(losses, expected, strict=True))
    right = max(error, loss) < _GRADIENT_TOLERANCE
    return [{**_named(family, size, way), "loss": loss, "gradients": error, "right": right}]


def _named(family: TaskFamily, size: Sizes, way: str) -> dict[str, Any]:
    sizes = f"{size.cell} L={size.num_layers} H={size.hidden_size} B={size.batch_size}"
    return {"zoo": family.name, "sizes": sizes, "way": way}


def _autograd(family: TaskFamily, size: Sizes, run: Run) -> tuple[float, Tensor]:
    """Return loss and flat gradient [P] of a run's first batch."""
    shape = size.architecture(family)
    network = RecurrentNetwork(shape, initial_weights(shape, size.seed, run.run))
    sampler = family.sampler(size.seed, [run.run], [run.task], size.batch_size)
    inputs, targets = sampler.batch(sampler.draw(0, 1)[:, 0])
    loss = F.cross_entropy(network(inputs[0]).flatten(0, 1), targets.flatten())
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    named = zip((name for name, _ in network.named_parameters()), gradients, strict=True)
    return loss.item(), flatten(shape, dict(named))


def _first_gradients(trainer: Trainer, family: TaskFamily, size: Sizes, runs: list[Run]) -> tuple[Tensor, Tensor]:
    """Return losses [M] and gradients [M, P] of the first update."""
    if isinstance(trainer, TritonTrainer):
        launch = TritonStack(family, size, runs, trainer.device, trainer.precision, trainer.num_warps)
        launch.advance(1)
        return launch.losses, launch.gradients[:, : launch.shape.num_parameters]
    assert isinstance(trainer, StackedTrainer)
    stack = TrainingStack(family, size, runs, trainer.device)
    losses, gradients = stack.losses_and_gradients()
    return losses, gradients[:, stack.places]


def check_training(ways: Ways, sizes: Sequence[Sizes], families: Sequence[TaskFamily]) -> Iterator[Measurement]:
    """Yield measurements of how far weights are from the loop trainer's in the end, and whether groups change a bit."""
    for family in families:
        for size in sizes:
            runs = make_runs(family, 3)
            expected = _train(LoopTrainer(), family, size, runs)
            yield from (partial(_training_of, way, ways[way], family, size, runs, expected) for way in ways)


def _training_of(
    way: str, make: Callable[[], Trainer], family: TaskFamily, size: Sizes, runs: list[Run], expected: list[Tensor]
) -> Rows:
    trainer = make()
    together = _train(trainer, family, size, runs)
    trainer.at_once = 2
    grouped = _train(trainer, family, size, runs[::-1])[::-1]
    error = max(_relative(own, its) for own, its in zip(together, expected, strict=True))
    same = all(torch.equal(own, its) for own, its in zip(together, grouped, strict=True))
    row = {**_named(family, size, way), "updates": size.num_updates, "weights": error, "same bits": same}
    return [row | {"right": same and error < _WEIGHT_TOLERANCE}]


def _train(trainer: Trainer, family: TaskFamily, size: Sizes, runs: Sequence[Run]) -> list[Tensor]:
    """Return the last weights [P] of every run."""
    shape = size.architecture(family)
    trained: list[TrainedRun] = list(trainer.train(family, size, runs, lambda updates: None))
    return [flatten(shape, {name: tensor[-1] for name, tensor in run.weights.items()}) for run in trained]


def measure_speed(ways: Ways, counts: Sequence[int], seconds: float = _MEASURED_SECONDS) -> Iterator[Measurement]:
    """Yield measurements of every way's rate at every number of runs, and of what it makes of the paper's updates."""
    for family in FAMILIES:
        for count in counts:
            yield from (partial(_speed, way, ways[way], family, count, seconds) for way in ways)


def _speed(way: str, make: Callable[[], Trainer], family: TaskFamily, count: int, seconds: float) -> Rows:
    trainer = make()
    runs, size = make_runs(family, count), Sizes(snapshots=(10,))
    on_gpu = torch.cuda.is_available()
    trainer.at_once = None
    _train(trainer, family, size, runs)  # compiles
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    updates = 10
    taken = _timed(trainer, family, replace(size, snapshots=(updates,)), runs)
    if taken < seconds / 2:  # too short to tell
        updates = max(updates, int(updates * seconds / taken))
        taken = _timed(trainer, family, replace(size, snapshots=(updates,)), runs)
    steps = 50 if isinstance(family, SequentialMnist) else 41
    rate = count * updates / taken
    row = {
        "zoo": family.name,
        "way": way,
        "runs": count,
        "updates/s": rate,
        "TFLOP/s": rate * update_flop(size.architecture(family), size.batch_size, steps) / 1e12,
        "seconds for 20,000 updates": count * PAPER_UPDATES / rate,
        "GiB": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0,
    }
    return [row]


def _timed(trainer: Trainer, family: TaskFamily, size: Sizes, runs: Sequence[Run]) -> float:
    started = time.perf_counter()
    _train(trainer, family, size, runs)  # ends with weights on the CPU, so the device is done
    return time.perf_counter() - started


def profile(ways: Ways, count: int, updates: int = 30) -> Iterator[Measurement]:
    """Yield measurements of the kernels on which each way spends most of its time on the device."""
    for family in FAMILIES:
        yield from (partial(_kernels, way, ways[way], family, count, updates) for way in ways)


def _kernels(way: str, make: Callable[[], Trainer], family: TaskFamily, count: int, updates: int) -> Rows:
    trainer, size, runs = make(), Sizes(snapshots=(updates,)), make_runs(family, count)
    trainer.at_once = None
    _train(trainer, family, size, runs)
    with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as recorded:
        _train(trainer, family, size, runs)
    events = sorted(recorded.key_averages(), key=lambda event: -event.self_device_time_total)
    total = sum(event.self_device_time_total for event in events) or 1
    shared = {"zoo": family.name, "way": way}
    return [
        {**shared, "kernel": event.key[:60], "calls": event.count, "share": event.self_device_time_total / total}
        for event in events[:6]
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what check_gpu.py says; exit status 1 if something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write everything to this file, section by section")
    parser.add_argument("--seconds", type=float, default=540, help="start nothing new after this time (default: 540)")
    parser.add_argument("--runs", type=int, default=1000, help="networks whose speed is measured (default: 1000)")
    asked = parser.parse_args(arguments)
    ways = ways_to_train()
    try:
        ways["triton tf32x3"]()
    except DeviceError as error:
        raise SystemExit(f"Error: {error}") from error
    tuning = {f"{warps} warps": partial(TritonTrainer, num_warps=warps) for warps in (2, 4, 8, 16)}
    report = Report(asked.seconds, asked.json)
    report.data["machine"]["gpu"] = torch.cuda.get_device_name()
    paper, awkward = [Sizes()], [Sizes(*sizes, 13, 5) for sizes in (("lstm", 3), ("gru", 2), ("rnn", 1))]
    report.section("gradients", check_gradients(ways, paper, FAMILIES))
    report.section("training", check_training(ways, paper, FAMILIES))
    report.section("speed", measure_speed(ways, (asked.runs,)))
    report.section("profile", profile(ways, asked.runs))
    report.section("gradients, awkward sizes", check_gradients(ways, awkward, FAMILIES))
    report.section("training, awkward sizes", check_training(ways, awkward, FAMILIES))
    report.section("warps of a triton program", measure_speed(tuning, (asked.runs,)))
    report.section("other numbers of runs", measure_speed(ways, (132, 264, 528)))
    raise SystemExit(report.close())
