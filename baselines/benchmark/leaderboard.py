"""The leaderboard: Markdown tables of all results per zoo, made from result files alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from rnn_zoos.baselines.benchmark.comparison import compare, total_variation_of, with_interval
from rnn_zoos.baselines.benchmark.result_files import (
    END_TO_END,
    Group,
    Selection,
    defining_predictor,
    group_by_zoo,
    is_control,
    is_reference,
    score_of,
    sort_by_loss,
)
from rnn_zoos.baselines.downstream.targets import TARGETS, Target, measure_title, target_title


@dataclass(frozen=True)
class _Column:
    """A column of the table: its header, and the text of its cell for the results of an encoder or control.

    `encoders_only` columns are empty for controls.
    """

    header: str
    cell: Callable[[Group], str]
    encoders_only: bool = True


_QUERIES = _Column("queries", lambda group: f"{group[0]['queries']:,}")


def leaderboard(
    results: Sequence[Mapping[str, Any]],
    protocol: str = "strict",
    predictor: str = "linear",
    split: str = "test",
    brief: bool = False,
) -> str:
    """Return Markdown tables per zoo: encoders, the lowest emulation loss on `test` first, references, controls.

    Cells are means over seeds; `0.0110 [.0101, .0120]` has the 95% interval over tasks and seeds. A table of emulation,
    without controls, and one of labels have these columns:

    - access: what the encoder uses: `weights`; `queries`, also outputs of the network; `data`, also training data;
      `labels`, references that are trained like encoders but read labels in place of weights.
    - queries: time steps for which the encoder runs a network.
    - TV per step: emulation loss, the mean total variation between the outputs of a network and of its emulator.
    - clone correlation: Pearson's, over networks, between the accuracies of networks and of their emulators.
    - nearest task: whether the nearest embedding of another run is of a network of the same task, or how far its angle
      is from that; trained networks among trained networks.
    - the others: scores of predictors of the labels.

    A third table has the paired difference in TV per step of every encoder from the one above it: if the interval
    contains 0, the results do not support the order of the two.

    Args:
        results: As `read_results` returns them.
        protocol: `strict` (predictors are trained on `train`) or `paper` (also on half of the `ood` tasks).
        predictor: `linear` or `mlp`, on frozen embeddings, or `end-to-end`: encoders trained on the labels, without
            references and controls. A control that is named after its predictor has the scores of that one.
        split: `validation`, `test` or `ood`; the split of clone correlation and of the scores.
        brief: Return one narrow table per zoo, with few columns and intervals of TV per step only.

    Returns:
        Markdown text.

    Raises:
        FormatError: A result has no scores of the selected predictor.

    Example:
        >>> from pathlib import Path
        >>> from rnn_zoos.baselines import leaderboard, read_results
        >>> table = leaderboard(read_results(Path("results")), predictor="mlp", brief=True)
    """
    selection = Selection(protocol, predictor, split)
    parts = []
    for zoo, groups in group_by_zoo(results).items():
        shown = _shown(sort_by_loss(groups), selection)
        tables = _brief_table(zoo, shown, selection) if brief else _full_tables(zoo, shown, selection)
        parts.append("\n\n".join([f"### {zoo}", *tables]))
    return "\n\n".join(parts) + "\n"


def _shown(groups: Mapping[str, Group], selection: Selection) -> dict[str, Group]:
    """Return the lines of the table: all, or those that are trained end to end if these scores are selected."""
    if selection.predictor != END_TO_END:
        return dict(groups)
    return {name: group for name, group in groups.items() if "end_to_end" in group[0]}


def _full_tables(zoo: str, groups: Mapping[str, Group], selection: Selection) -> list[str]:
    """Return the tables of a zoo, each below a line that says what it shows."""
    trained = {name: group for name, group in groups.items() if not is_control(group[0])}
    emulation = _table(_emulation_columns(zoo, selection), trained)
    labels = _table(_label_columns(zoo, selection), groups)
    read = f"Labels, predictor {selection.predictor}, protocol {selection.protocol}, split {selection.split}:"
    tables = [f"Emulation:\n\n{emulation}"] if trained else []
    return [*tables, f"{read}\n\n{labels}", *_notes(groups, selection), *_order(trained)]


def _brief_table(zoo: str, groups: Mapping[str, Group], selection: Selection) -> list[str]:
    """Return the narrow table of a zoo, and notes on it."""
    columns = [
        _QUERIES,
        _Column("TV per step, test", partial(_total_variation, "test")),
        _Column("TV per step, ood", lambda group: f"{total_variation_of(group, 'ood').value:.4f}"),
        _Column(f"clone correlation, {selection.split}", partial(_clone_correlation, selection.split)),
        _score_column(zoo, "task_trained", TARGETS[zoo]["task_trained"].shown[0], selection, intervals=False),
        _score_column(zoo, "accuracy", "r_squared_within_steps", selection, intervals=False),
    ]
    return [_table(columns, groups), *_notes(groups, selection)]


def _emulation_columns(zoo: str, selection: Selection) -> list[_Column]:
    """Return the columns of the table of emulation, after the first, which has the name of the encoder."""
    task, split = TARGETS[zoo]["task_trained"], selection.split
    return [
        _Column("access", lambda group: str(group[0]["information"])),
        _Column("seeds", lambda group: str(len(group))),
        _Column("parameters", lambda group: f"{group[0]['parameters']:,}"),
        _QUERIES,
        _Column("TV per step, test", partial(_total_variation, "test")),
        _Column("TV per step, ood", partial(_total_variation, "ood")),
        _Column(f"clone correlation, {split}", partial(_clone_correlation, split)),
        _Column(
            f"nearest {target_title('task_trained')} {measure_title(task, task.shown[0])}, {split}",
            partial(_retrieval, task, split),
        ),
    ]


def _label_columns(zoo: str, selection: Selection) -> list[_Column]:
    """Return the columns of the table of labels, after the first, which has the name of the encoder or control."""
    return [
        _score_column(zoo, name, measure, selection, intervals=True)
        for name, target in TARGETS[zoo].items()
        for measure in target.shown
    ]


def _score_column(zoo: str, name: str, measure: str, selection: Selection, intervals: bool) -> _Column:
    target = TARGETS[zoo][name]
    header = f"{target_title(name)} {measure_title(target, measure)}"

    def cell(group: Group) -> str:
        scores = [score_of(result, name, selection, measure) for result in group]
        return _over_seeds([score for score in scores if score is not None], target, intervals)

    return _Column(header, cell, encoders_only=False)


def _total_variation(split: str, group: Group) -> str:
    return str(total_variation_of(group, split))


def _clone_correlation(split: str, group: Group) -> str:
    return f"{statistics.mean(result['clones'][split]['correlation'] for result in group):.2f}"


def _retrieval(target: Target, split: str, group: Group) -> str:
    return _over_seeds([result["retrieval"]["task_trained"][split][target.shown[0]] for result in group], target, True)


def _over_seeds(scores: Sequence[Mapping[str, float | None]], target: Target, interval: bool) -> str:
    """Return the text of the mean over seeds of a score, where it is defined."""
    digits = 1 if target.kind == "angle" else 3
    summary = mean_score(scores)
    if summary is None:
        return "-"
    return with_interval(*summary, digits=digits) if interval else f"{summary[0]:.{digits}f}"


def mean_score(scores: Sequence[Mapping[str, float | None]]) -> tuple[float, float, float] | None:
    """Return the mean over seeds of a score with its 95% interval; None if it is undefined.

    The interval adds up the variance over tasks, by the mean of the intervals of single seeds, and the variance of the
    mean over seeds. The bounds are nan if those of a seed are undefined.
    """
    defined = [score for score in scores if score["value"] is not None]
    if not defined:
        return None
    values = [float(score["value"] or 0) for score in defined]
    mean = statistics.mean(values)
    over_seeds = 1.96 * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    bounds = []
    for key, sign in (("low", -1), ("high", 1)):
        found = [score[key] for score in defined]
        known = [bound for bound in found if bound is not None]
        over_tasks = abs(statistics.mean(known) - mean) if len(known) == len(found) else math.nan
        bounds.append(mean + sign * math.hypot(over_tasks, over_seeds))
    return mean, bounds[0], bounds[1]


def _table(columns: Sequence[_Column], groups: Mapping[str, Group]) -> str:
    """Return a Markdown table with a line per encoder or control."""
    lines = [["encoder", *(column.header for column in columns)]]
    for name, group in groups.items():
        control = is_control(group[0])
        lines.append([name, *("" if control and column.encoders_only else column.cell(group) for column in columns)])
    return _markdown(lines)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first line has the headers."""
    header, *others = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *others))


def _notes(groups: Mapping[str, Group], selection: Selection) -> list[str]:
    """Return a list of the controls whose scores are those of their own predictor, if there are any."""
    predictors = {name: defining_predictor(group[0]) for name, group in groups.items()}
    notes = [
        f"- {name}: always with its own predictor, `{predictor}`."
        for name, predictor in predictors.items()
        if predictor not in (None, selection.predictor)
    ]
    return ["\n".join(notes)] if notes else []


def _order(groups: Mapping[str, Group]) -> list[str]:
    """Return the table of paired differences between encoders that follow each other, if there are two."""
    ranked = [(name, group) for name, group in groups.items() if not is_reference(group[0])]
    if len(ranked) < 2:
        return []
    lines = [["encoder", "behind", "difference in TV, test", "difference in TV, ood", "order on test"]]
    for (above, better), (name, group) in pairwise(ranked):
        test, ood = (compare(group, better, split) for split in ("test", "ood"))
        lines.append([name, above, str(test), str(ood), "supported" if test.low > 0 else "open"])
    return [f"Paired differences between neighbours:\n\n{_markdown(lines)}"]
