"""Targets: the labels that are predicted from embeddings, and which measures of them tables show.

A new target is an entry of `TARGETS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from rnn_zoos.baselines.downstream.measures import MEASURES, Kind
from rnn_zoos.baselines.emulation.data import SplitData
from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.sequential_mnist import SequentialMnist
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


def _number(column: str) -> Target:
    return Target((column,), "number", ("r_squared", "r_squared_within_steps"))


def _classes(column: str) -> Target:
    return Target((column,), "classes", ("accuracy",))


_SHARED = {"accuracy": _number("accuracy"), "step": _classes("step")}
_OFFSETS = ("m_b", "m_c", "m_d")
TARGETS: Mapping[str, Mapping[str, Target]] = MappingProxyType(
    {
        FormalLanguages.name: {
            "task": Target(_OFFSETS, "classes", ("accuracy",)),
            "task_trained": Target(_OFFSETS, "classes", ("accuracy",), TRAINED_FROM),
            **{offset: _classes(offset) for offset in _OFFSETS},
            **_SHARED,
        },
        SequentialMnist.name: {
            "task": Target(("angle",), "angle", ("degrees",)),
            "task_trained": Target(("angle",), "angle", ("degrees",), TRAINED_FROM),
            **_SHARED,
            "generalization_gap": _number("generalization_gap"),
            "weight_decay": _classes("weight_decay"),
        },
    }
)
"""Zoo -> name -> target."""

TASKS = ("task", "task_trained")
"""The targets that are the task itself: of all networks, and of those that are trained."""


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
