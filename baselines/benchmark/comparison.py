"""Comparison of encoders by their emulation losses: values with intervals, paired differences, the rank of a new one.

The runs on which two encoders are compared are the same, and runs that are hard for one are hard for the other. A
difference is therefore much better known than either value: its interval is computed from paired resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rnn_zoos.baselines.benchmark.result_files import (
    Group,
    Result,
    display_name,
    group_by_zoo,
    is_control,
    is_reference,
    is_same_plan,
    only_one_zoo,
    same_settings,
    sort_by_loss,
)
from rnn_zoos.baselines.downstream.intervals import REPEATS, add_seed_variance, percentile_interval, resampled_counts
from rnn_zoos.baselines.downstream.measures import cluster_sums
from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import Array

_TASK_SEED = 0  # of random numbers: every encoder gets the same resamples of tasks


@dataclass(frozen=True)
class Estimate:
    """A mean over runs and seeds, or a difference of two, with its 95% interval.

    The interval is nan if the runs have a single task.
    """

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside of the interval, which supports the sign of a difference."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return with_interval(self.value, self.low, self.high)


def with_interval(value: float, low: float, high: float, digits: int = 4) -> str:
    """Return a value and its interval as text, such as `0.0110 [.0101, .0120]`."""
    text = _fixed(value, digits)
    if math.isnan(low) or math.isnan(high):
        return text
    return f"{text} [{_without_zero(low, digits)}, {_without_zero(high, digits)}]"


def _fixed(number: float, digits: int) -> str:
    """Return a number with so many decimals, and never a negative zero."""
    return f"{round(number, digits) + 0.0:.{digits}f}"


def _without_zero(number: float, digits: int) -> str:
    """Return a number without the 0 before its point."""
    text = _fixed(number, digits)
    sign, size = ("-", text[1:]) if text.startswith("-") else ("", text)
    return sign + (size[1:] if size.startswith("0.") else size)


def total_variation_estimate(group: Group, split: str) -> Estimate:
    """Return the total variation per step of an encoder on a split: mean over seeds and runs, with its interval.

    Tasks are resampled with all their runs, and the variance over seeds is added; see
    `rnn_zoos.baselines.downstream.intervals`.
    """
    losses = _Losses(group, split)
    low, high = _interval(losses.mean, losses.resampled(), losses.num_tasks, [losses.by_seed])
    return Estimate(losses.mean, max(low, 0.0), high)  # nan stays nan: it is the first argument


def history(group: Group, key: str) -> Array:
    """Return an entry of all evaluations, [evaluations], the mean over seeds; evaluations that all seeds have."""
    number = min(len(result["history"]) for result in group)
    values = [[entry[key] for entry in result["history"][:number]] for result in group]
    return np.asarray(np.mean(values, axis=0))


def compare(results_a: Group, results_b: Group, split: str = "test") -> Estimate:
    """Return the difference in total variation per step, a minus b, with its 95% interval: positive if b is better.

    Both encoders get the same resamples of tasks; the variances of both over seeds are added.

    Args:
        results_a: Results of an encoder, one per seed.
        results_b: Results of another encoder on the same zoo, or on a copy of it (`is_same_plan`).
        split: `validation`, `test` or `ood`.

    Raises:
        FormatError: The results are of different zoos or runs.
    """
    a, b = _Losses(results_a, split), _Losses(results_b, split)
    if not is_same_plan(results_a[0], results_b[0]):
        raise FormatError(
            f"{a.name} and {b.name} were not evaluated on the same runs of {split}. Compare results of the same zoo."
        )
    value = a.mean - b.mean
    return Estimate(value, *_interval(value, a.resampled() - b.resampled(), a.num_tasks, [a.by_seed, b.by_seed]))


class _Losses:
    """The losses of an encoder on a split, by seed and task.

    Attributes:
        name: Name of the encoder.
        runs: Numbers of the runs.
        by_seed: Means over runs, one per seed.
        mean: Mean over runs and seeds.
        num_tasks: T, the number of tasks.
    """

    def __init__(self, group: Group, split: str) -> None:
        tables = [result["by_run"][split] for result in group]
        self.name, self.runs = display_name(group[0]), list(tables[0]["run"])
        if any(table["run"] != self.runs for table in tables):
            raise FormatError(f"The results of {self.name} are of different runs. Make all seeds on the same zoo.")
        tasks, clusters = np.unique(tables[0]["task"], return_inverse=True)
        losses = np.array([table["total_variation"] for table in tables], np.float64).T  # [runs, S]
        self.by_seed = losses.mean(axis=0).tolist()
        self.num_tasks, self.mean = len(tasks), float(losses.mean())
        self._sums = cluster_sums(losses.mean(axis=1, keepdims=True), clusters, len(tasks))[:, 0]  # [T]
        self._sizes = np.bincount(clusters)  # [T]

    def resampled(self) -> Array:
        """Return the mean loss over seeds in every resample of tasks, [B]."""
        counts = resampled_counts(self.num_tasks, REPEATS, _TASK_SEED)
        return np.asarray(counts @ self._sums / (counts @ self._sizes))


def _interval(value: float, resampled: Array, tasks: int, by_seed: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the interval of a value from its resamples over tasks; nan if there is a single task."""
    over_tasks = percentile_interval(resampled, tasks)
    return over_tasks if tasks < 2 else add_seed_variance(value, over_tasks, by_seed, tasks)


