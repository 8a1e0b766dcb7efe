"""Results of the benchmark: read, checked, and asked for numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from rnn_zoos.baselines.benchmark import FORMAT, TESTED
from rnn_zoos.baselines.downstream import PROTOCOLS
from rnn_zoos.baselines.targets import MEASURES, TARGETS
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
    """Return all results below a directory. Raises FormatError if one is none, or there are none."""
    paths = sorted(directory.rglob("*.json"))
    if not paths:
        raise FormatError(f"{directory} has no results. Expected the --out of `rnn-zoos benchmark`.")
    results = []
    for path in paths:
        problems = list(check_result(path))
        if problems:
            raise FormatError(f"{path}: {problems[0]} `rnn-zoos leaderboard {directory} --check` lists all.")
        results.append(json.loads(path.read_text()))
    return results


def check_result(path: Path) -> Sequence[str]:
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
    zoo = result["zoo"].get("name")
    if zoo not in TARGETS:
        return [f"There is no zoo {zoo!r}; known: {', '.join(TARGETS)}."]
    lines = [] if "control" in result else _check_losses(result["emulation"])
    for protocol in PROTOCOLS:
        for predictor, targets in result["downstream"].get(protocol, {"?": {}}).items():
            for name, target in TARGETS[zoo].items():
                for split in TESTED:
                    told = targets.get(name, {}).get(split, {})
                    lines += [
                        f"downstream has no {protocol}, {predictor}, {name}, {split}, {measure}."
                        for measure in MEASURES[target.kind]
                        if not isinstance(told.get(measure, {}).get("value", ""), (int, float, NoneType))
                    ]
    return lines


def _check_losses(emulation: Mapping[str, Any]) -> list[str]:
    lines = []
    for split in TESTED:
        for loss in _LOSSES:
            value = emulation.get(split, {}).get(loss)
            if not isinstance(value, (int, float)) or not value >= 0:
                lines.append(f"emulation has {value} as {loss} of {split}; expected a number of at least 0.")
            elif loss.startswith("total_variation") and value > 1:
                lines.append(f"emulation has {value} as {loss} of {split}; it is at most 1.")
    return lines


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
    return None if targets is None else targets[target][split][measure]
