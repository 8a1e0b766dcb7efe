"""Comparing a stored run of a zoo with its retraining, snapshot by snapshot; `verify` does it for some runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch

from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.labels import is_fraction, rounding
from rnn_zoos.families.run_labels import with_run_labels
from rnn_zoos.format.files import Array
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun
from rnn_zoos.generation.writing.shards import Tensors
from rnn_zoos.loaders.zoo import Zoo

TOLERANCE = 1e-3
"""Where bits may differ: how far labels and rollouts recomputed from stored weights may be from the stored ones,
relative to 1 + their size, and how far initial weights may be from the stored ones. Fractions and strings: see `few`.

Later weights cannot be compared, because training is chaotic. With `native` and `loop` on one machine and the preset
`small`, the distance between two trainings of a run, divided by the distance that training had moved the weights, was
.01 to .04 (languages) and .4 to .6 (digits) after 100 updates, and .65 to 1.25 after 20,000: other networks of the same
task.
"""
_FLIPS = 1e-3
"""How many strings or digits rounding changes at most, as a fraction.

A sampled symbol changes if its random number lies between two roundings of a cumulative probability, and with it the
rest of the string; a class changes if two outputs are nearly equal. Between the native code and torch, with untrained
networks of 2 x 32 units, 0 of 40,000 strings and 0 of 10,000 digits changed; with weights 10 times as large, which
amplify rounding, 9 and 0.
"""
_HALF = 2.0**-10  # relative distance of two float16, which rollouts are stored as

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class RetrainedRun:
    """A run that was trained again.

    Attributes:
        rows: its rows of the index.
        tensors: its weights and rollouts.
        recomputed: index rows with the labels of the stored weights; empty where bits are compared.
        recomputed_rollouts: rollouts of the stored weights, name -> [S, ...].
    """

    rows: Rows
    tensors: Tensors
    recomputed: Rows
    recomputed_rollouts: Mapping[str, Array]


@dataclass(frozen=True)
class StoredRun:
    """A run as the zoo has it: its rows of the index, weights name -> [S, ...], rollouts name -> [S, ...]."""

    run: Run
    rows: Rows
    weights: Mapping[str, Array]
    rollouts: Mapping[str, Array]

    @classmethod
    def read(cls, zoo: Zoo, run: Run) -> StoredRun:
        """Read a run of a zoo."""
        rows = zoo.index(where=[("run", "==", run.run)]).to_pylist()
        places = {name: [row[name] for row in rows] for name in ("split", "shard", "row")}
        return cls(run, rows, zoo.take("weights", places), zoo.take("rollouts", places))

    def as_trained_run(self) -> TrainedRun:
        """Return the run in the form in which a trainer returns runs."""
        weights = {name: torch.from_numpy(array) for name, array in self.weights.items()}
        diverged = any(row["diverged"] for row in self.rows)
        return TrainedRun(self.run, tuple(row["step"] for row in self.rows), weights, diverged)


def compare_bits(stored: StoredRun, retrained: RetrainedRun) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield, for every stored snapshot, a table row and what is wrong (None if nothing is): every bit must be equal."""
    for snapshot in _snapshots(stored, retrained):
        equal = snapshot.equal
        if equal is None:
            yield snapshot.table_row(), "it is missing, because training diverges earlier"
        else:
            different = ", ".join(name for name, is_equal in equal.items() if not is_equal)
            yield snapshot.table_row(), f"{different} differ" if different else None
    stored_steps = {row["step"] for row in stored.rows}
    for row in retrained.rows:
        if row["step"] not in stored_steps:
            shown = {"run": row["run"], "step": row["step"], "weights": "missing", "rollouts": "", "labels": ""}
            yield shown, "the zoo lacks it, though training does not diverge before"


