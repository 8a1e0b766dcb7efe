"""Labels with functions of their own, and the measurement of all labels of a snapshot, or of some of them.

A family measures its first labels together, in `TaskFamily.evaluate`. Every label that was added later is one entry of
`TaskFamily.further_labels`: it can be measured alone, also for a zoo that was made before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from rnn_zoos.families.family import Column, Measurement, TaskFamily
from rnn_zoos.networks.model import RecurrentNetwork

_FRACTIONS = {"accuracy", "test_accuracy", "count_accuracy", "finished", "original_accuracy"}


@dataclass(frozen=True)
class Snapshot:
    """A snapshot to be measured. The attributes are the arguments of `TaskFamily.evaluate`, which describes them."""

    network: RecurrentNetwork
    seed: int
    run: int
    task: int
    step: int
    evaluation: Any


@dataclass(frozen=True)
class Label:
    """A label that a function of its own measures.

    Attributes:
        column: Its column of the index.
        measure: Function (family, snapshot) -> value. The value depends on these arguments alone, so that it can be
            measured later for a zoo that lacks the label. It leaves the network as it is.
        fraction: Whether its values are from 0 to 1.
    """

    column: Column
    measure: Callable[[Any, Snapshot], float]
    fraction: bool = False


def measure(family: TaskFamily, snapshot: Snapshot, evaluated: Measurement | None = None) -> Measurement:
    """Return what `family.evaluate` returns for a snapshot, or has returned before, with the further labels."""
    measured = evaluated or _evaluate(family, snapshot)
    further = {name: label.measure(family, snapshot) for name, label in family.further_labels.items()}
    return Measurement({**measured.labels, **further}, measured.rollouts)


def measure_labels(family: TaskFamily, snapshot: Snapshot, names: Collection[str]) -> dict[str, float]:
    """Measure some labels of a snapshot, with the bits that `measure` returns.

    Args:
        family: The task family.
        snapshot: The snapshot.
        names: Names in `family.labels`.

    Returns:
        Name -> value, in the order of `names`.
    """
    further = family.further_labels
    evaluated = {} if further.keys() >= set(names) else _evaluate(family, snapshot).labels
    return {name: further[name].measure(family, snapshot) if name in further else evaluated[name] for name in names}


def is_fraction(family: TaskFamily, name: str) -> bool:
    """Tell whether the values of a label are from 0 to 1."""
    return name in _FRACTIONS or (name in family.further_labels and family.further_labels[name].fraction)


def _evaluate(family: TaskFamily, of: Snapshot) -> Measurement:
    return family.evaluate(of.network, of.seed, of.run, of.task, of.step, of.evaluation)
