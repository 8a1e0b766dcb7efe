"""The columns of a zoo and those that its task family knows: either may have labels that the other lacks.

The manifest says which columns the index has. Labels are optional, because families get more of them over time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from rnn_zoos.errors import FormatError
from rnn_zoos.families.columns import ORIGIN_COLUMNS, PLACE_COLUMNS, PLAN_COLUMNS, Column, zoo_columns
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.format.manifest import MANIFEST, Manifest


def known_columns(manifest: Manifest, family: TaskFamily) -> dict[str, Column]:
    """Return the columns that a zoo of this kind has if no label is missing: name -> column, in order."""
    return zoo_columns(family.columns if manifest.imported is None else family.imported_columns, manifest.settings)


def required_columns(manifest: Manifest, family: TaskFamily) -> dict[str, Column]:
    """Return the columns that every zoo of this kind has: name -> column, in order."""
    origin: Mapping[str, Column] = {} if manifest.imported is None else ORIGIN_COLUMNS
    return zoo_columns({**PLAN_COLUMNS, **family.task_columns, **origin, **PLACE_COLUMNS}, manifest.settings)


def columns_of(manifest: Manifest) -> dict[str, Column]:
    """Return the columns that a zoo has: name -> column, in order."""
    return {name: Column(**column) for name, column in manifest.columns.items()}


def missing_labels(manifest: Manifest, family: TaskFamily) -> list[str]:
    """Return the known labels that a zoo lacks."""
    return [name for name in known_columns(manifest, family) if name not in manifest.columns]


def unknown_labels(manifest: Manifest, family: TaskFamily) -> list[str]:
    """Return the labels of a zoo that its task family does not know: a later version measured them."""
    return [name for name in manifest.columns if name not in known_columns(manifest, family)]


def require_labels(manifest: Manifest, names: Iterable[str]) -> None:
    """Check that a zoo has some labels, before something reads them. Raises FormatError for missing ones."""
    missing = [name for name in names if name not in manifest.columns]
    if missing:
        raise FormatError(
            f"The zoo lacks the labels {', '.join(missing)}, which are needed here; `rnn-zoos relabel` adds labels to "
            "a zoo that was generated."
        )


def with_labels(columns: Mapping[str, Column], known: Mapping[str, Column], labels: Iterable[str]) -> dict[str, Column]:
    """Return the columns of a zoo with further labels, each after the last of the known columns that precede it.

    Args:
        columns: The columns of the zoo.
        known: Those that it has if no label is missing.
        labels: Names of known columns that the zoo lacks, in their order.
    """
    names, order = list(columns), list(known)
    for label in labels:
        preceding = [name for name in order[: order.index(label)] if name in names]
        names.insert(names.index(preceding[-1]) + 1, label)
    return {name: columns[name] if name in columns else known[name] for name in names}


def relabel_hint(directory: Path, manifest: Manifest, family: TaskFamily) -> list[str]:
    """Return a line for the user if a generated zoo lacks labels, else none."""
    missing = missing_labels(manifest, family)
    if not missing or manifest.imported is not None:
        return []
    return [f"It lacks the labels {', '.join(missing)}. Add them with: rnn-zoos relabel {directory}"]


def check_columns(manifest: Manifest, family: TaskFamily) -> Iterator[str]:
    """Yield a finding per required column that is missing or misplaced, and per known one that is described otherwise.

    `read_manifest` has checked that all are described.
    """
    required, found = required_columns(manifest, family), manifest.columns
    missing = [name for name in required if name not in found]
    if missing:
        yield f"{MANIFEST}: the columns lack {', '.join(missing)}, which every zoo has."
    order = [name for name in found if name in required]
    if not missing and order != list(required):
        yield f"{MANIFEST}: the columns have the order {', '.join(order)}; expected {', '.join(required)}."
    for name, column in known_columns(manifest, family).items():
        if name in found and found[name] != asdict(column):
            yield f"{MANIFEST}: the column {name} is {dict(found[name])}; expected {asdict(column)}."
