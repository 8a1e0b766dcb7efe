"""The format of a result file, and the check that a file conforms to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from rnn_zoos.baselines.downstream.protocols import EVALUATED_SPLITS, PROTOCOLS
from rnn_zoos.baselines.downstream.targets import MEASURES, TARGETS

FORMAT = 1
"""Version of the format, the entry `format` of every result file."""

_CONTROL_KEYS = {"format", "control", "zoo", "biases", "downstream", "made"}
_ENCODER_KEYS = _CONTROL_KEYS - {"control"} | {
    "encoder", "seed", "preset", "settings", "end_to_end_settings", "sizes", "information", "parameters", "queries",
    "flop_per_network", "emulation", "history", "clones", "invariance", "end_to_end", "map", "asked", "seconds",
}  # fmt: skip
_LOSSES = ("total_variation", "total_variation_unpadded", "reverse_kl", "reverse_kl_unpadded")
_MISSING = object()


def check_result(path: Path) -> list[str]:
    """Return the problems of a result file, one line each; none if it conforms to the format."""
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        return [f"Not readable as JSON ({error})."]
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        return [f"Not a result of format {FORMAT}."]
    missing = (_CONTROL_KEYS if "control" in result else _ENCODER_KEYS) - result.keys()
    if missing:
        return [f"Missing keys: {', '.join(sorted(missing))}."]
    zoo = _at(result, "zoo", "name")
    if zoo not in TARGETS:
        return [f"Unknown zoo {'(missing)' if zoo is _MISSING else repr(zoo)}; known: {', '.join(TARGETS)}."]
    problems = _check_numbers(zoo, result)
    if problems or "control" in result:
        return problems
    return [*_check_ranges(result["emulation"]), *_check_map(result["map"])]


def _at(content: Any, *keys: str) -> Any:  # noqa: ANN401 - JSON
    """Return the entry at a path of nested JSON objects, or `_MISSING`."""
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            return _MISSING
        content = content[key]
    return content


def _check_numbers(zoo: str, result: Mapping[str, Any]) -> list[str]:
    problems = []
    for keys, nullable in _number_paths(zoo, result):
        value = _at(result, *keys)
        if not isinstance(value, (int, float, NoneType) if nullable else (int, float)):
            found = "missing" if value is _MISSING else repr(value)
            problems.append(f"{'.'.join(keys)} is {found}; expected a number{' or null' if nullable else ''}.")
    return problems


def _number_paths(zoo: str, result: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield the paths of all numbers that a result must have, and whether each may be null (R² of equal labels is)."""
    if "encoder" in result:
        yield from ((("emulation", split, loss), False) for split in EVALUATED_SPLITS for loss in _LOSSES)
        yield from (
            (("clones", split, key), False) for split in EVALUATED_SPLITS for key in ("accuracy", "correlation")
        )
        yield from (((key,), False) for key in ("seed", "parameters", "queries", "flop_per_network"))
    for keys in _score_paths(result):
        for name, target in TARGETS[zoo].items():
            for split in EVALUATED_SPLITS:
                for measure in MEASURES[target.kind]:
                    yield from (((*keys, name, split, measure, key), True) for key in ("value", "low", "high"))


def _score_paths(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the paths below which there must be scores of all targets: each predictor, and end-to-end training."""
    for protocol in PROTOCOLS:
        predictors = _at(result, "downstream", protocol)
        names = list(predictors) if isinstance(predictors, dict) and predictors else ["linear"]
        yield from (("downstream", protocol, name) for name in names)
    if "encoder" in result:
        yield ("end_to_end",)


def _check_ranges(emulation: Mapping[str, Any]) -> list[str]:
    """Return the losses that are out of range: a total variation is at most 1."""
    problems = []
    for split in EVALUATED_SPLITS:
        for loss in _LOSSES:
            value, highest = emulation[split][loss], 1 if loss.startswith("total_variation") else float("inf")
            if not 0 <= value <= highest:
                problems.append(f"emulation.{split}.{loss} is {value}; expected 0 to {highest}.")
    return problems


def _check_map(content: Any) -> list[str]:  # noqa: ANN401 - JSON
    """Return why the figure of embeddings cannot be drawn: it needs a point per row, and labels for its colour."""
    columns = {name: _at(content, name) for name in ("places", "task", "step", "accuracy")}
    lengths = {name: len(column) if isinstance(column, list) else 0 for name, column in columns.items()}
    if min(lengths.values()) == 0 or len(set(lengths.values())) > 1:
        return [f"map has {lengths} entries; expected the same number of each, at least one."]
    return []
