"""The table of results, made from the JSON files of the benchmark alone."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rnn_zoos.baselines.benchmark.reading import by_zoo, reading
from rnn_zoos.baselines.downstream.targets import MEASURES, TARGETS

_DETAILS = ("may use", "seeds", "parameters")


def leaderboard(
    results: Sequence[Mapping[str, Any]],
    protocol: str = "strict",
    predictor: str = "linear",
    split: str = "test",
    brief: bool = False,
) -> str:
    """Return markdown: for each zoo a table of encoders, the best at emulating unseen tasks first, then controls.

    Values are means over seeds, and their standard deviation if there are several. TV is the emulation loss, total
    variation a step; `clones` the correlation between the accuracies of networks and of their clones. A `brief` table
    leaves out what encoders may use, seeds, parameters, and targets that are parts of others.
    """
    parts = []
    for zoo, named in by_zoo(results).items():
        lines = _table(zoo, named, protocol, predictor, split)
        if brief:
            left_out = {*_DETAILS, *(_heading(zoo, target) for target in _parts_of_others(zoo))}
            kept = [place for place, heading in enumerate(lines[0]) if heading not in left_out]
            lines = [[line[place] for place in kept] for line in lines]
        parts.append(f"### {zoo}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def _heading(zoo: str, target: str) -> str:
    return f"{target} ({next(iter(MEASURES[TARGETS[zoo][target].kind]))})".replace("_", " ")


def _parts_of_others(zoo: str) -> list[str]:
    """Return the targets whose columns are among those of another target."""
    columns = {name: set(target.columns) for name, target in TARGETS[zoo].items()}
    return [name for name in columns if any(columns[name] < others for others in columns.values())]


def _table(
    zoo: str, named: Mapping[str, list[Mapping[str, Any]]], protocol: str, predictor: str, split: str
) -> list[list[str]]:
    """Return the lines of a table."""
    head = ["encoder", *_DETAILS, "queries", "TV test", "TV ood", f"clones {split}"]
    head += [_heading(zoo, target) for target in TARGETS[zoo]]
    rows = []
    for name, group in named.items():
        read = [[reading(result, target, split, protocol, predictor) for result in group] for target in TARGETS[zoo]]
        if all(told is None for values in read for told in values):
            continue  # a control is not trained end to end
        cells = [_cell([told["value"] for told in values if told is not None], 3) for values in read]
        rows.append((_rank(group), [name, *_of_encoder(group, split), *cells]))
    return [head, ["---"] * len(head), *(row for _, row in sorted(rows, key=lambda pair: pair[0]))]


def _rank(group: Sequence[Mapping[str, Any]]) -> tuple[bool, float]:
    """Return what rows are sorted by: controls last, and in the order in which they come."""
    if "control" in group[0]:
        return True, 0.0
    return False, statistics.mean(result["emulation"]["test"]["total_variation"] for result in group)


def _of_encoder(group: Sequence[Mapping[str, Any]], split: str) -> list[str]:
    """Return the cells that controls leave empty."""
    first = group[0]
    if "control" in first:
        return [""] * 7
    losses = [_cell([r["emulation"][part]["total_variation"] for r in group], 4) for part in ("test", "ood")]
    clones = _cell([r["clones"][split]["correlation"] for r in group], 2)
    return [first["information"], str(len(group)), f"{first['parameters']:,}", f"{first['queries']:,}", *losses, clones]


def _cell(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    text = f"{statistics.mean(known):.{digits}f}"
    return f"{text} ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else text
