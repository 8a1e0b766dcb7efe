"""What the tables of the leaderboard share: columns, cells with means over seeds, Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rnn_zoos.baselines.benchmark.comparison import with_interval
from rnn_zoos.baselines.benchmark.result_files import Group, is_control
from rnn_zoos.baselines.downstream.intervals import add_seed_variance
from rnn_zoos.baselines.downstream.measures import limits_of


@dataclass(frozen=True)
class TableColumn:
    """A column of a table: its header, and the text of its cell for the results of an encoder or control.

    `encoders_only` columns are empty for controls.
    """

    header: str
    cell: Callable[[Group], str]
    encoders_only: bool = True


def table(columns: Sequence[TableColumn], groups: Mapping[str, Group]) -> str:
    """Return a Markdown table with a line per encoder or control."""
    lines = [["encoder", *(column.header for column in columns)]]
    for name, group in groups.items():
        control = is_control(group[0])
        lines.append([name, *("" if control and column.encoders_only else column.cell(group) for column in columns)])
    return markdown(lines)


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first line has the headers."""
    header, *others = lines
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *others))


def over_seeds(
    scores: Sequence[Mapping[str, float | None]], measure: str, digits: int = 3, interval: bool = True
) -> str:
    """Return the text of the mean over seeds of a score, where it is defined, with so many digits after the point."""
    summary = mean_score(scores, measure)
    if summary is None:
        return "-"
    return with_interval(*summary, digits=digits) if interval else f"{summary[0]:.{digits}f}"


def mean_score(scores: Sequence[Mapping[str, float | None]], measure: str) -> tuple[float, float, float] | None:
    """Return the mean over seeds of a score with its 95% interval; None if it is undefined.

    The interval is the mean of those of single seeds, widened by the variance over seeds (`add_seed_variance`). It ends
    where the measure does. The bounds are nan if those of a seed are undefined.
    """
    defined = [score for score in scores if score["value"] is not None]
    if not defined:
        return None
    values = [float(score["value"] or 0) for score in defined]
    mean = statistics.mean(values)
    over_tasks = (_mean_bound(defined, "low"), _mean_bound(defined, "high"))
    low, high = add_seed_variance(mean, over_tasks, [values])
    least, most = limits_of(measure)
    return mean, max(low, least), min(high, most)  # nan stays nan: it is the first argument


def _mean_bound(scores: Sequence[Mapping[str, float | None]], key: str) -> float:
    known = [bound for score in scores if (bound := score[key]) is not None]
    return statistics.mean(known) if len(known) == len(scores) else math.nan
