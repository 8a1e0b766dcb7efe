"""Labels with functions of their own, and the measurement of all labels of a snapshot, or of some of them.

A family measures its first labels together, in `TaskFamily.evaluate`. Every label that was added later is one entry of
`TaskFamily.further_labels`: it can be measured alone, also for a zoo that was made before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnn_zoos.denormals import denormals_as_zero
from rnn_zoos.families.columns import Column
from rnn_zoos.families.family import Measurement, TaskFamily
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.networks.stack import NetworkStack


@dataclass(frozen=True)
class Snapshot:
    """A snapshot to be measured. The attributes are the arguments of `TaskFamily.evaluate`, and `Run.initial_scale`."""

    network: RecurrentNetwork
    seed: int
    run: int
    task: int
    step: int
    evaluation: Any
    initial_scale: float = 1.0


@dataclass(frozen=True)
class SnapshotStack:
    """M snapshots to be measured at once, on the device of their weights.

    The attributes are the arguments of `TaskFamily.evaluate_stack`.
    """

    stack: NetworkStack
    seed: int
    runs: Sequence[int]
    tasks: Sequence[int]
    steps: Sequence[int]
    evaluation: Any


@dataclass(frozen=True)
class Label:
    """A label that a function of its own measures.

    Attributes:
        column: Its column of the index.
        measure: Function (family, snapshot) -> value. The value depends on these arguments alone, so that it can be
            measured later for a zoo that lacks the label. It leaves the network as it is. Labels that are measured
            together have the same function, which returns a mapping with the values of all of them.
        fraction: Whether its values are fractions of whole numbers, see `TaskFamily.fraction_denominators`.
        measure_stack: Function (family, snapshots) -> what `measure` returns for each of them, up to rounding; for
            snapshots that a GPU trained. None if `measure` takes no time to speak of.
        rounding: Tolerance between machines for a value that is no fraction, relative to 1 + |value|.
    """

    column: Column
    measure: Callable[[Any, Snapshot], float | Mapping[str, float]]
    fraction: bool = False
    rounding: float = 1e-3
    measure_stack: Callable[[Any, SnapshotStack], Sequence[float | Mapping[str, float]]] | None = None


def evaluate(family: TaskFamily, snapshot: Snapshot) -> Measurement:
    """Return what `family.evaluate` returns for a snapshot: its first labels, and rollouts."""
    return family.evaluate(
        snapshot.network, snapshot.seed, snapshot.run, snapshot.task, snapshot.step, snapshot.evaluation
    )


@denormals_as_zero()
def measure(family: TaskFamily, snapshot: Snapshot, evaluated: Measurement | None = None) -> Measurement:
    """Return what `family.evaluate` or `measure_stack` returns for a snapshot, with all further labels."""
    measured = evaluated or evaluate(family, snapshot)
    missing = [name for name in family.further_labels if name not in measured.labels]
    values = {**measured.labels, **_further(family, snapshot, missing)}
    order = {name: place for place, name in enumerate(family.measured_labels)}  # that of the index
    names = sorted(values, key=lambda name: order.get(name, len(order)))
    return Measurement({name: values[name] for name in names}, measured.rollouts)


@denormals_as_zero()
def measure_stack(family: TaskFamily, snapshots: SnapshotStack) -> list[Measurement]:
    """Return what `family.evaluate_stack` returns, with the further labels that have a `measure_stack`.

    `measure` adds the others.
    """
    evaluated = family.evaluate_stack(
        snapshots.stack, snapshots.seed, snapshots.runs, snapshots.tasks, snapshots.steps, snapshots.evaluation
    )
    functions = {name: label.measure_stack for name, label in family.further_labels.items() if label.measure_stack}
    results = {function: function(family, snapshots) for function in dict.fromkeys(functions.values())}
    return [
        Measurement(
            {**measured.labels, **{name: _value(results[function][n], name) for name, function in functions.items()}},
            measured.rollouts,
        )
        for n, measured in enumerate(evaluated)
    ]


def _value(found: float | Mapping[str, float], name: str) -> float:
    """Return the value of one label, of a function that measures one or several."""
    return found[name] if isinstance(found, Mapping) else found


@denormals_as_zero()
def measure_labels(family: TaskFamily, snapshot: Snapshot, names: Collection[str]) -> dict[str, float]:
    """Measure some labels of a snapshot, with the bits that `measure` returns.

    Args:
        family: The task family.
        snapshot: The snapshot.
        names: Names in `family.measured_labels`.

    Returns:
        Name -> value, in the order of `names`.
    """
    further = [name for name in names if name in family.further_labels]
    evaluated = {} if len(further) == len(names) else evaluate(family, snapshot).labels
    values = {**evaluated, **_further(family, snapshot, further)}
    return {name: values[name] for name in names}


def is_fraction(family: TaskFamily, name: str) -> bool:
    """Tell whether the values of a label are from 0 to 1."""
    return name in family.fraction_labels or (name in family.further_labels and family.further_labels[name].fraction)


def rounding(family: TaskFamily, name: str) -> float:
    """Return how far rounding moves the values of a label that is no fraction, relative to 1 + their size."""
    return family.further_labels[name].rounding if name in family.further_labels else Label.rounding


def _further(family: TaskFamily, snapshot: Snapshot, names: Iterable[str]) -> dict[str, float]:
    """Return the values of some further labels; a function that measures several of them is called once."""
    together: dict[Any, Mapping[str, float]] = {}
    values: dict[str, float] = {}
    for name in names:
        label = family.further_labels[name]
        found = together[label.measure] if label.measure in together else label.measure(family, snapshot)
        if isinstance(found, Mapping):
            together[label.measure] = found
        values[name] = _value(found, name)
    return values
