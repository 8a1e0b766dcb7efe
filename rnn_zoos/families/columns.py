"""Columns of the index of every zoo, and how a column is described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rnn_zoos.networks.architecture import Architecture


@dataclass(frozen=True)
class Column:
    """A column of the index: the name of its Arrow type, its meaning, and its unit."""

    dtype: str
    description: str
    unit: str = ""


PLAN_COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "run": Column("int32", "number of the training run; all snapshots of a run share it"),
        "step": Column("int32", "number of updates done; 0 is the untouched initialisation", "updates"),
        "split": Column("string", "train, validation, test or ood; a function of the task alone"),
        "task": Column("string", "name of the task"),
        "weight_decay": Column("float32", "weight decay of AdamW"),
        "diverged": Column("bool", "the run met a non-finite loss or weight later on; this snapshot is finite"),
    }
)
"""The first columns of every index: what the plan of a zoo decides."""

ARCHITECTURE_COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "architecture": Column("string", "cell, recurrent layers and hidden units of the network, such as lstm-2x32"),
        "cell": Column("string", "lstm, gru or rnn (with tanh)"),
        "num_layers": Column("int32", "number of recurrent layers", "layers"),
        "hidden_size": Column("int32", "number of hidden units per layer", "units"),
    }
)
"""Additional columns of a zoo of several architectures."""

VARIED_COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "learning_rate": Column("float32", "highest learning rate of the run's schedule"),
        "batch_size": Column("int32", "sequences per update", "sequences"),
        "initial_scale": Column("float32", "factor of PyTorch's initial weights"),
        "num_updates": Column("int32", "length of the run, unless it diverged", "updates"),
    }
)
"""Additional columns of a zoo whose runs draw these hyperparameters: those that its settings vary."""

PLACE_COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "shard": Column("int32", "number of the shard, within the split, that holds the weights"),
        "row": Column("int32", "row of the weights and rollouts in that shard"),
    }
)
"""The last columns of every index: where the tensors of a snapshot are."""

ORIGIN_COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "original_run": Column("int32", "number of the run in the source; runs of its parts may share it"),
        "original_row": Column("int32", "row of the snapshot in the source's arrays, its parts one after the other"),
        "original_step": Column("int32", "step as the source counts; step s of the paper's code is after s+1 updates"),
    }
)
"""Additional columns of an imported zoo: where a snapshot comes from."""


RESERVED = frozenset({**PLAN_COLUMNS, **ARCHITECTURE_COLUMNS, **VARIED_COLUMNS, **PLACE_COLUMNS, **ORIGIN_COLUMNS})
"""Names that no column of a task family may have."""


def architecture_values(architecture: Architecture) -> dict[str, str | int]:
    """Return the values of a network in `ARCHITECTURE_COLUMNS`."""
    sizes = {name: getattr(architecture, name) for name in ("cell", "num_layers", "hidden_size")}
    return {"architecture": architecture.name, **sizes}


def zoo_columns(columns: Mapping[str, Column], settings: Mapping[str, Any]) -> dict[str, Column]:
    """Return the columns of a zoo with these settings, in order.

    Args:
        columns: Those of its family, in order; the first are `PLAN_COLUMNS`.
        settings: The settings of the zoo, by the names of `settings.Settings`.
    """
    varied = settings.get("vary") or {}
    own = dict(ARCHITECTURE_COLUMNS) if settings.get("architectures") else {}
    own |= {name: column for name, column in VARIED_COLUMNS.items() if name in varied}
    return {**PLAN_COLUMNS, **own, **columns}
