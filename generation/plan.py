"""The plan: what would be trained, as plain data, before anything is.

Every run's task, hyperparameters, split and shard follow from the settings and the seed; a plan of more runs begins
with the plan of fewer, so a zoo can be extended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch

from rnn_zoos.errors import FormatError
from rnn_zoos.families.family import SPLITS, TaskFamily
from rnn_zoos.families.registry import task_family
from rnn_zoos.families.sequential_mnist import SequentialMnist
from rnn_zoos.format.manifest import Manifest, shard_path
from rnn_zoos.generation.presets import Settings, check_settings, load_preset
from rnn_zoos.generation.trainers.trainer import Run
from rnn_zoos.networks.architecture import Architecture

_COLUMNS = np.dtype([("run", np.int64), ("task", np.int64), ("weight_decay", np.float64)])


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """The unit of work: some runs of one split, and the place of their shard among the `count` of the split.

    The runs are rows [R] of a table of all runs, so that a plan of a million takes little memory.
    """

    split: str
    number: int
    count: int
    table: npt.NDArray[np.void]

    def __str__(self) -> str:
        return f"shard {self.name}"

    @property
    def name(self) -> str:
        """Name that does not change when the zoo is extended."""
        return f"{self.split}-{self.number:05d}"

    def path(self, kind: str) -> str:
        """Path inside the zoo; `kind` is shards or rollouts."""
        return shard_path(kind, self.split, self.number, self.count)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Its runs, in order."""
        return tuple(Run(*row) for row in self.table.tolist())

    @property
    def run_numbers(self) -> list[int]:
        """The numbers of its runs, ascending."""
        return [int(number) for number in self.table["run"]]


class Shards(Sequence[ShardPlan]):
    """All shards of a plan, in order; each is made when it is asked for."""

    def __init__(self, tables: Mapping[str, npt.NDArray[np.void]], size: int) -> None:
        self._tables, self._size = tables, size
        self._places = [(split, number) for split in tables for number in range(-(-len(tables[split]) // size))]

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> ShardPlan: ...
    @overload
    def __getitem__(self, place: slice) -> list[ShardPlan]: ...
    def __getitem__(self, place: int | slice) -> ShardPlan | list[ShardPlan]:
        if isinstance(place, slice):
            return [self[index] for index in range(*place.indices(len(self)))]
        split, number = self._places[place]
        table = self._tables[split]
        rows = table[number * self._size : (number + 1) * self._size]
        return ShardPlan(split, number, -(-len(table) // self._size), rows)


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
    def _table(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.str_]]:
        """Number, task and weight decay of every run [M], and its split [M]."""
        runs = torch.arange(self.settings.runs)
        tasks = self.family.assign_tasks(self.settings.seed, runs, self.settings.stratified_tasks)
        table = np.empty(self.settings.runs, _COLUMNS)
        table["run"], table["task"] = runs.numpy(), tasks.numpy()
        table["weight_decay"] = self.family.draw_weight_decay(self.settings.seed, runs, self.settings.weight_decay)
        return table, self.family.splits(tasks)

    def runs(self) -> Iterator[tuple[Run, str]]:
        """Yield every run with its split, in order."""
        for row, split in zip(*self._table, strict=True):
            yield Run(*row.item()), str(split)

    @cached_property
    def shards(self) -> Shards:
        """The work: the runs of each split, `runs_per_shard` at a time."""
        table, splits = self._table
        return Shards({split: table[splits == split] for split in SPLITS}, self.settings.runs_per_shard)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a worker does not need: it is given its shard."""
        return {name: value for name, value in vars(self).items() if name not in ("_table", "shards")}

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
        return self.settings.as_data()

    def identity(self) -> dict[str, Any]:
        """Return what two generations must share to write into one directory (the number of runs may grow)."""
        return {"zoo": self.zoo, "backend": self.backend, "digits": self.digits(), **self.settings_data()}

    def run_rows(self) -> Iterator[dict[str, Any]]:
        """Yield run, split, shard, task and hyperparameters of every run, in order: what `rnn-zoos plan` shows."""
        counted = dict.fromkeys(SPLITS, 0)
        for run, split in self.runs():
            shard = counted[split] // self.settings.runs_per_shard
            counted[split] += 1
            yield {
                "run": run.run,
                "split": split,
                "shard": f"{split}-{shard:05d}",
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


def plan_of(made: Mapping[str, Any], backend: str | None = None, mnist: str | None = None) -> Plan:
    """Return the plan that a zoo was made with: `made` has zoo, preset, backend, digits and all settings.

    `backend` replaces its backend; the digits are those inside the package if it had them, else `mnist` (by default
    the Hub's). Raises PresetError for settings that cannot be.
    """
    values = {name: made[name] for name in Settings.model_fields if name in made}
    values["learning_rate"] = {int(update): rate for update, rate in values["learning_rate"].items()}
    source = mnist or ("embedded" if (made["digits"] or {}).get("origin") == "embedded" else "hub")
    settings = check_settings(values, task_family(made["zoo"]), f"the zoo's settings: {made['zoo']}")
    return Plan(made["zoo"], made["preset"], settings, backend or made["backend"], source)


def plan_of_zoo(manifest: Manifest, backend: str | None = None, mnist: str | None = None) -> Plan:
    """Return the plan of a finished zoo, as `plan_of` does. Raises FormatError for an imported one: it has none."""
    if manifest.imported is not None:
        raise FormatError("This zoo was imported, not generated: there is no plan by which it could be made again.")
    made = {"zoo": manifest.zoo, "preset": manifest.preset, "digits": manifest.digits, **manifest.settings}
    return plan_of({**made, "backend": manifest.made["backend"]}, backend, mnist)
