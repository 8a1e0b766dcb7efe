"""The leaderboard: a markdown table of all results per zoo, made from result files alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rnn_zoos.baselines.benchmark.result_files import (
    END_TO_END,
    Group,
    Selection,
    group_by_zoo,
    is_control,
    score_of,
    used_predictor,
)
from rnn_zoos.baselines.downstream.targets import TARGETS, measure_title, target_title


@dataclass(frozen=True)
class _Column:
    """A column of the table: its header, and the text of its cell for the results of an encoder or control.

    `detail` columns are left out of brief tables; `encoders_only` columns are empty for controls.
    """

    header: str
    cell: Callable[[Group], str]
    detail: bool = False
    encoders_only: bool = True


def leaderboard(
    results: Sequence[Mapping[str, Any]],
    protocol: str = "strict",
    predictor: str = "linear",
    split: str = "test",
    brief: bool = False,
) -> str:
    """Return a markdown table per zoo: encoders, the lowest emulation loss on `test` first, then controls.

    Cells are means over seeds, ± the standard deviation over seeds if there are several. Columns:

    - access: what the encoder uses: `weights`; `queries`, also outputs of the network; `data`, also training data.
    - queries: time steps for which the encoder runs a network.
    - TV per step: emulation loss, the mean total variation between the outputs of a network and of its emulator.
    - clone correlation: Pearson's, over networks, between the accuracies of networks and of their emulators.
    - the others: scores of predictors of the labels.

    A note below a table lists controls that have their own predictor in place of the selected one.

    Args:
        results: As `read_results` returns them.
        protocol: `strict` (predictors are trained on `train`) or `paper` (also on half of the `ood` tasks).
        predictor: `linear` or `mlp`, on frozen embeddings, or `end-to-end`: encoders trained on the labels, without
            controls.
        split: `validation`, `test` or `ood`; the split of clone correlation and of the scores.
        brief: Leave out access, seeds, parameters, and targets that are parts of other targets.

    Returns:
        Markdown text.

    Raises:
        FormatError: The result of an encoder has no scores of the selected predictor.

    Example:
        >>> from pathlib import Path
        >>> from rnn_zoos.baselines import leaderboard, read_results
        >>> table = leaderboard(read_results(Path("results")), predictor="mlp", brief=True)
    """
    selection = Selection(protocol, predictor, split)
    parts = []
    for zoo, groups in group_by_zoo(results).items():
        columns = [column for column in _columns(zoo, selection) if not (brief and column.detail)]
        table = _table(columns, groups, selection)
        lines = [f"| {' | '.join(cells)} |" for cells in table]
        parts.append("\n".join([f"### {zoo}", "", *lines, *_notes(groups, selection)]))
    return "\n\n".join(parts) + "\n"


def _columns(zoo: str, selection: Selection) -> list[_Column]:
    """Return the columns of a zoo's table, after the first, which has the name of the encoder or control."""
    partial_targets = _partial_targets(zoo)
    return [
        _Column("access", lambda group: str(group[0]["information"]), detail=True),
        _Column("seeds", lambda group: str(len(group)), detail=True),
        _Column("parameters", lambda group: f"{group[0]['parameters']:,}", detail=True),
        _Column("queries", lambda group: f"{group[0]['queries']:,}"),
        *(_Column(f"TV per step, {split}", partial(_total_variation, split)) for split in ("test", "ood")),
        _Column(f"clone correlation, {selection.split}", partial(_clone_correlation, selection.split)),
        *(
            _Column(
                f"{target_title(name)} {measure_title(target)}",
                partial(_score, name, selection),
                detail=name in partial_targets,
                encoders_only=False,
            )
            for name, target in TARGETS[zoo].items()
        ),
    ]


def _partial_targets(zoo: str) -> list[str]:
    """Return the targets whose columns are a proper subset of those of another target."""
    columns = {name: set(target.columns) for name, target in TARGETS[zoo].items()}
    return [name for name in columns if any(columns[name] < others for others in columns.values())]


def _total_variation(split: str, group: Group) -> str:
    return _mean_and_deviation([result["emulation"][split]["total_variation"] for result in group], 4)


def _clone_correlation(split: str, group: Group) -> str:
    return _mean_and_deviation([result["clones"][split]["correlation"] for result in group], 2)


def _score(target: str, selection: Selection, group: Group) -> str:
    scores = [score_of(result, target, selection) for result in group]
    return _mean_and_deviation([score["value"] for score in scores if score is not None], 3)


def _mean_and_deviation(values: Sequence[float | None], digits: int) -> str:
    defined = [value for value in values if value is not None]
    if not defined:
        return "-"
    text = f"{statistics.mean(defined):.{digits}f}"
    return f"{text} ± {statistics.stdev(defined):.{digits}f}" if len(defined) > 1 else text


def _table(columns: Sequence[_Column], groups: Mapping[str, Group], selection: Selection) -> list[list[str]]:
    """Return the cells of a table, line by line."""
    header = ["encoder", *(column.header for column in columns)]
    lines = []
    for name, group in sorted(groups.items(), key=lambda entry: _rank(entry[1])):
        control = is_control(group[0])
        if not (control and selection.predictor == END_TO_END):
            cells = ("" if control and column.encoders_only else column.cell(group) for column in columns)
            lines.append([name, *cells])
    return [header, ["---"] * len(header), *lines]


def _rank(group: Group) -> tuple[bool, float]:
    """Return the sort key of a line: encoders by emulation loss, then controls in the order in which they were read."""
    if is_control(group[0]):
        return True, 0.0
    return False, statistics.mean(result["emulation"]["test"]["total_variation"] for result in group)


def _notes(groups: Mapping[str, Group], selection: Selection) -> list[str]:
    """Return lines that list the results whose scores are those of another predictor than the selected one."""
    notes = []
    for name, group in groups.items():
        predictor = used_predictor(group[0], selection)
        if predictor not in (None, selection.predictor):
            notes.append(f"- {name}: scores of predictor `{predictor}` instead of `{selection.predictor}`.")
    return ["", *notes] if notes else []
