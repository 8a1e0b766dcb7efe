"""The figure of trajectory tasks: what an early snapshot tells about the run that it is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rnn_zoos.baselines.benchmark.figures.scores import LOWEST, bar
from rnn_zoos.baselines.benchmark.figures.style import bar_colour, name_lines, panels_of_lines, set_title
from rnn_zoos.baselines.benchmark.result_files import Group, ScoreSelection
from rnn_zoos.baselines.benchmark.trajectory_table import defined_scores, shown_trajectories
from rnn_zoos.loaders.views.figures import finish_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def trajectories(zoo: str, groups: Mapping[str, Group]) -> Figure | None:
    """Draw a panel per score of the table, with a bar per encoder, reference and control, or None if there is no score.

    All `groups` are of results with trajectory tasks; there may be none.
    """
    selection = ScoreSelection()
    shown = shown_trajectories(groups, selection)
    if not shown:
        return None
    figure, panels = panels_of_lines(len(shown), len(groups), 1.9)
    for axes, score in zip(panels, shown, strict=True):
        for line, group in enumerate(groups.values()):
            found = defined_scores(group, score.task, score.measure, selection)
            bar(axes, line, found, score.measure, bar_colour(group))
        if score.chance is not None:
            axes.axvline(score.chance, color="black", linestyle=":", linewidth=1)
        axes.set_title(score.title.replace(", ", ",\n").replace("within the", "\nwithin the"), fontsize=9)
        axes.set(xlim=(LOWEST if score.measure == "r_squared" else 0, 1), xlabel="(higher is better)")
        axes.tick_params(axis="x", labelsize=8)
        axes.set_axisbelow(True)
        finish_axes(axes)
    name_lines(panels, groups)
    steps = next(iter(groups.values()))[0]["trajectories"]["early_steps"]
    early = f" from snapshots at step {steps[0]}" if steps else ""
    set_title(
        figure,
        f"{zoo}, split test: trajectories{early}, read linearly or by cosine, with 95% intervals",
        "blue: encoders; yellow: references that read labels; grey: controls; dotted: chance; triangles: off the axis",
    )
    return figure
