"""The runs of a zoo: task, split, architecture and hyperparameters of each, as settings and seed decide them.

It needs only torch and numpy. Generating a zoo and checking it both start from this table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rnn_zoos.families.family import TaskFamily
from rnn_zoos.randomness import Purpose, permutation, random_bits, to_integers, to_uniform

RUN_FIELDS = np.dtype(
    [
        ("run", np.int64),
        ("task", np.int64),
        ("weight_decay", np.float64),
        ("architecture", np.int64),
        ("rate_scale", np.float64),
        ("initial_scale", np.float64),
        ("batch_size", np.int64),
        ("num_updates", np.int64),
    ]
)
"""The fields of a record of the table: those of `generation.trainers.trainer.Run`, which says what they mean."""

VARIED = ("learning_rate", "batch_size", "weight_decay", "initial_scale", "num_updates")
"""Hyperparameters that every run of a zoo may draw; the position of each is its place in the random stream."""
MAX_WEIGHT = 1000
"""Largest weight of an architecture: a cycle of the deal has as many slots."""
_ARCHITECTURES = len(VARIED)  # place of the deals of architectures in the random stream

Table = npt.NDArray[np.void]
Choices = Sequence[float] | Mapping[str, float]
"""What a run draws from: a list of values, or {"low": a, "high": b} for a log-uniform number between two bounds."""


def run_table(family: TaskFamily, settings: Mapping[str, Any], runs: npt.NDArray[np.int64] | None = None) -> Table:
    """Return the runs of a zoo.

    Args:
        family: The task family of the zoo.
        settings: Its settings by the names of `settings.Settings`, as zoo.json has them.
        runs: Numbers of the runs to describe; None for all. Ignored if there are several architectures, because the
            architecture of a run depends on how often its task occurred before.

    Returns:
        Records of `RUN_FIELDS`, in order of the runs' numbers.
    """
    weights = [member.get("weight", 1) for member in settings.get("architectures", ())]
    numbers = np.arange(settings["runs"]) if runs is None or len(weights) > 1 else runs
    chosen = torch.from_numpy(numbers.astype(np.int64))
    seed, vary = settings["seed"], settings.get("vary") or {}
    table = np.empty(len(numbers), RUN_FIELDS)
    table["run"] = numbers
    table["task"] = family.assign_tasks(seed, chosen, settings.get("stratified_tasks", False)).numpy()
    table["weight_decay"] = family.draw_weight_decay(seed, chosen, settings["weight_decay"])
    table["architecture"] = _deal(seed, table["task"], weights) if len(weights) > 1 else 0
    table["rate_scale"] = table["initial_scale"] = 1.0
    table["batch_size"] = table["num_updates"] = 0
    for name, choices in vary.items():
        drawn = _draw(seed, chosen, name, choices)
        if name == "learning_rate":
            table["rate_scale"] = drawn / peak_rate(settings)
        else:
            table[name] = drawn
    return table


def peak_rate(settings: Mapping[str, Any], num_updates: int = 0) -> float:
    """Return the highest learning rate of a zoo's schedule: what a run that draws its learning rate replaces.

    Args:
        settings: The settings of the zoo.
        num_updates: Only the first updates of the schedule count, those of a run; 0 for the whole schedule, even if no
            run is that long.
    """
    rates = {int(update): float(rate) for update, rate in settings["learning_rate"].items()}
    if not num_updates:
        return max(rates.values())
    last, points = num_updates - 1, sorted(rates)
    used = [rate for update, rate in rates.items() if update <= last]
    ends = np.interp([0, last], points, [rates[point] for point in points])  # a line between two points peaks at an end
    return float(max([*used, *ends]))


def varied_values(settings: Mapping[str, Any], run: np.void | Table) -> dict[str, Any]:
    """Return what a run, a record of the table, has drawn: the varied hyperparameters except weight decay.

    The learning rate is the highest that the run uses. It is below what was drawn if the run ends before the schedule
    reaches its highest rate.
    """
    values: dict[str, Any] = {}
    for name in ("learning_rate", "batch_size", "initial_scale", "num_updates"):
        if name not in (settings.get("vary") or {}):
            continue
        if name == "learning_rate":
            used = int(run["num_updates"]) or settings["snapshots"][-1]
            values[name] = float(run["rate_scale"]) * peak_rate(settings, used)
        else:
            values[name] = run[name].item()
    return values


def _draw(seed: int, runs: torch.Tensor, name: str, choices: Choices) -> npt.NDArray[np.float64]:
    """Return a hyperparameter of each run [M]: one of a list, or log-uniform with three significant digits.

    The digits keep the value readable, and the same on machines whose powers differ in the last bit.
    """
    bits = random_bits(seed, runs, Purpose.HYPERPARAMETERS, [VARIED.index(name)], 1)[:, 0, 0]
    if not isinstance(choices, Mapping):
        values: npt.NDArray[np.float64] = np.array(choices, np.float64)[to_integers(bits, len(choices)).numpy()]
        return values
    low, high = choices["low"], choices["high"]
    drawn = low * (high / low) ** to_uniform(bits).double().numpy()
    return np.array([float(f"{value:.3g}") for value in drawn], np.float64)


def _deal(seed: int, tasks: npt.NDArray[np.int64], weights: Sequence[int]) -> npt.NDArray[np.int64]:
    """Deal architectures to runs 0 to N - 1, evenly among tasks and among the runs of each task.

    A cycle has as many slots as the weights say. The tasks, in order of their first run, begin at the slots of one
    shuffled cycle after the other; each further run of a task takes the next slot. So the architectures of a task's
    runs are balanced, as are those of any stretch of new tasks; and more runs do not change those before them.

    Args:
        seed: Seed of the zoo.
        tasks: The tasks [N] of runs 0 to N - 1.
        weights: How many slots of a cycle each architecture has.

    Returns:
        The number of the architecture of each run [N].
    """
    slots = np.repeat(np.arange(len(weights)), weights)
    _, first, task_of_run = np.unique(tasks, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    cycles = torch.arange(-(-len(first) // len(slots)))
    shuffled = permutation(
        random_bits(seed, cycles, Purpose.HYPERPARAMETERS, [_ARCHITECTURES], len(slots))[:, 0]
    ).numpy()
    start = shuffled.reshape(-1)[rank]
    return slots[(start[task_of_run] + _occurrences(task_of_run)) % len(slots)]


def _occurrences(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return for each value [N] how many of those before it are equal, [N]."""
    order = np.argsort(values, kind="stable")
    sorted_values = values[order]
    starts = np.searchsorted(sorted_values, sorted_values, side="left")
    counts = np.empty(len(values), np.int64)
    counts[order] = np.arange(len(values)) - starts
    return counts
