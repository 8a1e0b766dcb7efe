"""Plans: which runs a zoo consists of and in which shard each run is stored, as plain data.

Task, hyperparameters, split and shard of every run follow from the settings and the seed. A plan of more runs starts
with the plan of fewer, so that a zoo can be extended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rnn_zoos.errors import FormatError
from rnn_zoos.families.columns import Column, architecture_values, zoo_columns
from rnn_zoos.families.family import SPLITS, TaskFamily
from rnn_zoos.families.registry import task_family
from rnn_zoos.families.run_table import RUN_FIELDS, Table, run_table, varied_values
from rnn_zoos.format.manifest import Manifest
from rnn_zoos.generation.presets import load_preset, preset_name
from rnn_zoos.generation.settings import Settings, check_settings
from rnn_zoos.generation.shard_plans import Shards
from rnn_zoos.generation.trainers.trainer import Run
from rnn_zoos.networks.architecture import Architecture


@dataclass(frozen=True)
class Plan:
    """Everything that determines the content of a zoo.

    Attributes:
        zoo: the name of the task family, such as "formal-languages".
        preset: the name of the preset.
        settings: the settings of the zoo.
        backend: the trainer, one of `trainers.backends.BACKENDS`.
        mnist: where this machine finds the digits: "hub", "embedded", or a directory. Only their hash is part of the
            plan's identity.

    Example:
        >>> from rnn_zoos.generation import make_plan
        >>> plan = make_plan("formal-languages", "demo", runs=3)
        >>> len(list(plan.runs()))
        3
    """

    zoo: str
    preset: str
    settings: Settings
    backend: str
    mnist: str

    @cached_property
    def family(self) -> TaskFamily:
        """The task family of the zoo."""
        return task_family(self.zoo, self.mnist)

    @property
    def architecture(self) -> Architecture:
        """The architecture of every network. Raises PresetError if there are several."""
        return self.settings.architecture(self.family)

    @cached_property
    def architectures(self) -> tuple[Architecture, ...]:
        """The architectures of the networks, by the numbers that runs and shards have."""
        return self.settings.all_architectures(self.family)

    @cached_property
    def _table(self) -> tuple[Table, npt.NDArray[np.str_]]:
        """The runs (`RUN_FIELDS`), and the split of each: two arrays with one entry per run."""
        table = run_table(self.family, self.settings.as_data())
        return table, self.family.splits(torch.from_numpy(table["task"].copy()))

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The columns of the index, in order, if no label is missing."""
        return zoo_columns(self.family.columns, self.settings.as_data())

    def run_values(self, run: Run) -> dict[str, Any]:
        """Return what the index says about a run.

        Args:
            run: a run of the plan.

        Returns:
            Column -> value of its number, task and hyperparameters, and of its architecture if there are several.

        Example:
            >>> from rnn_zoos.generation import make_plan
            >>> plan = make_plan("formal-languages", "demo")
            >>> run, _ = next(iter(plan.runs()))
            >>> list(plan.run_values(run))
            ['run', 'task', 'm_b', 'm_c', 'm_d', 'weight_decay']
        """
        settings = self.settings.as_data()
        mixed = len(self.architectures) > 1
        return {
            "run": run.run,
            "task": self.family.task_name(run.task),
            **self.family.task_values(run.task),
            **(architecture_values(self.architectures[run.architecture]) if mixed else {}),
            "weight_decay": run.weight_decay,
            **varied_values(settings, np.array(astuple(run), RUN_FIELDS)),
        }

    def runs(self) -> Iterator[tuple[Run, str]]:
        """Return an iterator over all runs.

        Yields:
            Every run with its split, in order of the runs' numbers.
        """
        for entry, split in zip(*self._table, strict=True):
            yield Run(*entry.item()), str(split)

    @cached_property
    def shards(self) -> Shards:
        """The shards of the zoo: the runs of each split, `runs_per_shard` at a time."""
        table, splits = self._table
        return Shards({split: table[splits == split] for split in SPLITS}, self.settings.runs_per_shard)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the table of all runs: a worker gets its shard, and needs nothing else."""
        return {name: value for name, value in vars(self).items() if name not in ("_table", "shards")}

    def digits(self) -> dict[str, str] | None:
        """Load the digits of the zoo, if it needs any, and identify them.

        Returns:
            "origin" ("embedded" or "mnist") and "sha256"; None for a zoo without digits.

        Raises:
            DigitsError: the digits are missing, out of reach or damaged.
            PresetError: the evaluation needs more digits than there are.
        """
        self.family.check_evaluation(self.settings.evaluation_sizes(self.family))
        return self.family.identify_digits()

    def settings_data(self) -> dict[str, Any]:
        """Return the settings of the plan.

        Returns:
            JSON data, as `Settings.as_data` gives them.
        """
        return self.settings.as_data()

    def identity(self) -> dict[str, Any]:
        """Return what two plans must have in common to be generated in one directory, as JSON data.

        Returns:
            Zoo, backend, digits and all settings. The number of runs is part of it, but may grow.

        Raises:
            DigitsError: the digits are missing, out of reach or damaged.
            PresetError: the evaluation needs more digits than there are.
        """
        return {"zoo": self.zoo, "backend": self.backend, "digits": self.digits(), **self.settings_data()}

    def run_rows(self) -> Iterator[dict[str, Any]]:
        """Describe all runs, as `rnn-zoos plan` shows them.

        Yields:
            Run, split, shard, task and hyperparameters of every run, in order of the runs' numbers.
        """
        names = {number: shard.name for shard in self.shards for number in shard.run_numbers}
        for run, split in self.runs():
            yield {"run": run.run, "split": split, "shard": names[run.run], **self.run_values(run)}


def make_plan(
    zoo: str,
    preset: str,
    *,
    runs: int | None = None,
    seed: int | None = None,
    backend: str = "loop",
    mnist: str = "embedded",
) -> Plan:
    """Return the plan of a zoo.

    Args:
        zoo: the name of the zoo, such as "formal-languages".
        preset: a name of `preset_names()`, or the path of a YAML file.
        runs: the number of runs; None for the preset's.
        seed: the seed; None for the preset's.
        backend: the trainer, one of `trainers.backends.BACKENDS`; see `choose_backend`.
        mnist: where this machine finds the digits: "hub", "embedded", or a directory with the four IDX files.

    Returns:
        The plan. Nothing has been loaded or written yet.

    Raises:
        UnknownNameError: the zoo or the preset does not exist.
        PresetError: a value of the preset, `runs` or `seed` is not allowed.

    Example:
        >>> from rnn_zoos.generation import make_plan
        >>> plan = make_plan("formal-languages", "demo")
        >>> plan.settings.runs
        20
    """
    return Plan(zoo, preset_name(preset), load_preset(preset, zoo, runs=runs, seed=seed), backend, mnist)


def rebuild_plan(stored: Mapping[str, Any], backend: str | None = None, mnist: str | None = None) -> Plan:
    """Return the plan that an output directory or a zoo was generated with.

    Args:
        stored: zoo, preset, backend, digits and all settings.
        backend: replaces the stored backend.
        mnist: where this machine finds the digits; by default inside the package if the zoo was made with those, else
            the Hub.

    Raises PresetError if a stored setting is not allowed.
    """
    values = {name: stored[name] for name in Settings.model_fields if name in stored}
    values["learning_rate"] = {int(update): rate for update, rate in values["learning_rate"].items()}
    source = digits_source(stored["digits"], mnist)
    settings = check_settings(values, task_family(stored["zoo"]), f"the settings of the zoo: {stored['zoo']}")
    return Plan(stored["zoo"], stored["preset"], settings, backend or stored["backend"], source)


def digits_source(digits: Mapping[str, str] | None, mnist: str | None = None) -> str:
    """Return where this machine finds the digits of a zoo.

    Args:
        digits: what `Plan.digits` returned for the zoo.
        mnist: the source that the user gives, if any.

    Returns:
        `mnist`; without it "embedded" if the zoo was made with the digits inside the package, else "hub".
    """
    return mnist or ("embedded" if (digits or {}).get("origin") == "embedded" else "hub")


def plan_of_zoo(manifest: Manifest, backend: str | None = None, mnist: str | None = None) -> Plan:
    """Return the plan of a finished zoo; `backend` and `mnist` as in `rebuild_plan`.

    Raises FormatError for an imported zoo, which has no plan.
    """
    if manifest.imported is not None:
        raise FormatError("This zoo was imported, not generated: it has no plan by which it could be generated again.")
    identity = {"zoo": manifest.zoo, "preset": manifest.preset, "digits": manifest.digits, **manifest.settings}
    return rebuild_plan({**identity, "backend": manifest.made["backend"]}, backend, mnist)