def rank_report(new: Sequence[Result], stored: Sequence[Result]) -> str:
    """Return a short text on where new results stand among stored ones, for people to read.

    For every encoder among the new results: its rank by total variation on `test`, the value with its interval, which
    stored encoders it beats and loses to (the 95% interval of the paired difference excludes 0), and which are level.
    Only stored results of the same zoo (by its hash), preset, settings and biases count; if there are none, those of
    a copy of the zoo (`is_same_plan`), and the text says so. Results of the same encoder are left out.

    Args:
        new: Results of one or several encoders, a file per seed.
        stored: Results to compare with. Controls are ignored; references are named, but have no rank.

    Returns:
        One or several lines per new encoder.
    """
    texts = []
    for zoo, groups in group_by_zoo(new).items():
        for name, group in groups.items():
            if not is_control(group[0]):
                texts.append(_standing(zoo, name, group, _comparable(group, stored)))
    return "\n\n".join(texts) if texts else "There is no result of an encoder."


def _comparable(group: Group, stored: Sequence[Result]) -> dict[str, Group]:
    """Return display name -> stored results that an encoder can be compared with, its own left out.

    They are of one zoo: the same as that of the encoder, or else a copy of it.
    """
    first = group[0]
    found = [
        result
        for result in stored
        if not is_control(result)
        and display_name(result) != display_name(first)
        and same_settings(result, first)
        and is_same_plan(result, first)
    ]
    return next(iter(group_by_zoo(only_one_zoo(found, first["zoo"])).values()), {})


def _standing(zoo: str, name: str, group: Group, others: Mapping[str, Group]) -> str:
    value = total_variation_estimate(group, "test")
    measured = f"total variation per step {value} on unseen tasks ({_count(len(group), 'seed')})"
    encoders = {other: results for other, results in others.items() if not is_reference(results[0])}
    if not others:
        return f"{name} on {zoo}: {measured}. No stored result is of the same zoo and settings."
    better = [
        other for other, results in encoders.items() if total_variation_estimate(results, "test").value < value.value
    ]
    place = f"rank {len(better) + 1} of {len(encoders) + 1}, " if not is_reference(group[0]) else ""
    lines = [f"{name} on {zoo}: {place}{measured}."]
    for verdict, names in _verdicts(group, others).items():
        lines.append(f"  {verdict} {', '.join(names) if names else 'none'}")
    lines.append("  (beats, loses to: the 95% interval of the paired difference over tasks and seeds excludes 0)")
    if next(iter(others.values()))[0]["zoo"] != group[0]["zoo"]:
        lines.append(
            "  The stored results are of another copy of this zoo: the same runs, trained with other roundings. These "
            "intervals do not contain how much encoders vary over copies; see docs/benchmark.md."
        )
    single = [own for own, results in {name: group, **others}.items() if len(results) == 1]
    if single:
        lines.append(
            f"  A single seed of {', '.join(single)}: the intervals of their differences do not contain how much they "
            "vary over seeds."
        )
    return "\n".join(lines)


def _verdicts(group: Group, others: Mapping[str, Group]) -> dict[str, list[str]]:
    """Return verdict -> names, the best first, with differences where they are supported."""
    verdicts: dict[str, list[str]] = {"beats:    ": [], "level with:": [], "loses to: ": []}
    beats, level, loses = verdicts
    for name, results in sort_by_loss(others).items():
        difference = compare(group, results)
        if difference.excludes_zero:
            verdicts[beats if difference.value < 0 else loses].append(f"{name} ({difference.value:+.4f})")
        else:
            verdicts[level].append(name)
    return verdicts


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
