"""Targets: the labels that are predicted from embeddings, and which measures of them tables show.

A new target is an entry of `targets` of its family's `benchmark`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from rnn_zoos.baselines.downstream.measures import MEASURES, Kind
from rnn_zoos.baselines.emulation.data import SplitData, benchmark_of
from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.registry import zoo_names
from rnn_zoos.format.files import Array

TRAINED_FROM = 500
"""Networks count as trained from this step on, for targets `..._trained`."""


@dataclass(frozen=True)
class Target:
    """Columns of the index that are predicted together.

    Attributes:
        columns: Names of the columns.
        kind: Their kind.
        shown: Names of the measures in `MEASURES[kind]` that tables and figures show.
        from_step: Networks before this training step are left out, in training of predictors and in tests.
    """

    columns: tuple[str, ...]
    kind: Kind
    shown: tuple[str, ...]
    from_step: int = 0

    def values(self, data: SplitData) -> Array:
        """Return the labels of all rows, float64 [R, columns]."""
        return np.stack([np.asarray(data.labels(column), np.float64) for column in self.columns], axis=1)


_SHOWN: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    {"number": ("r_squared", "r_squared_within_steps"), "classes": ("accuracy",), "angle": ("degrees",)}
)


class _Targets(Mapping[str, Mapping[str, Target]]):
    """The targets of every zoo, from what its family says."""

    def __getitem__(self, zoo: str) -> Mapping[str, Target]:
        return _targets_of(zoo)

    def __contains__(self, zoo: object) -> bool:
        return zoo in zoo_names()

    def __iter__(self) -> Iterator[str]:
        return iter(zoo_names())

    def __len__(self) -> int:
        return len(zoo_names())


@lru_cache(maxsize=64)
def _targets_of(zoo: str) -> Mapping[str, Target]:
    targets = {}
    for name, said in benchmark_of(zoo).targets.items():
        targets[name] = Target(said.columns, said.kind, _SHOWN[said.kind])
        if name == "task":
            targets["task_trained"] = replace(targets[name], from_step=TRAINED_FROM)
    return MappingProxyType(targets)


TARGETS: Mapping[str, Mapping[str, Target]] = _Targets()
"""Zoo -> name -> target: `TaskFamily.benchmark` says which; and the task of trained networks, `task_trained`."""


def task_targets(zoo: str) -> dict[str, Target]:
    """Return the targets of a zoo that are the task itself: of all networks, and of trained ones.

    Empty if its family has no target `task`.
    """
    return {name: TARGETS[zoo][name] for name in ("task", "task_trained") if name in TARGETS[zoo]}


def target_of(zoo: str, name: str) -> Target:
    """Return a target of a zoo by name. Raises UnknownNameError."""
    if name not in TARGETS[zoo]:
        raise UnknownNameError.among("downstream task", name, TARGETS[zoo])
    return TARGETS[zoo][name]


_TARGET_TITLES = {
    "task_trained": f"task (steps >= {TRAINED_FROM})",
    "generalization_gap": "generalization gap",
    "weight_decay": "weight decay",
}


def target_title(name: str) -> str:
    """Return the name of a target in tables and figures."""
    return _TARGET_TITLES.get(name, name)


def measure_title(target: Target, measure: str) -> str:
    """Return the name of a measure of a target in tables and figures."""
    return MEASURES[target.kind][measure].title
