"""The table of the runs of a zoo: number, task, weight decay and split of each. It needs only torch and numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from rnn_zoos.families.family import TaskFamily

_COLUMNS = np.dtype([("run", np.int64), ("task", np.int64), ("weight_decay", np.float64)])


class ZooSettings(Protocol):
    """The part of `presets.Settings` that decides what the runs of a zoo are."""

    @property
    def seed(self) -> int:
        """The seed of the zoo."""
        ...

    @property
    def runs(self) -> int:
        """The number of runs."""
        ...

    @property
    def weight_decay(self) -> Sequence[float]:
        """The values from which every run draws one."""
        ...

    @property
    def stratified_tasks(self) -> bool:
        """Whether tasks are assigned evenly to runs, instead of drawn independently for each."""
        ...


def run_table(family: TaskFamily, settings: ZooSettings) -> tuple[npt.NDArray[np.void], npt.NDArray[np.str_]]:
    """Return the runs of a zoo, in order of their numbers.

    Args:
        family: The task family of the zoo.
        settings: Its settings.

    Returns:
        Records with the fields of `trainer.Run` (run, task, weight_decay), and the split of each run.
    """
    runs = torch.arange(settings.runs)
    tasks = family.assign_tasks(settings.seed, runs, settings.stratified_tasks)
    table = np.empty(settings.runs, _COLUMNS)
    table["run"], table["task"] = runs.numpy(), tasks.numpy()
    table["weight_decay"] = family.draw_weight_decay(settings.seed, runs, settings.weight_decay)
    return table, family.splits(tasks)
