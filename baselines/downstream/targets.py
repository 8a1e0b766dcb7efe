"""Targets: the labels that are predicted from embeddings, and the measures of how well they are predicted.

A new target is an entry of `TARGETS`; a new measure is one of `MEASURES`, with its name in tables in `_MEASURE_TITLES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
from scipy.stats import kendalltau

from rnn_zoos.baselines.emulation.data import SplitData
from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.sequential_mnist import SequentialMnist
from rnn_zoos.format.files import Array

Kind: TypeAlias = Literal["number", "classes", "angle"]
"""number: regression. classes: classification, all columns must be right. angle: regression on a circle, in degrees."""


@dataclass(frozen=True)
class Target:
    """Columns of the index that are predicted together, and their kind."""

    columns: tuple[str, ...]
    kind: Kind

    def values(self, data: SplitData) -> Array:
        """Return the labels of all rows, float64 [R, columns]."""
        return np.stack([np.asarray(data.labels(column), np.float64) for column in self.columns], axis=1)


_SHARED = {"accuracy": Target(("accuracy",), "number"), "step": Target(("step",), "classes")}
_OFFSETS = ("m_b", "m_c", "m_d")
TARGETS: Mapping[str, Mapping[str, Target]] = MappingProxyType(
    {
        FormalLanguages.name: {
            "task": Target(_OFFSETS, "classes"),
            **{offset: Target((offset,), "classes") for offset in _OFFSETS},
            **_SHARED,
        },
        SequentialMnist.name: {
            "task": Target(("angle",), "angle"),
            **_SHARED,
            "generalization_gap": Target(("generalization_gap",), "number"),
            "weight_decay": Target(("weight_decay",), "classes"),
        },
    }
)
"""Zoo -> name -> target."""


def target_of(zoo: str, name: str) -> Target:
    """Return a target of a zoo by name. Raises UnknownNameError."""
    if name not in TARGETS[zoo]:
        raise UnknownNameError.among("downstream task", name, TARGETS[zoo])
    return TARGETS[zoo][name]


def angular_errors(predicted: Array, true: Array) -> Array:
    """Return the absolute differences between angles in degrees, along the shorter arc: 0 to 180."""
    apart = np.abs(predicted - true) % 360
    return np.asarray(np.minimum(apart, 360 - apart))


def r_squared(predicted: Array, true: Array) -> float:
    """Return 1 - squared error / variance of the true values; nan if they do not vary."""
    variance = ((true - true.mean()) ** 2).sum()
    return float(1 - ((predicted - true) ** 2).sum() / variance) if variance > 0 else float("nan")


def kendall_tau(predicted: Array, true: Array) -> float:
    """Return Kendall's tau-b, which accounts for ties; 0 for constant predictions."""
    if (predicted == predicted[0]).all():
        return 0.0
    return float(kendalltau(predicted, true).statistic)


MEASURES: Mapping[str, Mapping[str, Callable[[Array, Array], float]]] = MappingProxyType(
    {
        "number": {
            "r_squared": lambda predicted, true: r_squared(predicted[:, 0], true[:, 0]),
            "kendall_tau": lambda predicted, true: kendall_tau(predicted[:, 0], true[:, 0]),
        },
        "classes": {"accuracy": lambda predicted, true: float((predicted == true).all(axis=1).mean())},
        "angle": {"degrees": lambda predicted, true: float(angular_errors(predicted, true).mean())},
    }
)
"""Kind of target -> name -> function of predicted and true labels [R, columns]. Tables show the first of each kind."""

_MEASURE_TITLES = {"r_squared": "R²", "accuracy": "accuracy", "degrees": "error (degrees)"}
_TARGET_TITLES = {"generalization_gap": "generalization gap", "weight_decay": "weight decay"}


def target_title(name: str) -> str:
    """Return the name of a target in tables and figures."""
    return _TARGET_TITLES.get(name, name)


def measure_title(target: Target) -> str:
    """Return the name in tables and figures of the first measure of a target."""
    return _MEASURE_TITLES[next(iter(MEASURES[target.kind]))]


def bootstrap_interval(
    measure: Callable[[Array, Array], float], predicted: Array, true: Array, runs: Array, repeats: int, seed: int
) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of a measure.

    Runs are resampled, each with all its snapshots, because the snapshots of a run are not independent.
    """
    random, (names, of_row) = np.random.default_rng(seed), np.unique(runs, return_inverse=True)
    rows_of = [np.flatnonzero(of_row == run) for run in range(len(names))]
    values: list[float] = []
    for _ in range(repeats):
        rows = np.concatenate([rows_of[run] for run in random.integers(len(names), size=len(names))])
        values.append(measure(predicted[rows], true[rows]))
    finite = [value for value in values if not np.isnan(value)]  # R² of a sample of equal labels is undefined
    low, high = np.percentile(finite, [2.5, 97.5]) if finite else (np.nan, np.nan)
    return float(low), float(high)
