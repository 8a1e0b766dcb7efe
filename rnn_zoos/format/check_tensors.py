"""The check of the tensors: shards, rollouts, and the MNIST digits that rollouts refer to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from rnn_zoos.errors import ZooError
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.format.files import Array
from rnn_zoos.format.manifest import DIGIT_TENSORS, DIGITS, Manifest, index_path
from rnn_zoos.format.tensors import map_tensors, tensor_differences
from rnn_zoos.threads import map_in_threads


def check_digits(
    directory: Path, manifest: Manifest, damaged: Collection[str]
) -> tuple[dict[str, Array] | None, list[str]]:
    """Check names, dtypes, shapes and order of the digits.

    Args:
        directory: Directory of the zoo.
        manifest: Its manifest.
        damaged: Paths of files whose contents are not to be read.

    Returns:
        The digits (None if the zoo has none, or none that can be used), and the findings.
    """
    if DIGITS not in manifest.files or DIGITS in damaged:
        return None, []
    digits = map_tensors(directory / DIGITS)
    differences = tensor_differences(digits, DIGIT_TENSORS, manifest.files[DIGITS].rows)
    findings = [f"{DIGITS} {difference}." for difference in differences]
    if not findings and (np.diff(digits["numbers"]) <= 0).any():
        findings = [f"{DIGITS}: numbers are not in ascending order."]
    return (None if findings else digits), findings


@dataclass(frozen=True)
class TensorCheck:
    """The check of a zoo's shards and rollouts.

    Attributes:
        directory: Directory of the zoo.
        manifest: Its manifest.
        family: Its task family.
        damaged: Paths of files whose contents are not to be read.
        digits: The digits that rollouts may refer to; None if they are not to be compared.
    """

    directory: Path
    manifest: Manifest
    family: TaskFamily
    damaged: Collection[str]
    digits: Mapping[str, Array] | None

    def findings(self, split: str, table: pa.Table) -> Iterator[str]:
        """Yield what is wrong with the shards and the rollouts of a split, whose index is `table`."""
        shards, rows = (table[name].to_numpy() for name in ("shard", "row"))
        order = np.argsort(shards, kind="stable")
        starts = np.searchsorted(shards[order], np.arange(self.manifest.splits[split]["shards"] + 1))

        def check(file: tuple[str, int, str]) -> list[str]:
            kind, shard, path = file
            indexed = rows[order[starts[shard] : starts[shard + 1]]].tolist()
            expected = self.manifest.tensors(kind, self.manifest.architecture_of(split, shard))
            return [*self._check_indexed_rows(split, path, indexed), *self._check_contents(kind, path, expected)]

        files = [
            (kind, shard, path)
            for kind in ("shards", "rollouts")
            for shard, path in enumerate(self.manifest.paths(kind, split))
            if path in self.manifest.files and path not in self.damaged
        ]
        size = self.manifest.files
        for findings in map_in_threads(check, files, f"checking {split}", lambda file: size[file[2]].bytes):
            yield from findings

    def _check_indexed_rows(self, split: str, path: str, indexed: list[int]) -> Iterator[str]:
        """Yield a finding unless the index refers to every row of a file exactly once, in order."""
        rows = self.manifest.files[path].rows
        if len(indexed) != rows or indexed != list(range(len(indexed))):
            yield f"{path} has {rows} rows; {index_path(split)} refers to the rows {indexed}."

    def _check_contents(
        self, kind: str, path: str, expected: Mapping[str, tuple[str, tuple[int, ...]]]
    ) -> Iterator[str]:
        """Yield findings about the tensors of a file; their values are checked only if their shapes are right."""
        try:
            tensors = map_tensors(self.directory / path)
        except ZooError as error:
            yield str(error)
            return
        differences = tensor_differences(tensors, expected, self.manifest.files[path].rows)
        findings = [f"{path} {difference}." for difference in differences]
        if not findings:
            findings = [f"{path}: {name} has values that are not finite." for name in _not_finite(tensors)]
        yield from findings
        if kind == "rollouts" and not findings:
            yield from (f"{path}: {finding}." for finding in self.family.check_rollouts(tensors))
            if self.digits is not None and "images" in tensors:
                yield from _check_referenced_digits(path, tensors, self.digits)


def _not_finite(tensors: Mapping[str, Array]) -> Iterator[str]:
    """Yield the names of tensors that contain NaN or infinity."""
    for name, tensor in tensors.items():
        if np.issubdtype(tensor.dtype, np.floating) and not np.isfinite(tensor).all():
            yield name


def _check_referenced_digits(path: str, rollouts: Mapping[str, Array], digits: Mapping[str, Array]) -> Iterator[str]:
    """Yield a finding if rollouts refer to digits that are missing, or whose labels differ."""
    if not np.isin(rollouts["images"], digits["numbers"]).all():
        yield f"{path} refers to digits that are not in {DIGITS}."
    elif (digits["labels"][np.searchsorted(digits["numbers"], rollouts["images"])] != rollouts["labels"]).any():
        yield f"{path}: labels differ from those of the digits in {DIGITS}."
