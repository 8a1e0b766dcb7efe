"""What is in a zoo, as plain data."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rnn_zoos.families.registry import task_family
from rnn_zoos.loaders.zoo import Zoo


def zoo_info(zoo: Zoo) -> dict[str, Any]:
    """Summarise a zoo: `zoo` (key -> value), and lists of rows for `splits`, `steps` and `labels`."""
    manifest, index = zoo.manifest, zoo.index()
    columns = manifest.columns
    plan_columns = {"run", "step", "shard", "row"}
    numeric = [n for n, column in columns.items() if column["dtype"] in ("int32", "float32", "float64")]
    labels = [name for name in numeric if name not in plan_columns]
    architecture = manifest.architecture
    return {
        "zoo": {
            "zoo": manifest.zoo,
            "preset": manifest.preset,
            **({"seed": manifest.seed} if manifest.imported is None else {"imported": manifest.imported["layout"]}),
            "network": f"{architecture.cell}, {architecture.num_layers} layers of {architecture.hidden_size}, "
            f"{architecture.num_parameters:,} parameters",
            "runs": manifest.runs,
            "tasks": len(pc.unique(index["task"])),
            "snapshots": len(index),
            "steps": ", ".join(map(str, manifest.snapshots)),
            "diverged runs": len(pc.unique(index.filter(index["diverged"])["run"])),
            "size": f"{sum(entry.bytes for entry in manifest.files.values()) / 1e6:.1f} MB",
            "made": ", ".join(f"{key} {value}" for key, value in _made(manifest.made).items()),
        },
        "splits": [{"split": split, **counts} for split, counts in manifest.splits.items()],
        "steps": _means(index, [name for name in task_family(manifest.zoo).label_columns if name in labels]),
        "labels": [
            {"label": name, **pc.min_max(index[name]).as_py(), **{k: columns[name][k] for k in ("unit", "description")}}
            for name in labels
        ],
    }


def _made(made: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "by": made["backend"],
        **made["versions"],
        "on": made["machine"],
        "in": f"{made['seconds']:,.0f} core seconds",
    }


def _means(index: pa.Table, labels: list[str]) -> list[dict[str, Any]]:
    """Return the mean of each label at each step."""
    means = index.group_by("step").aggregate([(name, "mean") for name in labels]).sort_by("step")
    rows: list[dict[str, Any]] = means.rename_columns(
        [name.removesuffix("_mean") for name in means.column_names]
    ).to_pylist()
    return rows
