"""The plan: what would be trained, as plain data, before anything is.

Every run's task, hyperparameters, split and shard follow from the settings and the seed; a plan of more runs begins
with the plan of fewer, so a zoo can be extended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rnn_zoos.architecture import Architecture
from rnn_zoos.generation.presets import Settings, load_preset
from rnn_zoos.generation.training import Run
from rnn_zoos.manifest import shard_path
from rnn_zoos.registry import task_family
from rnn_zoos.sequential_mnist import SequentialMnist
from rnn_zoos.tasks import SPLITS, TaskFamily


@dataclass(frozen=True)
class ShardPlan:
    """The unit of work: some runs of one split, and the place of their shard among the `count` of the split."""

    split: str
    number: int
    count: int
    runs: tuple[Run, ...]

    @property
    def name(self) -> str:
        """Name that does not change when the zoo is extended."""
        return f"{self.split}-{self.number:05d}"

    def path(self, kind: str) -> str:
        """Path inside the zoo; `kind` is shards or rollouts."""
        return shard_path(kind, self.split, self.number, self.count)

    @property
    def run_numbers(self) -> list[int]:
        """The numbers of its runs, ascending."""
        return [run.run for run in self.runs]


@dataclass(frozen=True)
class Plan:
    """All that decides what a zoo holds. `mnist` is where this machine finds the digits; their hash is what counts."""

    zoo: str
    preset: str
    settings: Settings
    backend: str
    mnist: str

    @cached_property
    def family(self) -> TaskFamily:
        """The task family."""
        return task_family(self.zoo, self.mnist)

    @property
    def architecture(self) -> Architecture:
        """The architecture of every network."""
        return self.settings.architecture(self.family)

    @cached_property
    def _columns(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.str_]]:
        """Task, weight decay and split of every run [M]."""
        runs = torch.arange(self.settings.runs)
        tasks = self.family.deal(self.settings.seed, runs)
        decays = self.family.deal_weight_decay(self.settings.seed, runs, self.settings.weight_decay)
        return tasks.numpy(), decays, self.family.splits(tasks)

    def runs(self) -> Iterator[tuple[Run, str]]:
        """Yield every run with its split, in order."""
        tasks, decays, splits = self._columns
        for number, (task, decay, split) in enumerate(zip(tasks.tolist(), decays.tolist(), splits, strict=True)):
            yield Run(number, task, decay), str(split)

    @cached_property
    def shards(self) -> list[ShardPlan]:
        """The work: the runs of each split, `runs_per_shard` at a time."""
        size, shards = self.settings.runs_per_shard, []
        members: dict[str, list[Run]] = {split: [] for split in SPLITS}
        for run, split in self.runs():
            members[split].append(run)
        for split, runs in members.items():
            parts = [tuple(runs[start : start + size]) for start in range(0, len(runs), size)]
            shards += [ShardPlan(split, number, len(parts), part) for number, part in enumerate(parts)]
        return shards

    def digits(self) -> dict[str, str] | None:
        """Return the origin and hash of the digits, or None for a zoo without.

        Loads them. Raises DigitsError, and PresetError if the evaluation asks for more than there are.
        """
        if not isinstance(self.family, SequentialMnist):
            return None
        self.family.check_evaluation(self.settings.evaluation_sizes(self.family))
        origin = "embedded" if self.mnist == "embedded" else "mnist"
        return {"origin": origin, "sha256": self.family.digits.sha256}

    def settings_data(self) -> dict[str, Any]:
        """Return the settings as JSON data."""
        return self.settings.model_dump(mode="json")

    def identity(self) -> dict[str, Any]:
        """Return what two generations must share to write into one directory (the number of runs may grow)."""
        return {"zoo": self.zoo, "backend": self.backend, "digits": self.digits(), **self.settings_data()}

    def run_rows(self) -> Iterator[dict[str, Any]]:
        """Yield run, split, shard, task and hyperparameters of every run, in order: what `rnn-zoos plan` shows."""
        shard_of = {number: shard.name for shard in self.shards for number in shard.run_numbers}
        for run, split in self.runs():
            yield {
                "run": run.run,
                "split": split,
                "shard": shard_of[run.run],
                "task": self.family.task_name(run.task),
                **self.family.task_values(run.task),
                "weight_decay": run.weight_decay,
            }


def make_plan(
    zoo: str,
    preset: str,
    *,
    runs: int | None = None,
    seed: int | None = None,
    backend: str = "loop",
    mnist: str = "embedded",
) -> Plan:
    """Return the plan of a zoo of a preset; `runs` and `seed` replace the preset's. Raises ZooError children."""
    return Plan(zoo, Path(preset).stem, load_preset(preset, zoo, runs=runs, seed=seed), backend, mnist)
