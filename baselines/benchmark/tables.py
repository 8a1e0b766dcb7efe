"""What the tables of the leaderboard share: columns, cells with means over seeds, Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rnn_zoos.baselines.benchmark.comparison import with_interval
from rnn_zoos.baselines.benchmark.result_files import Group, is_control
from rnn_zoos.baselines.downstream.measures import limits_of


@dataclass(frozen=True)
class Column:
    """A column of a table: its header, and the text of its cell for the results of an encoder or control.

    `encoders_only` columns are empty for controls.
    """

    header: str
    cell: Callable[[Group], str]
    encoders_only: bool = True


def table(columns: Sequence[Column], groups: Mapping[str, Group]) -> str:
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

    The interval adds up the variance over tasks, by the mean of the intervals of single seeds, and the variance of the
    mean over seeds. It ends where the measure does. The bounds are nan if those of a seed are undefined.
    """
    defined = [score for score in scores if score["value"] is not None]
    if not defined:
        return None
    values = [float(score["value"] or 0) for score in defined]
    mean = statistics.mean(values)
    spread = 1.96 * statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    bounds = []
    for key, sign in (("low", -1), ("high", 1)):
        found = [score[key] for score in defined]
        known = [bound for bound in found if bound is not None]
        over_tasks = abs(statistics.mean(known) - mean) if len(known) == len(found) else math.nan
        bounds.append(mean + sign * math.hypot(over_tasks, spread))
    least, most = limits_of(measure)
    return mean, max(bounds[0], least), min(bounds[1], most)  # nan stays nan: it is the first argument
