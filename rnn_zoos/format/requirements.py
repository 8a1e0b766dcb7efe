"""What the manifest of a zoo has to fulfil, beyond its types, so that code can rely on it without looking again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isfinite, prod
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_zoos.families.family import SPLITS
from rnn_zoos.families.run_table import MAX_WEIGHT, VARIED
from rnn_zoos.format.index import ARROW_TYPES
from rnn_zoos.format.tensors import DTYPES

if TYPE_CHECKING:
    from rnn_zoos.format.manifest import Manifest

_MAX_ROW_BYTES = 1 << 40  # of one tensor in one row: far below where sizes overflow
_MAX_AXES = 8
_MAX_STEP = 1 << 31  # steps are int32 in the index
_MADE = {"backend", "versions", "machine", "seconds"}
_SHA256 = re.compile("[0-9a-f]{64}")


def requirements(manifest: Manifest) -> Iterator[tuple[str, bool]]:
    """Yield (message if violated, whether it holds) for everything that code using a manifest relies on."""
    counts = [manifest.runs, *manifest.snapshots, *(n for split in manifest.splits.values() for n in split.values())]
    yield "runs, snapshots and the counts in splits must be non-negative integers", all(map(_is_count, counts))
    keys = {frozenset(split) for split in manifest.splits.values()}
    complete = list(manifest.splits) == list(SPLITS) and keys == {frozenset({"runs", "rows", "shards"})}
    yield f"splits must give runs, rows and shards of {', '.join(SPLITS)}", complete
    shards, files = sum(split["shards"] for split in manifest.splits.values()), len(manifest.files)
    yield f"splits counts {shards} shards, but files has only {files} entries", shards <= files
    for path, entry in manifest.files.items():
        yield f"the file {path!r} has characters that no file of a zoo has", path.isascii() and path.isprintable()
        parts = PurePosixPath(path)
        yield f"the file {path!r} is not inside the zoo", not parts.is_absolute() and ".." not in parts.parts
        valid = _is_count(entry.bytes) and _is_count(entry.rows) and bool(_SHA256.fullmatch(str(entry.sha256)))
        yield f"{path}: expected a sha256, bytes and rows, found {entry}", valid
    for name, (dtype, shape) in manifest.rollouts.items():
        valid = dtype in DTYPES and all(map(_is_count, shape))
        yield f"the rollouts {name} have dtype {dtype} and shape {shape}", valid
    for name, column in manifest.columns.items():
        strings = column.keys() == {"dtype", "description", "unit"} and all(isinstance(v, str) for v in column.values())
        valid = strings and column["dtype"] in ARROW_TYPES
        yield f"the column {name} is described as {dict(column)}", valid
    yield f"made must have {', '.join(sorted(_MADE))}", manifest.made.keys() >= _MADE
    yield from _mixture_requirements(manifest)
    yield from _value_requirements(manifest)
    yield from _variation_requirements(manifest.settings)
    yield from _size_requirements(manifest)


def _mixture_requirements(manifest: Manifest) -> Iterator[tuple[str, bool]]:
    """Yield requirements on the architectures of a zoo of several."""
    of_shards, count = manifest.shard_architectures, len(manifest.architectures)
    listed = manifest.settings.get("architectures", [])
    matches = isinstance(listed, list) and len(listed) == (0 if of_shards is None else count)
    yield f"settings lists {listed!r} as architectures; expected {count if of_shards else 'none'}", matches
    weights = [member.get("weight", 1) for member in listed]
    valid = all(_is_count(weight) and 1 <= weight <= MAX_WEIGHT for weight in weights)
    yield f"settings: architectures have the weights {weights}; expected whole numbers from 1 to {MAX_WEIGHT}", valid
    if of_shards is None:
        return
    yield "architectures must be several different ones", 1 < count == len(set(manifest.architectures))
    ends = {(architecture.input_size, architecture.output_size) for architecture in manifest.architectures}
    yield "all architectures must have the same inputs and outputs", len(ends) == 1
    lengths = {split: len(numbers) for split, numbers in of_shards.items()}
    expected = {split: counts["shards"] for split, counts in manifest.splits.items()}
    yield f"shard_architectures has {lengths} entries; expected {expected}", lengths == expected
    valid = all(_is_count(number) and number < count for numbers in of_shards.values() for number in numbers)
    yield f"shard_architectures must hold numbers below {count}", valid


def _value_requirements(manifest: Manifest) -> Iterator[tuple[str, bool]]:
    """Yield requirements on single values that are shown, or that the task family computes with."""
    texts = (manifest.zoo, manifest.preset, manifest.made["machine"], manifest.made["backend"])
    yield "zoo, preset, machine and backend must be texts", all(isinstance(text, str) for text in texts)
    yield "versions must be an object", isinstance(manifest.made["versions"], dict)
    yield f"seconds is {manifest.made['seconds']!r}; expected a number", _is_number(manifest.made["seconds"])
    decays = manifest.settings["weight_decay"]
    valid = isinstance(decays, list) and bool(decays) and all(map(_is_number, decays))
    yield f"weight_decay is {decays!r}; expected a list of numbers", valid
    yield f"seed is {manifest.seed!r}; expected an integer", type(manifest.seed) is int
    if manifest.imported is not None:
        layout = manifest.imported["layout"]
        yield f"imported has the layout {layout!r}; expected a text", isinstance(layout, str)
    for split, counts in manifest.splits.items():
        rows = manifest.index_rows(split)
        matches = (rows == 0) == (counts["rows"] == 0)  # loaders skip a split without rows
        yield f"splits counts {counts['rows']} rows of {split}; its index has {rows}", matches


def _variation_requirements(settings: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield requirements on what runs draw, with which `check_zoo` computes."""
    vary = settings.get("vary", {})
    yield f"settings: vary is {vary!r}; expected choices of {', '.join(VARIED)}", vary.keys() <= set(VARIED)
    for name, choices in vary.items():
        bounds = choices if isinstance(choices, list) else [choices["low"], choices["high"]]
        positive = isinstance(choices, list) or bounds[0] > 0
        valid = bool(bounds) and all(map(_is_number, bounds)) and positive and max(bounds) < _MAX_STEP
        expected = f"numbers below {_MAX_STEP}, or positive bounds low and high"
        yield f"settings: {name} varies by {choices!r}; expected {expected}", valid
    if "learning_rate" in vary:
        rates = list(settings["learning_rate"].values())
        yield f"settings: learning_rate has the rates {rates}", all(map(_is_number, rates)) and max(rates) > 0


def _size_requirements(manifest: Manifest) -> Iterator[tuple[str, bool]]:
    """Yield requirements on sizes: without them, a tensor of no rows or a number of steps could overflow."""
    yield f"settings: snapshots must be below {_MAX_STEP}", all(step < _MAX_STEP for step in manifest.snapshots)
    kinds = [
        ("rollouts", manifest.architectures[0]),
        *(("shards", architecture) for architecture in manifest.architectures),
    ]
    for kind, architecture in kinds:
        for name, (dtype, shape) in manifest.tensors(kind, architecture).items():
            size = np.dtype(DTYPES[dtype]).itemsize * prod(max(length, 1) for length in shape)
            valid = len(shape) <= _MAX_AXES and size <= _MAX_ROW_BYTES
            yield f"{name} of one row in {kind} would have the shape {shape}, {size:,} bytes", valid


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
