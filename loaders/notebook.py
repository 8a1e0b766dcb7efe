"""What notebooks show of a zoo: its size, its networks, its splits and the ranges of its main labels, as HTML."""

from __future__ import annotations

from html import escape

import pyarrow as pa
import pyarrow.compute as pc

from rnn_zoos.errors import ZooError
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.manifest import Manifest
from rnn_zoos.networks.notebook import table_html

_NUMERIC = ("int32", "int64", "float32", "float64")
_MOST_LABELS = 12
_NAME_CHARACTERS = 120


def zoo_html(manifest: Manifest, index: pa.Table | None) -> str:
    """Return the tables that a notebook shows of a zoo.

    Args:
        manifest: The manifest of the zoo.
        index: All rows of its index; None if they would have to be downloaded first: then there are no ranges.
    """
    facts = [
        ("preset", manifest.preset),
        ("runs", f"{manifest.runs:,}"),
        ("snapshots", f"{sum(counts['rows'] for counts in manifest.splits.values()):,}"),
        ("steps", ", ".join(map(str, manifest.snapshots))),
        *(
            ("networks", f"{architecture.name}, {architecture.num_parameters:,} parameters")
            for architecture in manifest.architectures
        ),
        ("size", f"{sum(entry.bytes for entry in manifest.files.values()) / 1e6:.1f} MB"),
    ]
    splits = [
        (split, *(f"{counts[name]:,}" for name in ("runs", "rows", "shards")))
        for split, counts in manifest.splits.items()
    ]
    parts = [
        f"<b>Zoo {escape(manifest.zoo[:_NAME_CHARACTERS])}</b>",
        table_html((), facts, 4000),
        table_html(("split", "runs", "snapshots", "shards"), splits, 2000),
    ]
    if index is None:
        parts.append("<div>Ranges of labels: <code>zoo_info(zoo)</code>, which downloads the index.</div>")
    else:
        parts.append(_ranges(manifest, index))
    return "".join(parts)


def _ranges(manifest: Manifest, index: pa.Table) -> str:
    """Return a table with the smallest and largest value, unit and description of the main labels."""
    rows = []
    for name in _main_labels(manifest):
        ends = pc.min_max(index[name]).as_py()
        column = manifest.columns[name]
        rows.append((name, *map(_number, ends.values()), column["unit"], column["description"]))
    return table_html(("label", "min", "max", "unit", "description"), rows, 10_000)


def _main_labels(manifest: Manifest) -> list[str]:
    """Return the first labels that the family measures; if it is not installed, the first columns of fractions."""
    dtypes = {name: column["dtype"] for name, column in manifest.columns.items()}
    try:
        main = [name for name in task_family(manifest.zoo).measured_labels if dtypes.get(name) in _NUMERIC]
    except ZooError:
        main = [name for name, dtype in dtypes.items() if dtype.startswith("float")]
    return main[:_MOST_LABELS]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
