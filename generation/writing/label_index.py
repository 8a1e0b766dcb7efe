"""The index and the manifest of a zoo to which labels were added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rnn_zoos.families.columns import Column
from rnn_zoos.families.family import SPLITS
from rnn_zoos.families.run_labels import ACCURACY, run_labels
from rnn_zoos.format.columns import columns_of, known_columns, with_labels
from rnn_zoos.format.index import index_schema, read_index, write_index
from rnn_zoos.format.manifest import Manifest, index_path
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.writing.added_labels import LabelFolder, ShardLabels
from rnn_zoos.generation.writing.provenance import merge_provenance

_PROVENANCE = ("backend", "versions", "machine")

Values = Mapping[str, npt.NDArray[Any]]
"""Label -> value of each row of an index."""


def write_new_zoo(folder: LabelFolder, manifest: Manifest, plan: Plan, labels: Sequence[str]) -> None:
    """Write the index and, last of all, the manifest of a zoo with new labels into its folder `relabelling/`.

    Args:
        folder: The folder, which has those of the labels that are measured, of all shards.
        manifest: The zoo's manifest.
        plan: Its plan.
        labels: The new labels.
    """
    columns = with_labels(columns_of(manifest), known_columns(manifest, plan.family), labels)
    files, seconds = dict(manifest.files), float(manifest.made["seconds"])
    provenances = [{key: manifest.made[key] for key in _PROVENANCE}]
    measured = [name for name in labels if name in plan.family.measured_labels]
    for split in SPLITS:
        path = index_path(split)
        if path in files:
            shards = [shard for shard in plan.shards if shard.split == split] if measured else []
            stored, table = [folder.read(shard.name) for shard in shards], read_index(folder.zoo / path)
            values = _measured(table, stored, measured)
            if len(measured) < len(labels):
                values = {**_of_runs(table, values), **values}
            table = _extend(table, columns, values)
            files[path] = write_index(folder.root / path, [table], table.schema)
            seconds += sum(shard.seconds for shard in stored)
            for made in (_as_made(shard, manifest) for shard in stored):
                if made not in provenances:
                    provenances.append(made)
    made = {**manifest.made, **merge_provenance(provenances), "seconds": round(seconds, 1)}
    described = {name: manifest.columns.get(name) or asdict(column) for name, column in columns.items()}
    replace(manifest, columns=described, files=files, made=made).write(folder.root)


def _as_made(stored: ShardLabels, manifest: Manifest) -> dict[str, Any]:
    """Return the provenance of labels for the manifest, whose backend stays that of the weights."""
    backend, versions = manifest.made["backend"], stored.made["versions"]
    if stored.made["backend"] != backend:  # measured by torch, because this machine does not have the backend
        versions = {**versions, "instruction set": "torch"}
    return {**stored.made, "backend": backend, "versions": versions}


def _measured(table: pa.Table, stored: Sequence[ShardLabels], labels: Sequence[str]) -> Values:
    """Return the values of measured labels, which are stored for one shard of the index after the other."""
    places = np.argsort(np.lexsort((table["row"].to_numpy(), table["shard"].to_numpy())))
    return {
        name: np.concatenate([np.array(shard.labels[name], np.float64) for shard in stored])[places] for name in labels
    }


def _of_runs(table: pa.Table, measured: Values) -> Values:
    """Return the values of the labels of runs, which follow from accuracies that are measured or in the index."""
    accuracies = measured[ACCURACY] if ACCURACY in measured else table[ACCURACY].to_numpy()
    return run_labels(table["run"].to_numpy(), table["step"].to_numpy(), accuracies)


def _extend(table: pa.Table, columns: Mapping[str, Column], values: Values) -> pa.Table:
    """Add missing columns to an index table."""
    schema = index_schema(columns)
    return pa.Table.from_arrays(
        [
            table[field.name] if field.name in table.column_names else pa.array(values[field.name].tolist(), field.type)
            for field in schema
        ],
        schema=schema,
    )
