"""Comparing a stored run of a zoo with its retraining, snapshot by snapshot; `verify` does it for some runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.labels import is_fraction
from rnn_zoos.format.files import Array
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun
from rnn_zoos.generation.writing.shards import Tensors
from rnn_zoos.loaders.zoo import Zoo

TOLERANCE = 1e-3
"""With another backend or machine: how far labels recomputed from stored weights may be from the stored labels, and
how far initial weights may be from the stored ones.

Later weights cannot be compared, because training is chaotic. With `native` and `loop` on one machine and the preset
`small`, the distance between two trainings of a run, divided by the distance that training had moved the weights, was
.01 to .04 (languages) and .4 to .6 (digits) after 100 updates, and .65 to 1.25 after 20,000: other networks of the same
task.
"""
_FRACTION_TOLERANCE = 0.01  # the same for fractions of strings or digits, a few of which flip by rounding

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class RetrainedRun:
    """A run that was trained again.

    Attributes:
        rows: its rows of the index.
        tensors: its weights and rollouts.
        recomputed: index rows with the labels of the stored weights; empty where bits are compared.
    """

    rows: Rows
    tensors: Tensors
    recomputed: Rows


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
        return cls(run, rows, zoo.take("shards", places), zoo.take("rollouts", places))

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


def compare_labels(
    family: TaskFamily, stored: StoredRun, retrained: RetrainedRun
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield the same where bits may differ: initial weights must be equal, labels must be those of the weights."""
    recomputed = {row["step"]: row for row in retrained.recomputed}
    for snapshot in _snapshots(stored, retrained):
        row = recomputed.get(snapshot.row["step"])
        is_close = row is not None and _labels_are_close(family, snapshot.row, row)
        problem = None if is_close else "its labels are not those of its weights"
        if snapshot.equal is not None and not snapshot.moved and snapshot.distance > TOLERANCE:
            problem = "its initial weights are not those of this run"
        labels = "those of the weights" if is_close else "not those of the weights"
        yield {**snapshot.table_row(), "labels": labels}, problem


@dataclass(frozen=True)
class _Snapshot:
    """A stored snapshot compared with the retrained one.

    Attributes:
        row: its row of the index.
        equal: weights, rollouts, labels -> whether they are equal; None if retraining diverged before this step.
        distance: between stored and retrained weights.
        moved: how far training has moved the stored weights.
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
    return np.concatenate([tensor.reshape(len(tensor), -1) for tensor in tensors.values()], axis=1)


def _same_bytes(first: Array, second: Array) -> bool:
    return first.dtype == second.dtype and first.tobytes() == second.tobytes()


def _same_labels(stored: Mapping[str, Any], computed: Mapping[str, Any]) -> bool:
    """Compare a row of the index, which holds float32 and may lack labels, with a computed one."""
    return all(
        np.float32(stored[name]) == np.float32(value) if isinstance(value, float) else stored[name] == value
        for name, value in computed.items()
        if name in stored
    )


def _labels_are_close(family: TaskFamily, stored: Mapping[str, Any], computed: Mapping[str, Any]) -> bool:
    return all(
        abs(stored[name] - value)
        <= (_FRACTION_TOLERANCE if is_fraction(family, name) else TOLERANCE * (1 + abs(value)))
        for name, value in computed.items()
        if name in family.labels and name in stored
    )
