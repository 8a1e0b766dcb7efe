"""Zoos without networks: what predictors read of a zoo, the columns of its index, made up run by run."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from rnn_zoos.baselines.emulation.data import ZooData

SNAPSHOTS = (0, 20, 50, 200, 5000)


@dataclass(frozen=True)
class MadeUpRun:
    """A run with this number of snapshots, fewer than `SNAPSHOTS` if it diverged, and the accuracy of each."""

    task: str
    accuracies: tuple[float, ...]

    @property
    def diverged(self) -> bool:
        return len(self.accuracies) < len(SNAPSHOTS)


class MadeUpSplit:
    """The rows of a split in random order; `labels` are those of `SplitData`."""

    def __init__(self, first_run: int, runs: list[MadeUpRun]) -> None:
        rows = [
            (first_run + number, step, run.task, accuracy, run.diverged)
            for number, run in enumerate(runs)
            for step, accuracy in zip(SNAPSHOTS, run.accuracies, strict=False)
        ]
        order = np.random.default_rng(first_run).permutation(len(rows))
        names = ("run", "step", "task", "accuracy", "diverged")
        columns = zip(*(rows[row] for row in order), strict=True)
        self.columns = {name: np.array(column) for name, column in zip(names, columns, strict=True)}

    def __len__(self) -> int:
        return len(self.columns["run"])

    def labels(self, name: str) -> Any:
        return self.columns[name]

    def final_accuracies(self) -> np.ndarray:
        """Return the accuracy of the last snapshot of each row's run, [R]."""
        runs, steps = self.columns["run"], self.columns["step"]
        return np.array([self.columns["accuracy"][runs == run][np.argmax(steps[runs == run])] for run in runs])


def made_up_zoo(splits: dict[str, list[MadeUpRun]], snapshots: tuple[int, ...] = SNAPSHOTS) -> ZooData:
    """Return a zoo with these runs."""
    manifest = SimpleNamespace(zoo="formal-languages", snapshots=snapshots)
    rows = {split: MadeUpSplit(1000 * number, runs) for number, (split, runs) in enumerate(splits.items())}
    return ZooData(SimpleNamespace(manifest=manifest), rows)


def random_runs(seed: int, number: int, tasks: int, diverged: int = 0) -> list[MadeUpRun]:
    """Return runs of tasks that no other seed has; the last `diverged` ones have 3 or 4 of 5 snapshots."""
    random = np.random.default_rng(seed)
    lengths = [5] * (number - diverged) + [3 + n % 2 for n in range(diverged)]
    return [
        MadeUpRun(f"task {seed}.{n % tasks}", tuple(random.random(length).tolist())) for n, length in enumerate(lengths)
    ]
