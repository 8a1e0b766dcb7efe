"""Training the zoos of a preset on a GPU, in groups of runs that fit into a call, and checking what was trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch

from rnn_zoos.errors import PresetError
from rnn_zoos.generation.measuring.gpu_checks import final_weights
from rnn_zoos.generation.measuring.gpu_speed import time_updates
from rnn_zoos.generation.measuring.gpu_work import Clock, Rows, Unit
from rnn_zoos.generation.measuring.gpu_zoos import GpuZoo
from rnn_zoos.generation.trainers.groups import in_groups
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun, Trainer
from rnn_zoos.generation.writing.raw_runs import pack_runs
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.weights import flatten

_FILL = 0.6  # of a call that one group of runs may take: its speed was measured on a piece
_EXPECTED = 1.4  # times that; with the one above, less than a whole call
_SECONDS = "extrapolated seconds per run"
_MEASURED_SECONDS = 4.0
_RETRAINED = 3  # runs of a zoo that are trained again
_RETRAINED_UPDATES = 200


def generate_zoo(
    zoo: GpuZoo, backend: str, make: Callable[[], Trainer], clock: Clock, results: Callable[[], Rows]
) -> Iterator[Unit]:
    """Yield the units that train the runs of a zoo that are missing, in groups that fit into a call.

    The speed is measured on a short piece first. Each row has the time of a group; if all runs were one group, that is
    the time of the whole zoo.

    Args:
        zoo: The zoo.
        backend: Name of the backend, for the provenance.
        make: Makes its trainer.
        clock: The time of a call.
        results: Returns the rows of the units that are done.
    """
    try:
        zoo.evaluation()
    except PresetError as error:
        reason = f"{error} Give --mnist a directory with the four files of MNIST."
        yield Unit(f"{zoo.family.name}, left out", lambda: [{"zoo": zoo.family.name, "left out": reason}], 0, True)
        return
    there = set(zoo.raw().runs) if zoo.is_begun else set()
    missing = [run for run, _ in zoo.runs() if run.run not in there]
    if not missing:
        return
    yield Unit(f"{zoo.family.name}, speed", partial(_measure, zoo, make))
    measured = [row[_SECONDS] for row in results() if row.get("zoo") == zoo.family.name and _SECONDS in row]
    if not measured:
        return  # it failed, or the time is over
    for group in in_groups(missing, runs_per_group(len(missing), measured[0], clock)):
        name = f"{zoo.family.name}, runs {group[0].run} to {group[-1].run}"
        work = partial(_train_group, zoo, backend, make, group)
        yield Unit(name, work, _EXPECTED * len(group) * measured[0], keeps_record=True)


def runs_per_group(runs: int, seconds_per_run: float, clock: Clock) -> int:
    """Return into groups of how many runs a zoo is divided: as few groups as fit into a call, about equally large."""
    at_once = max(1, min(runs, int(_FILL * clock.total / seconds_per_run)))
    groups = -(-runs // at_once)
    return -(-runs // groups)


def _measure(zoo: GpuZoo, make: Callable[[], Trainer]) -> Rows:
    """Measure how long a run takes when all are trained at once, by a short piece of training."""
    trainer, runs = make(), [run for run, _ in zoo.runs()]
    trainer.runs_at_once = None

    def train(updates: int) -> None:
        final_weights(trainer, zoo.family, replace(zoo.sizes, snapshots=(updates,)), runs)

    most = zoo.sizes.num_updates
    train(min(10, most))  # compiles
    each, beginning, updates = time_updates(train, _MEASURED_SECONDS, most)
    seconds = (beginning + each * most) / len(runs)
    return [{"zoo": zoo.family.name, "runs": len(runs), "measured updates": updates, _SECONDS: seconds}]


def _train_group(zoo: GpuZoo, backend: str, make: Callable[[], Trainer], group: Sequence[Run]) -> Rows:
    raw = zoo.begin_or_resume(backend)
    started = time.perf_counter()
    trainer = make()
    trainer.runs_at_once = None
    trained = list(trainer.train(zoo.family, zoo.sizes, group, lambda updates: None))
    seconds = time.perf_counter() - started
    data = pack_runs(trained, zoo.architecture, len(zoo.sizes.snapshots), compress=False)
    raw.add(zoo.directory, data, [run.run for run in group], seconds)
    updates = len(group) * zoo.sizes.num_updates
    return [
        {
            "zoo": zoo.family.name,
            "runs": len(group),
            "updates": zoo.sizes.num_updates,
            "seconds": seconds,
            "updates/s": updates / seconds,
            "diverged": sum(run.diverged for run in trained),
        }
    ]


def check_zoo(zoo: GpuZoo, make: Callable[[], Trainer]) -> Iterator[Unit]:
    """Yield the unit that checks the files of a zoo, when all of its runs are there."""
    if zoo.is_whole:
        yield Unit(f"{zoo.family.name}, {zoo.sizes.runs} runs", partial(_check, zoo, make))


def _check(zoo: GpuZoo, make: Callable[[], Trainer]) -> Rows:
    """Return what holds for the files: their hashes (else an error), finite weights, initial weights, the same bits."""
    finite = initial = planned = True
    runs, diverged, some = {run.run: run for run, _ in zoo.runs()}, 0, list[TrainedRun]()
    for trained in zoo.trained():
        number = trained.run.run
        planned &= trained.run == runs.pop(number, None)
        diverged += trained.diverged
        weights = flatten(zoo.architecture, trained.weights)
        finite &= bool(weights.isfinite().all())
        if trained.steps[:1] == (0,):
            begun = flatten(zoo.architecture, initial_weights(zoo.architecture, zoo.sizes.seed, number))
            initial &= torch.equal(weights[0], begun)
        if len(some) < _RETRAINED and not trained.diverged:
            some.append(trained)
    row = {
        "zoo": zoo.family.name,
        "runs": zoo.sizes.runs,
        "diverged": diverged,
        "all runs of the plan": planned and not runs,
        "finite": finite,
        "initial weights": initial,
        **({"same bits again": _same_bits(zoo, make, some)} if make().same_bits else {}),
    }
    right = all(value for value in row.values() if isinstance(value, bool))
    return [{**row, "accuracy at the end": _accuracy(zoo, some), "right": right}]


def _same_bits(zoo: GpuZoo, make: Callable[[], Trainer], some: Sequence[TrainedRun]) -> bool:
    """Return whether the first snapshots of some runs are the same when these runs are trained again, alone."""
    first = tuple(step for step in zoo.sizes.snapshots if step <= _RETRAINED_UPDATES) or zoo.sizes.snapshots[:1]
    trainer = make()
    trainer.runs_at_once = 1
    runs = [trained.run for trained in some]
    again = trainer.train(zoo.family, replace(zoo.sizes, snapshots=first), runs, lambda updates: None)
    return all(
        torch.equal(tensor, trained.weights[name][: len(tensor)])
        for trained, other in zip(some, again, strict=True)
        for name, tensor in other.weights.items()
    )


def _accuracy(zoo: GpuZoo, some: Sequence[TrainedRun]) -> float:
    """Return the mean accuracy of the last snapshots of some runs, as the zoo will have it."""
    found = []
    for trained in some:
        last = {name: tensor[-1] for name, tensor in trained.weights.items()}
        labels = zoo.evaluate(trained.run, trained.steps[-1], last, zoo.evaluation()).labels
        found.append(labels["accuracy"])
    return sum(found) / max(1, len(found))