def compare_labels(
    family: TaskFamily,
    evaluation: Any,  # noqa: ANN401 - the family's own dataclass
    stored: StoredRun,
    retrained: RetrainedRun,
    *,
    same_weights: bool,
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield the same where labels and rollouts may differ by rounding: they must be those of the stored weights.

    Args:
        family: the task family of the zoo.
        evaluation: the sizes of its evaluations.
        stored: a run of the zoo.
        retrained: the same run, trained again.
        same_weights: whether every bit of the weights must be equal, or only initial weights up to rounding.
    """
    recomputed = {row["step"]: number for number, row in enumerate(retrained.recomputed)}
    of_run = with_run_labels(family, stored.rows)  # of the stored accuracies: rounding may move a label of a run far
    for number, snapshot in enumerate(_snapshots(stored, retrained)):
        again = recomputed.get(snapshot.row["step"])
        table_row, problem = snapshot.table_row(), _wrong_weights(snapshot, same_weights=same_weights)
        close = {"labels": False, "rollouts": False}
        if again is not None:
            close["labels"] = snapshot.row.items() <= of_run[number].items() and _labels_are_close(
                family, evaluation, snapshot.row, retrained.recomputed[again]
            )
            close["rollouts"] = _rollouts_are_close(
                {name: array[number] for name, array in stored.rollouts.items()},
                {name: array[again] for name, array in retrained.recomputed_rollouts.items()},
            )
        for name, is_close in close.items():
            table_row[name] = "those of the weights" if is_close else "not those of the weights"
            problem = problem or (None if is_close else f"its {name} are not those of its weights")
        yield table_row, problem


def max_changed(count: int) -> int:
    """Return how many of `count` strings or digits rounding may change: the expected number and 5 standard deviations.

    Of 13 it is 1, of 1,000 strings 7, of 12,000 digits 30.
    """
    expected = _FLIPS * count
    return int(expected + 5 * expected**0.5 + 1)


def _wrong_weights(snapshot: _Snapshot, *, same_weights: bool) -> str | None:
    if same_weights:
        if snapshot.equal is None:
            return "it is missing, because training diverges earlier"
        return None if snapshot.equal["weights"] else "weights differ"
    if snapshot.equal is not None and snapshot.row["step"] == 0 and snapshot.distance > TOLERANCE:
        return "its initial weights are not those of this run"
    return None


@dataclass(frozen=True)
class _Snapshot:
    """A stored snapshot compared with the retrained one.

    Attributes:
        row: its row of the index.
        equal: weights, rollouts, labels -> whether they are equal; None if retraining diverged before this step.
        distance: between stored and retrained weights.
        moved: how far training has moved the stored weights since the first stored step.
    """

    row: dict[str, Any]
    equal: dict[str, bool] | None
    distance: float
    moved: float

    def table_row(self) -> dict[str, Any]:
        """Return the row for the user's table."""
        shown = {"run": self.row["run"], "step": self.row["step"]}
        if self.equal is None:
            return {**shown, "weights": "diverged here", "rollouts": "", "labels": ""}
        shown |= {name: "equal" if is_equal else "different" for name, is_equal in self.equal.items()}
        if self.distance:
            shown["weights"] = f"{self.distance / (self.moved or 1):.1e} apart"
        return shown


def _snapshots(stored: StoredRun, retrained: RetrainedRun) -> Iterator[_Snapshot]:
    weights, new_weights = _flat(stored.weights), _flat(retrained.tensors["shards"])
    rollouts, new_rollouts = stored.rollouts, retrained.tensors["rollouts"]
    positions = {row["step"]: position for position, row in enumerate(retrained.rows)}
    for old, row in enumerate(stored.rows):
        new = positions.get(row["step"])
        if new is None:
            yield _Snapshot(row, None, 0.0, 0.0)
            continue
        equal = {
            "weights": _same_bytes(weights[old], new_weights[new]),
            "rollouts": all(_same_bytes(rollouts[name][old], new_rollouts[name][new]) for name in rollouts),
            "labels": _same_labels(row, retrained.rows[new]),
        }
        distance = float(np.linalg.norm(weights[old] - new_weights[new]))
        yield _Snapshot(row, equal, distance, moved=float(np.linalg.norm(weights[old] - weights[0])))


def _flat(tensors: Mapping[str, Array]) -> Array:
    """Return named weights [S, ...] as [S, P]."""
    rows = [tensor.reshape(len(tensor), prod(tensor.shape[1:])) for tensor in tensors.values()]  # also for no snapshot
    return np.concatenate(rows, axis=1)


def _same_bytes(first: Array, second: Array) -> bool:
    return first.dtype == second.dtype and first.tobytes() == second.tobytes()


def _same_labels(stored: Mapping[str, Any], computed: Mapping[str, Any]) -> bool:
    """Compare a row of the index, which holds float32 and may lack labels, with a computed one."""
    return all(
        np.float32(stored[name]) == np.float32(value) if isinstance(value, float) else stored[name] == value
        for name, value in computed.items()
        if name in stored
    )


def _labels_are_close(
    family: TaskFamily,
    evaluation: Any,  # noqa: ANN401
    stored: Mapping[str, Any],
    computed: Mapping[str, Any],
) -> bool:
    counts, smallest = family.fraction_denominators(evaluation), min(vars(evaluation).values(), default=1)

    def tolerance(name: str, value: float) -> float:
        if not is_fraction(family, name):
            return rounding(family, name) * (1 + abs(value))
        count = counts.get(name, smallest)
        return (max_changed(count) + 0.5) / count  # float32 rounds fractions

    return all(
        abs(stored[name] - value) <= tolerance(name, value)
        for name, value in computed.items()
        if name in family.measured_labels and name in stored
    )


def _rollouts_are_close(stored: Mapping[str, Array], computed: Mapping[str, Array]) -> bool:
    """Compare the rollouts of a snapshot, name -> [N, ...]: their whole numbers, and if these are equal the others."""
    same = np.ones(len(next(iter(computed.values()))), bool)
    for name, array in computed.items():
        if array.dtype.kind != "f":
            same &= (stored[name] == array).reshape(len(same), -1).all(axis=1)
    if (~same).sum() > max_changed(len(same)):
        return False
    numbers = [name for name, array in computed.items() if array.dtype.kind == "f"]
    pairs = [(stored[name][same].astype(np.float64), computed[name][same].astype(np.float64)) for name in numbers]
    return all((np.abs(old - new) <= TOLERANCE + (TOLERANCE + _HALF) * np.abs(new)).all() for old, new in pairs)
