"""Figures of what embeddings reveal: labels read from them, nearest neighbours, and the accuracy of clones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_zoos.baselines.benchmark.figures.style import (
    OOD,
    TEST,
    bar_colour,
    broken,
    name_lines,
    panels_of_lines,
    set_title,
)
from rnn_zoos.baselines.benchmark.result_files import Group, ScoreSelection, clone_correlation, score_of, shown_targets
from rnn_zoos.baselines.benchmark.tables import mean_score
from rnn_zoos.baselines.downstream.targets import Target, measure_title, target_title, task_targets
from rnn_zoos.loaders.views.figures import finish_axes, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CLONE_COLUMNS = 6
LOWEST = -0.2
"""Lower end of axes of R²; what is below is a triangle at the edge."""


def scores(zoo: str, groups: Mapping[str, Group]) -> Figure:
    """Draw a panel per measure of a target that is shown in tables, with a bar per encoder, reference and control."""
    targets = shown_targets(groups)
    shown = [(name, measure) for name, target in targets.items() for measure in target.shown]
    figure, panels = panels_of_lines(len(shown), len(groups), 1.75)
    for axes, (name, measure) in zip(panels, shown, strict=True):
        target = targets[name]
        for line, group in enumerate(groups.values()):
            found = [score_of(result, name, ScoreSelection(), measure) for result in group]
            bar(axes, line, [score for score in found if score is not None], measure, bar_colour(group))
        title = measure_title(target, measure).replace(", ", ",\n")
        axes.set_title(f"{target_title(name)}:\n{title}", fontsize=9)
        _score_axis(axes, target)
    name_lines(panels, groups)
    set_title(
        figure,
        f"{zoo}, split test: labels read linearly from frozen embeddings (by boosted trees where named so), with 95% "
        "intervals",
        "blue: encoders; yellow: references, which read labels; grey: controls; triangles: off the axis",
    )
    return figure


def bar(axes: Axes, line: int, found: Sequence[Mapping[str, float | None]], measure: str, colour: str) -> None:
    """Draw the mean over seeds of a score, with its interval; a triangle if it is beyond the axis."""
    summary = mean_score(found, measure)
    if summary is None:
        return
    value, low, high = summary
    if value < LOWEST:
        axes.scatter([LOWEST], [line], color=colour, s=22, marker="<", clip_on=False, zorder=3)
        return
    axes.barh(line, value, color=colour, height=0.7)
    axes.plot([max(low, LOWEST), high], [line, line], color="black", linewidth=1)


def _score_axis(axes: Axes, target: Target) -> None:
    limits: Mapping[str, Any] = {"number": (LOWEST, 1), "classes": (0, 1), "angle": (0, None)}
    axes.set(xlim=limits[target.kind], xlabel=f"({'lower' if target.kind == 'angle' else 'higher'} is better)")
    axes.tick_params(axis="x", labelsize=8)
    axes.set_axisbelow(True)
    finish_axes(axes)


def retrieval(zoo: str, trained: Mapping[str, Group]) -> Figure:
    """Draw what the nearest embedding of another run tells about the task: all networks, and trained ones; by split."""
    tasks = task_targets(zoo)
    figure, panels = new_figure(2.4 + 4 * len(tasks), 1.8 + 0.28 * len(trained), ncols=len(tasks), sharey=True)
    for axes, (name, target) in zip(panels, tasks.items(), strict=True):
        for split, colour, shift in (("test", TEST, -0.16), ("ood", OOD, 0.16)):
            for line, group in enumerate(trained.values()):
                summary = mean_score(
                    [result["retrieval"][name][split][target.shown[0]] for result in group], target.shown[0]
                )
                if summary is not None:
                    place, (value, low, high) = line + shift, summary
                    axes.plot([low, high], [place, place], color=colour, linewidth=1.4)
                    axes.scatter([value], [place], color=colour, s=20, label=split if line == 0 else None)
        angles = target.kind == "angle"
        axes.set_title(f"networks at steps >= {target.from_step}" if target.from_step else "all networks", fontsize=10)
        axes.set(xlim=(0, None if angles else 1.02))
        axes.set_xlabel("mean difference in angle (lower is better)" if angles else "fraction with the same task")
        finish_axes(axes)
    name_lines(panels, trained)
    figure.suptitle(f"{zoo}: task of the nearest embedding (cosine) among other runs of the split, with 95% intervals")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def clones(zoo: str, trained: Mapping[str, Group]) -> Figure:
    """Draw a panel per encoder: the accuracy of each clone against that of its network, coloured by training step."""
    lines = -(-len(trained) // _CLONE_COLUMNS)
    columns = -(-len(trained) // lines)
    figure, panels = new_figure(
        1.6 + 2 * columns, 1.3 + 2.3 * lines, nrows=lines, ncols=columns, sharex=True, sharey=True, squeeze=False
    )
    for axes in panels.flat[len(trained) :]:
        axes.set_visible(False)
    steps = sorted({step for group in trained.values() for step in group[0]["clone_points"]["step"]})
    dots: Any = None
    for axes, (name, group) in zip(panels.flat, trained.items(), strict=False):
        points = group[0]["clone_points"]
        shades = np.searchsorted(steps, points["step"])
        colours: dict[str, Any] = {"c": shades, "cmap": "viridis", "vmin": -0.5, "vmax": len(steps) - 0.5}
        dots = axes.scatter(points["accuracy"], points["clone"], s=7, alpha=0.7, **colours)
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.6)
        correlation = clone_correlation(group, "test")
        axes.set_title(f"{broken(name)}\ncorrelation {correlation:.2f}", fontsize=8)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal")
        finish_axes(axes)
    figure.supxlabel("accuracy of the network")
    figure.supylabel("accuracy of its clone")
    bar = figure.colorbar(dots, ax=panels, fraction=0.02, ticks=range(len(steps)))
    bar.ax.set_yticklabels([f"{step:,}" for step in steps])
    bar.set_label("training step of the network")
    figure.suptitle(
        f"{zoo}: networks of unseen tasks (test)\nand their clones, first seed; correlations over all seeds",
        fontsize=10,
    )
    return figure
