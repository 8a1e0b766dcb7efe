"""Results of the benchmark: read, checked, and asked for numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from rnn_zoos.baselines.benchmark.results import FORMAT, TESTED
from rnn_zoos.baselines.downstream.predictors import PROTOCOLS
from rnn_zoos.baselines.downstream.targets import MEASURES, TARGETS
from rnn_zoos.errors import FormatError

_CONTROL_KEYS = {"format", "control", "zoo", "biases", "downstream", "made"}
_KEYS = _CONTROL_KEYS - {"control"} | {
    "encoder", "seed", "preset", "settings", "end_to_end_settings", "sizes", "information", "parameters", "queries",
    "flop_per_network", "emulation", "history", "clones", "invariance", "end_to_end", "map", "asked", "seconds",
}  # fmt: skip
END_TO_END = "end-to-end"
READINGS = ("linear", "mlp", END_TO_END)
_LOSSES = ("total_variation", "total_variation_unpadded", "reverse_kl", "reverse_kl_unpadded")


def read_results(directory: Path) -> list[dict[str, Any]]:
    """Return all results below a directory.

    Raises FormatError if one is none, there are none, or they cannot be compared: of two zoos of one name, of other
    settings, or twice the same.
    """
    paths = sorted(directory.rglob("*.json"))
    if not paths:
        raise FormatError(f"{directory} has no results. Expected the --out of `rnn-zoos benchmark`.")
    results = []
    for path in paths:
        problems = list(check_result(path))
        if problems:
            raise FormatError(f"{path}: {problems[0]} `rnn-zoos leaderboard {directory} --check` lists all.")
        results.append(json.loads(path.read_text()))
    for path, problem in _conflicts(paths, results):
        raise FormatError(f"{path} {problem}. Keep results that are compared in a folder of their own.")
    return results


def _conflicts(paths: Sequence[Path], results: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Path, str]]:
    """Yield results that cannot stand in one table with those before them, and why."""
    seen: dict[tuple[Any, ...], tuple[Path, Any]] = {}
    for path, result in zip(paths, results, strict=True):
        zoo = result["zoo"]["name"]
        shared = {("is of another zoo than", zoo): result["zoo"]["sha256"]}
        if "encoder" in result:
            shared["has other settings than", zoo] = [result["preset"], result["settings"]]
        for (why, name), value in shared.items():
            first, expected = seen.setdefault((why, name), (path, value))
            if value != expected:
                yield path, f"{why} {first}"
        same = ("is the same as", zoo, full_name(result), result.get("seed"))
        if seen.setdefault(same, (path, None))[0] != path:
            yield path, f"{same[0]} {seen[same][0]}"


def check_result(path: Path) -> list[str]:
    """Return what is wrong with a result file, one line each."""
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        return [f"It is not readable JSON ({error})."]
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        return [f"It is no result of format {FORMAT}."]
    keys = _CONTROL_KEYS if "control" in result else _KEYS
    if keys - result.keys():
        return [f"It lacks {', '.join(sorted(keys - result.keys()))}."]
    zoo = at(result, "zoo", "name")
    if zoo not in TARGETS:
        return [f"There is no zoo {zoo!r}; known: {', '.join(TARGETS)}."]
    lines = [
        f"{', '.join(place)} is {at(result, *place)!r}; expected a number{' or null' if may_lack else ''}."
        for place, may_lack in _numbers(zoo, result)
        if not isinstance(at(result, *place), (int, float, NoneType) if may_lack else (int, float))
    ]
    return lines or ([] if "control" in result else [*_check_losses(result["emulation"]), *_check_map(result["map"])])


def at(told: Any, *place: str) -> Any:  # noqa: ANN401 - JSON
    """Return what stands at a place of nested JSON objects; "nothing" if there is no such place."""
    for key in place:
        if not isinstance(told, dict) or key not in told:
            return "nothing"
        told = told[key]
    return told


def _numbers(zoo: str, result: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield the places where a result has to have numbers, and whether one may be missing: R^2 of equal labels."""
    readings: list[tuple[str, ...]] = []
    for protocol in PROTOCOLS:
        predictors = at(result, "downstream", protocol)
        names = list(predictors) if isinstance(predictors, dict) and predictors else ["linear"]
        readings += [("downstream", protocol, name) for name in names]
    if "encoder" in result:
        yield from ((("emulation", split, loss), False) for split in TESTED for loss in _LOSSES)
        yield from ((("clones", split, what), False) for split in TESTED for what in ("accuracy", "correlation"))
        yield from (((key,), False) for key in ("seed", "parameters", "queries", "flop_per_network"))
        readings.append(("end_to_end",))
    for reading in readings:
        for name, target in TARGETS[zoo].items():
            for split in TESTED:
                for measure in MEASURES[target.kind]:
                    yield from (((*reading, name, split, measure, key), True) for key in ("value", "low", "high"))


def _check_losses(emulation: Mapping[str, Any]) -> list[str]:
    lines = []
    for split in TESTED:
        for loss in _LOSSES:
            value, highest = emulation[split][loss], 1 if loss.startswith("total_variation") else float("inf")
            if not 0 <= value <= highest:
                lines.append(f"emulation, {split}, {loss} is {value}; expected 0 to {highest}.")
    return lines


def _check_map(told: Any) -> list[str]:  # noqa: ANN401 - JSON
    """Say what keeps the figure of embeddings from being drawn: a dot for every row, and labels for its colours."""
    columns = {name: at(told, name) for name in ("places", "task", "step", "accuracy")}
    lengths = {name: len(column) if isinstance(column, list) else 0 for name, column in columns.items()}
    if min(lengths.values()) == 0 or len(set(lengths.values())) > 1:
        return [f"map has {lengths} entries; expected equally many, and at least one."]
    return []


def full_name(result: Mapping[str, Any]) -> str:
    """Return the name under which results of several seeds belong together."""
    name = f"control: {result['control']}" if "control" in result else str(result["encoder"])
    return name + (", merged biases" if result["biases"] == "merged" else "")


def by_zoo(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """Return zoo -> full name -> results of all seeds."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for zoo in TARGETS:
        for result in results:
            if result["zoo"]["name"] == zoo:
                found.setdefault(zoo, {}).setdefault(full_name(result), []).append(result)
    return found


def reading(
    result: Mapping[str, Any], target: str, split: str = "test", protocol: str = "strict", predictor: str = "linear"
) -> Mapping[str, float | None] | None:
    """Return value, low and high of a target's first measure; None if it was not measured.

    The predictor `end-to-end` stands for training on the labels. A control with predictors of its own is read by them.
    """
    measure = next(iter(MEASURES[TARGETS[result["zoo"]["name"]][target].kind]))
    if predictor == END_TO_END:
        targets = result.get("end_to_end")
    else:
        predictors = result["downstream"][protocol]
        targets = predictors.get(predictor, next(iter(predictors.values())))
    told: Mapping[str, float | None] | None = None if targets is None else targets[target][split][measure]
    return told
