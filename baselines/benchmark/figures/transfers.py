"""The figure of a transfer across architectures: scores on architectures that were trained on, and on others."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rnn_zoos.baselines.benchmark.figures.style import OOD, TEST, name_lines, panels_of_lines, round_log_axis
from rnn_zoos.baselines.benchmark.result_files import Group, ScoreSelection
from rnn_zoos.baselines.benchmark.transfer_table import (
    KNOWN,
    OTHERS,
    Interval,
    TransferColumn,
    shown_transfers,
    transfer_conditions,
    transfer_of,
    transferred_score,
)
from rnn_zoos.loaders.views.figures import finish_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOWEST = -0.5  # of scores that have no lower bound: how bad a predictor is beyond this is not worth the space


def transfers(zoo: str, groups: Mapping[str, Group]) -> Figure | None:
    """Draw a panel per score, with a line per encoder, reference and control; None for results without a transfer.

    Blue: architectures that it was trained on; red: others, on the same tasks. A triangle is a score beyond the axis.
    """
    name = transfer_of(groups)
    if name is None:
        return None
    shown = shown_transfers(groups)
    figure, panels = panels_of_lines(len(shown), len(groups), 1.9)
    for axes, own in zip(panels, shown, strict=True):
        drawn = []
        for split, colour, shift in ((KNOWN, TEST, -0.16), (OTHERS, OOD, 0.16)):
            for line, group in enumerate(groups.values()):
                score = transferred_score(group, own, ScoreSelection(split=split))
                if score is not None:
                    _mark(axes, line + shift, score, colour, own)
                    drawn.append(score)
        axes.set_title(textwrap.fill(own.title.replace(">= ", ">=\N{NO-BREAK SPACE}"), 18), fontsize=9)
        _score_axis(axes, own, drawn)
    name_lines(panels, groups)
    for colour, condition in zip((TEST, OOD), transfer_conditions(name), strict=True):
        panels[0].scatter([], [], color=colour, s=24, label=condition)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.suptitle(f"{zoo}: trained on {labels[0]}, tested on both, on unseen tasks (lines: 95% intervals)")
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _mark(axes: Axes, place: float, score: Interval, colour: str, shown: TransferColumn) -> None:
    value, low, high = score
    beyond = value < _LOWEST and not _lower_is_better(shown)
    axes.plot([low, high], [place, place], color=colour, linewidth=1.4)
    marker = "<" if beyond else "o"
    axes.scatter([max(value, _LOWEST)], [place], color=colour, s=22, zorder=3, marker=marker, clip_on=not beyond)


def _lower_is_better(shown: TransferColumn) -> bool:
    return shown.measure in ("total_variation", "degrees")


def _score_axis(axes: Axes, shown: TransferColumn, drawn: Sequence[Interval]) -> None:
    if shown.measure == "total_variation":
        values = [value for value, _, _ in drawn]
        low, high = min(values) / 1.4, max(values) * 1.4
        axes.set(xscale="log", xlim=(low, high))
        round_log_axis(axes.xaxis, low, high)
        axes.tick_params(axis="x", labelrotation=45)
    elif shown.measure != "degrees":
        axes.set_xlim(max(_LOWEST, min(axes.get_xlim()[0], 0)), 1.02)
        axes.locator_params(axis="x", nbins=3)
    axes.set_xlabel(f"({'lower' if _lower_is_better(shown) else 'higher'} is better)")
    axes.tick_params(axis="x", labelsize=8)
    finish_axes(axes)
