"""Targets: the labels that are predicted from embeddings, and which measures of them tables show.

A new target is an entry of `targets` of its family's `benchmark`. Hyperparameters that the runs of a zoo draw are
targets of that zoo, see `targets_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from rnn_zoos.baselines.downstream.measures import MEASURES, Kind
from rnn_zoos.baselines.emulation.data import SplitData, benchmark_of
from rnn_zoos.families.run_table import VARIED, Choices
from rnn_zoos.format.files import Array

TRAINED_FROM = 500
"""Networks count as trained from this step on, for targets `..._trained`."""

MOST_CLASSES = 10
"""Hyperparameters that are drawn from longer lists are numbers, not classes."""


@dataclass(frozen=True)
class Target:
    """Columns of the index that are predicted together.

    Attributes:
        columns: Names of the columns.
        kind: Their kind.
        shown: Names of the measures in `MEASURES[kind]` that tables and figures show.
        from_step: Networks before this training step are left out, in training of predictors and in tests.
        log: Whether the labels are decimal logarithms of the columns.
    """

    columns: tuple[str, ...]
    kind: Kind
    shown: tuple[str, ...]
    from_step: int = 0
    log: bool = False

    def values(self, data: SplitData) -> Array:
        """Return the labels of all rows, float64 [R, columns]."""
        labels = np.stack([np.asarray(data.labels(column), np.float64) for column in self.columns], axis=1)
        return np.log10(labels) if self.log else labels


_SHOWN: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {"number": ("r_squared", "r_squared_within_steps"), "classes": ("accuracy",), "angle": ("degrees",)}
)
_SHOWN_OF_DRAWN = ("r_squared",)  # R² within steps says little more: what a run draws does not depend on the step


@lru_cache(maxsize=64)
def family_targets(zoo: str) -> Mapping[str, Target]:
    """Return the targets of every zoo of this name: those of `TaskFamily.benchmark`, and the task of trained networks.

    Raises UnknownNameError if there is no such zoo, FormatError if its family has no benchmark.
    """
    targets = {}
    for name, said in benchmark_of(zoo).targets.items():
        targets[name] = Target(said.columns, said.kind, _SHOWN[said.kind])
        if name == "task":
            targets["task_trained"] = replace(targets[name], from_step=TRAINED_FROM)
    return MappingProxyType(targets)


def targets_of(zoo: str, settings: Mapping[str, Any]) -> Mapping[str, Target]:
    """Return the targets of a zoo: those of its family, and every hyperparameter in which its runs differ by `vary`.

    A hyperparameter is a number, on a logarithmic scale, if it is drawn between two bounds or from a long list of
    positive values; from a short list, it is a class. It takes the place of the family's target of the same column. A
    weight decay that all runs share is no target.

    Args:
        zoo: Name of the zoo.
        settings: Its settings, as the manifest has them.
    """
    vary = settings.get("vary") or {}
    drawn = {name: _drawn_target(name, vary[name]) for name in VARIED if name in vary}
    if "weight_decay" not in vary and len(set(settings["weight_decay"])) == 1:
        drawn["weight_decay"] = None
    decided = {(name,) for name in drawn}
    of_family = {name: target for name, target in family_targets(zoo).items() if target.columns not in decided}
    return MappingProxyType(of_family | {name: target for name, target in drawn.items() if target is not None})


def _drawn_target(name: str, choices: Choices) -> Target | None:
    """Return the target of a hyperparameter that runs draw from choices; None if they are a single value."""
    if isinstance(choices, Mapping):
        return Target((name,), "number", _SHOWN_OF_DRAWN, log=True)
    values = set(choices)
    if len(values) < 2:
        return None
    if len(values) <= MOST_CLASSES:
        return Target((name,), "classes", _SHOWN["classes"])
    return Target((name,), "number", _SHOWN_OF_DRAWN, log=min(values) > 0)


def task_targets(zoo: str) -> dict[str, Target]:
    """Return the targets of a zoo that are the task itself: of all networks, and of trained ones.

    Empty if its family has no target `task`.
    """
    targets = family_targets(zoo)
    return {name: targets[name] for name in ("task", "task_trained") if name in targets}


_TARGET_TITLES = {
    "task_trained": f"task (steps >= {TRAINED_FROM})",
    "generalization_gap": "generalization gap",
    "weight_decay": "weight decay",
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "initial_scale": "initial scale",
    "num_updates": "number of updates",
}


def target_title(name: str) -> str:
    """Return the name of a target in tables and figures."""
    return _TARGET_TITLES.get(name, name)


def measure_title(target: Target, measure: str) -> str:
    """Return the name of a measure of a target in tables and figures."""
    return MEASURES[target.kind][measure].title + (" (log)" if target.log else "")
