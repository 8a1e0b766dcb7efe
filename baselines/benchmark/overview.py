"""The overview of many folders of results: one table of encoders by folders, with their emulation losses."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from rnn_zoos.baselines.benchmark.comparison import compare, total_variation_estimate
from rnn_zoos.baselines.benchmark.result_files import (
    Group,
    Result,
    ScoreSelection,
    group_by_zoo,
    is_control,
    is_reference,
    read_results,
    sort_by_loss,
)
from rnn_zoos.baselines.benchmark.tables import markdown
from rnn_zoos.errors import FormatError


def result_folders(directory: Path) -> dict[str, list[Result]]:
    """Return the results of every folder below a directory that has any: path relative to the directory -> results.

    Results of different folders need not be comparable. Raises FormatError if there are none, or one is not valid.
    """
    folders = sorted({path.parent for path in directory.rglob("*.json")})
    if not folders:
        raise FormatError(f"{directory} has no result files. Expected folders that `rnn-zoos benchmark` wrote.")
    return {str(folder.relative_to(directory)): list(read_results(folder)) for folder in folders}


def overview(folders: Mapping[str, Sequence[Result]], split: str = "test") -> str:
    """Return a Markdown table of encoders by folders of results: total variation per step on a split.

    In every column the lowest loss of an encoder is bold, and so are those that are level with it: the 95% interval of
    the paired difference contains 0. Encoders are sorted by their mean place in the columns, which have different ones;
    references, which read labels, come last.

    Args:
        folders: Name of a folder -> its results, as `result_folders` returns them; those of a folder are of one zoo.
        split: `validation`, `test` or `ood`.

    Raises:
        UnknownNameError: There is no such split.
        FormatError: The results of a folder are of different zoos or runs.
    """
    split = ScoreSelection(split=split).split
    columns = {name: _trained(name, results) for name, results in folders.items()}
    losses = {
        name: {encoder: total_variation_estimate(group, split).value for encoder, group in groups.items()}
        for name, groups in columns.items()
    }
    best = {name: _level_with_best(_encoders(groups), losses[name], split) for name, groups in columns.items()}
    lines = [["encoder", *(name.replace("/", " / ") for name in columns)]]  # wide tables break lines at spaces
    for encoder in _in_order(columns):
        cells = [encoder]
        for name in columns:
            text = f"{losses[name][encoder]:.4f}" if encoder in losses[name] else ""
            cells.append(f"**{text}**" if encoder in best[name] else text)
        lines.append(cells)
    return markdown(lines) + "\n"


def _trained(folder: str, results: Sequence[Result]) -> dict[str, Group]:
    """Return display name -> results, of encoders and references: the lowest loss on `test` first."""
    zoos = group_by_zoo([result for result in results if not is_control(result)])
    if len(zoos) > 1:
        raise FormatError(f"{folder} has results of {', '.join(zoos)}; expected one zoo. Use a folder for each.")
    return sort_by_loss(next(iter(zoos.values()), {}))


def _encoders(groups: Mapping[str, Group]) -> dict[str, Group]:
    return {name: group for name, group in groups.items() if not is_reference(group[0])}


def _level_with_best(encoders: Mapping[str, Group], losses: Mapping[str, float], split: str) -> set[str]:
    """Return the encoder with the lowest loss on a split, and those that are level with it."""
    if not encoders:
        return set()
    best = encoders[min(encoders, key=lambda name: losses[name])]
    return {name for name, group in encoders.items() if not compare(group, best, split).low > 0}


def _in_order(columns: Mapping[str, Mapping[str, Group]]) -> list[str]:
    """Return all encoders by their mean place, between 0 (first) and 1 (last), then the references by name."""
    places: dict[str, list[float]] = {}
    references = set()
    for groups in columns.values():
        encoders = _encoders(groups)
        for place, name in enumerate(encoders):
            places.setdefault(name, []).append(place / max(1, len(encoders) - 1))
        references |= groups.keys() - encoders.keys()
    return sorted(places, key=lambda name: (statistics.mean(places[name]), name)) + sorted(references)
