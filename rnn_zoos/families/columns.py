"""Columns of the index of every zoo, and how a column is described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


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
