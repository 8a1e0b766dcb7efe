"""The table of results, made from the JSON files of the benchmark alone."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from rnn_zoos.baselines.benchmark import FORMAT
from rnn_zoos.baselines.downstream import PROTOCOLS
from rnn_zoos.baselines.targets import MEASURES, TARGETS
from rnn_zoos.errors import FormatError

_KEYS = {
    "format", "encoder", "seed", "preset", "settings", "sizes", "zoo", "information", "parameters", "queries",
    "flop_per_network", "emulation", "history", "downstream", "seconds", "made",
}  # fmt: skip
_CONTROL_KEYS = {"format", "control", "zoo", "downstream", "made"}
_LOSSES = ("total_variation", "total_variation_unpadded", "reverse_kl", "reverse_kl_unpadded")
_SPLITS = ("validation", "test", "ood")


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
                for split in _SPLITS:
                    told = targets.get(name, {}).get(split, {})
                    lines += [
                        f"downstream has no {protocol}, {predictor}, {name}, {split}, {measure}."
                        for measure in MEASURES[target.kind]
                        if not isinstance(told.get(measure, {}).get("value", ""), (int, float, NoneType))
                    ]
    return lines


def _check_losses(emulation: Mapping[str, Any]) -> list[str]:
    lines = []
    for split in _SPLITS:
        for loss in _LOSSES:
            value = emulation.get(split, {}).get(loss)
            if not isinstance(value, (int, float)) or not value >= 0:
                lines.append(f"emulation has {value} as {loss} of {split}; expected a number of at least 0.")
            elif loss.startswith("total_variation") and value > 1:
                lines.append(f"emulation has {value} as {loss} of {split}; it is at most 1.")
    return lines


def leaderboard(results: Sequence[Mapping[str, Any]], protocol: str = "strict", predictor: str = "linear") -> str:
    """Return markdown: for each zoo a table of encoders, the best at emulating unseen tasks first, then controls.

    Values are means over seeds, and their standard deviation if there are several.
    """
    parts = []
    for zoo in TARGETS:
        encoders: dict[str, list[Mapping[str, Any]]] = {}
        for result in results:
            if result["zoo"]["name"] == zoo:
                encoders.setdefault(_name(result), []).append(result)
        if encoders:
            parts.append(f"### {zoo}\n\n" + _table(zoo, encoders, protocol, predictor))
    return "\n\n".join(parts) + "\n"


def _name(result: Mapping[str, Any]) -> str:
    return f"control: {result['control']}" if "control" in result else str(result["encoder"])


def _table(zoo: str, encoders: Mapping[str, list[Mapping[str, Any]]], protocol: str, predictor: str) -> str:
    measures = {name: next(iter(MEASURES[target.kind])) for name, target in TARGETS[zoo].items()}
    losses = ["test", "ood"]
    head = ["encoder", "seeds", "parameters", "queries", *(f"TV {split}" for split in losses)]
    head += [f"{name} ({measure})" for name, measure in measures.items()]
    rows = []
    for name, group in encoders.items():
        first = group[0]
        is_control = "control" in first
        row = [name, "" if is_control else str(len(group))]
        row += [f"{first[key]:,}" if key in first else "" for key in ("parameters", "queries")]
        for split in losses:
            row.append("" if is_control else _cell([r["emulation"][split]["total_variation"] for r in group], 4))
        for target, measure in measures.items():
            values = [r["downstream"][protocol][predictor][target]["test"][measure]["value"] for r in group]
            row.append(_cell(values, 3))
        tests = [0.0] if is_control else [r["emulation"]["test"]["total_variation"] for r in group]
        rows.append(((is_control, statistics.mean(tests)), row))
    lines = [head, ["---"] * len(head), *(row for _, row in sorted(rows, key=lambda pair: pair[0]))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    text = f"{statistics.mean(known):.{digits}f}"
    return f"{text} ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else text
