"""`check_zoo`: does a directory conform to format 1?

This file compares the files with the manifest, and the manifest with its task family. Columns are compared in
`columns.py`, the rows of the index in `check_rows.py`, the tensors in `check_tensors.py`. Every check yields findings:
one sentence per contradiction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from rnn_zoos.errors import ZooError
from rnn_zoos.families.family import SPLITS, TaskFamily
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.check_rows import check_order, check_rows
from rnn_zoos.format.check_tensors import TensorCheck, check_digits
from rnn_zoos.format.columns import check_columns, columns_of
from rnn_zoos.format.hashing import damages
from rnn_zoos.format.index import index_schema, read_index
from rnn_zoos.format.manifest import (
    CARD,
    DIGITS,
    MANIFEST,
    PRESET,
    PUBLISHED,
    RELABELLING,
    UNFINISHED,
    Manifest,
    index_path,
    read_manifest,
)

_UNLISTED_FILES = (MANIFEST, CARD, PRESET, ".lock", ".gitattributes")
# .cache is left by `hf download --local-dir`.
_UNLISTED_FOLDERS = ("data", "figures", PUBLISHED, RELABELLING, ".git", ".cache")


def check_zoo(directory: str | Path) -> list[str]:
    """Check a zoo completely: hashes, shapes, index rows, task assignment, splits, and the values of tensors.

    Every byte is read. A file with a wrong hash is reported once, and its contents are not checked further.

    Args:
        directory: Directory of the zoo.

    Returns:
        One line per finding. The zoo conforms to its format if the list is empty.

    Raises:
        StorageError: The manifest cannot be read.
        FormatError: `directory` is not a finished zoo, its manifest is damaged, or an index or `digits.safetensors`
            cannot be read although its hash is right.
        UnknownNameError: The manifest names a task family or cell type that does not exist.

    Example:
        >>> from rnn_zoos import check_zoo
        >>> for finding in check_zoo("zoos/formal-languages"):
        ...     print(finding)
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    family = task_family(manifest.zoo)
    file_findings = list(_check_files(directory, manifest))
    damaged = {path for path, _ in file_findings}
    findings = [finding for _, finding in file_findings]
    try:
        findings += _check_manifest(manifest, family)
    except (KeyError, TypeError, ZooError) as error:
        return [*findings, f"{MANIFEST}: the settings are incomplete or invalid ({type(error).__name__}: {error})."]
    tables, index_findings = check_indexes(directory, manifest, family, damaged)
    findings += index_findings
    digits, digit_findings = check_digits(directory, manifest, damaged)
    findings += digit_findings
    tensors = TensorCheck(directory, manifest, family, damaged, digits)
    for split, table in tables.items():
        findings += _check_row_count(split, table, manifest)
        findings += tensors.findings(split, table)
    return findings


def check_indexes(
    directory: Path, manifest: Manifest, family: TaskFamily, damaged: Collection[str]
) -> tuple[dict[str, pa.Table], list[str]]:
    """Check the columns and rows of the indexes that are not damaged.

    Args:
        directory: Directory of the zoo.
        manifest: Its manifest.
        family: Its task family.
        damaged: Paths of files whose contents are not to be read.

    Returns:
        Split -> index of those that have the columns of the manifest, and the findings.

    Raises:
        FormatError: An index cannot be read.
    """
    column_findings = list(check_columns(manifest, family))
    schema = index_schema(columns_of(manifest))
    tables = _read_indexes(directory, manifest, damaged)
    findings = [*column_findings, *_check_schemas(tables, schema)]
    tables = {split: table for split, table in tables.items() if not column_findings and _has_schema(table, schema)}
    findings += check_order(tables)
    findings += check_rows(tables, manifest, family)
    return tables, findings


