"""`zoo_info`: a summary of a zoo as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rnn_zoos.families.labels import is_fraction
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.manifest import Manifest
from rnn_zoos.loaders.zoo import Zoo
from rnn_zoos.networks.architecture import Architecture


def zoo_info(zoo: Zoo) -> dict[str, Any]:
    """Summarise a zoo.

    Args:
        zoo: an opened zoo.

    Returns:
        A dict of plain data: `zoo` (property -> value), and lists of dicts `splits` (numbers of runs, rows and shards
        per split), `steps` (labels per step: means of fractions, medians of others, since runs that are about to
        diverge have any size), `architectures` (parameters, runs and the mean of the first label at every step of the
        zoo, None without snapshots, per architecture; empty if there is one) and `labels` (range, unit and description
        per label).

    Raises:
        FormatError: if the index does not match the manifest.
        IntegrityError: if an index file is missing or damaged.
        HubError: if an index file cannot be downloaded.

    Example:
        >>> from rnn_zoos.loaders import open_zoo, zoo_info
        >>> info = zoo_info(open_zoo("zoos/formal-languages"))
        >>> runs = info["zoo"]["runs"]
    """
    manifest, index = zoo.manifest, zoo.index()
    labels = _numeric_labels(manifest)
    columns = manifest.columns
    measured = [name for name in task_family(manifest.zoo).measured_labels if name in labels]
    return {
        "zoo": _properties(zoo, index),
        "splits": [{"split": split, **counts} for split, counts in manifest.splits.items()],
        "steps": _typical(manifest, index, measured),
        "architectures": _architectures(manifest, index, measured[:1]) if len(manifest.architectures) > 1 else [],
        "labels": [
            {"label": name, **pc.min_max(index[name]).as_py(), **{k: columns[name][k] for k in ("unit", "description")}}
            for name in labels
        ],
    }


def _numeric_labels(manifest: Manifest) -> list[str]:
    """Return the numeric columns of the index, except those that identify a snapshot or locate its tensors."""
    dtypes = {name: column["dtype"] for name, column in manifest.columns.items()}
    numeric = [name for name, dtype in dtypes.items() if dtype in ("int32", "float32", "float64")]
    return [name for name in numeric if name not in {"run", "step", "shard", "row"}]


def _properties(zoo: Zoo, index: pa.Table) -> dict[str, Any]:
    """Return the properties of the zoo as a whole: name -> value."""
    manifest = zoo.manifest
    origin = {"seed": manifest.seed} if manifest.imported is None else {"imported": manifest.imported["layout"]}
    return {
        "zoo": manifest.zoo,
        "preset": manifest.preset,
        **origin,
        "format": manifest.format,
        "network": _described(manifest.architectures),
        "runs": manifest.runs,
        "tasks": len(pc.unique(index["task"])),
        "snapshots": len(index),
        "steps": ", ".join(map(str, manifest.snapshots)),
        "diverged runs": len(pc.unique(index.filter(index["diverged"])["run"])),
        "size": f"{sum(entry.bytes for entry in manifest.files.values()) / 1e6:.1f} MB",
        "made": _made(manifest.made),
    }


def _described(architectures: Sequence[Architecture]) -> str:
    if len(architectures) > 1:
        return f"{len(architectures)} architectures"
    [architecture] = architectures
    layers = architecture.num_layers
    return (
        f"{architecture.cell}, {layers} layer{'s' * (layers > 1)} of {architecture.hidden_size} units, "
        f"{architecture.num_parameters:,} parameters"
    )


def _made(made: Mapping[str, Any]) -> str:
    """Return one line that says how the zoo was made, from `Manifest.made`."""
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return f"with {made['backend']}, {versions}, on {made['machine']}, in {made['seconds']:,.0f} core-seconds"


def _typical(manifest: Manifest, index: pa.Table, labels: list[str]) -> list[dict[str, Any]]:
    """Return the mean of each label that is a fraction, and the median of each other label, at each step."""
    family, rows = task_family(manifest.zoo), []
    for step in sorted(pc.unique(index["step"]).to_pylist()):
        own = index.filter(pc.equal(index["step"], step))
        of = {name: np.mean if is_fraction(family, name) else np.median for name in labels}
        rows.append({"step": step, **{name: float(function(own[name])) for name, function in of.items()}})
    return rows


def _architectures(manifest: Manifest, index: pa.Table, labels: list[str]) -> list[dict[str, Any]]:
    """Return a row per architecture: parameters, runs, and what `_typical` returns for each label at each step.

    All rows have the steps of the zoo, with None where an architecture has no snapshots: its runs may all have ended.
    """
    rows = []
    columns = [(label, step) for step in sorted(pc.unique(index["step"]).to_pylist()) for label in labels]
    for architecture in manifest.architectures:
        own = index.filter(pc.equal(index["architecture"], architecture.name))
        row = {"architecture": architecture.name, "parameters": architecture.num_parameters}
        found = {typical["step"]: typical for typical in _typical(manifest, own, labels)}
        values = {f"{label} at {step}": found.get(step, {}).get(label) for label, step in columns}
        rows.append({**row, "runs": len(pc.unique(own["run"])), **values})
    return rows