def _check_files(directory: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield (path, finding) for files that are missing, changed, or not listed in the manifest."""
    if (directory / UNFINISHED).exists():
        yield UNFINISHED, f"{UNFINISHED}/ exists: run the same `rnn-zoos generate` again to finish the zoo."
    files = [(directory / path, entry) for path, entry in manifest.files.items()]
    for path, damage in zip(manifest.files, damages(files, "Its contents were not checked."), strict=True):
        if damage is not None:
            yield path, damage
    yield from check_listing(directory, manifest)


def check_listing(directory: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield (path, finding) for files that are not listed in the manifest."""
    for file in sorted(directory.rglob("*")):
        path = file.relative_to(directory).as_posix()
        allowed = path in _UNLISTED_FILES or path.split("/")[0] in (*_UNLISTED_FOLDERS, UNFINISHED)
        if file.is_file() and not allowed and path not in manifest.files:
            yield path, f"{path} is not listed in {MANIFEST}."


def _check_manifest(manifest: Manifest, family: TaskFamily) -> Iterator[str]:
    """Yield contradictions within the manifest or with its task family, then files that are too many or too few.

    Raises KeyError, TypeError or ZooError if the settings are incomplete or invalid.
    """
    settings = dict(manifest.settings)
    sizes = settings.get("architectures") or [settings]
    architectures = tuple(family.architecture(s["cell"], s["num_layers"], s["hidden_size"]) for s in sizes)
    if manifest.imported is None:
        rollouts = family.rollout_shapes(family.evaluation_type(**settings["evaluation"]))
    else:
        rollouts = family.imported_rollout_shapes(settings["evaluation"]["rollouts"])
    for name, found, expected in (
        ("the list of architectures", manifest.architectures, architectures),
        ("settings.seed", settings["seed"], manifest.seed),
        ("settings.runs", settings["runs"], manifest.runs),
        ("rollouts", dict(manifest.rollouts), rollouts),
        ("splits", list(manifest.splits), list(SPLITS)),
        ("the sum of runs over all splits", sum(counts["runs"] for counts in manifest.splits.values()), manifest.runs),
    ):
        if found != expected:
            yield f"{MANIFEST}: {name} is {found}; expected {expected}."
    if (manifest.digits is None) == ("images" in rollouts):
        wanted = "the origin of its digits" if "images" in rollouts else "none: its rollouts refer to no digits"
        yield f"{MANIFEST}: digits is {manifest.digits}; expected {wanted}."
    expected_files = _expected_files(manifest)
    for path in sorted(expected_files ^ manifest.files.keys()):
        fault = "not listed" if path in expected_files else "listed, but not part of the format"
        yield f"{MANIFEST}: {path} is {fault}."


def _expected_files(manifest: Manifest) -> set[str]:
    """Return the paths of all files that a zoo with these splits has."""
    paths = {DIGITS} if manifest.digits is not None else set()
    for split, counts in manifest.splits.items():
        if counts["shards"]:
            paths |= {index_path(split), *manifest.paths("shards", split), *manifest.paths("rollouts", split)}
    return paths


def _read_indexes(directory: Path, manifest: Manifest, damaged: Collection[str]) -> dict[str, pa.Table]:
    """Return split -> index of the indexes that are listed and undamaged."""
    paths = {split: index_path(split) for split in SPLITS}
    return {
        split: read_index(directory / path)
        for split, path in paths.items()
        if path in manifest.files and path not in damaged
    }


def _has_schema(table: pa.Table, schema: pa.Schema) -> bool:
    return bool(table.schema.remove_metadata().equals(schema))


def _check_schemas(tables: Mapping[str, pa.Table], schema: pa.Schema) -> Iterator[str]:
    for split, table in tables.items():
        if not _has_schema(table, schema):
            yield f"{index_path(split)} has the columns {_describe(table.schema)}; expected {_describe(schema)}."


def _describe(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def _check_row_count(split: str, table: pa.Table, manifest: Manifest) -> Iterator[str]:
    path = index_path(split)
    for expected in {manifest.splits[split]["rows"], manifest.files[path].rows} - {table.num_rows}:
        yield f"{MANIFEST} counts {expected} rows of {split}; {path} has {table.num_rows}."
