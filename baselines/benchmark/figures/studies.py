"""The figures of a study: the losses of its variants at the end, and during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_zoos.baselines.benchmark.comparison import history
from rnn_zoos.baselines.benchmark.figures.style import OOD, TEST, legend_beside, looks, round_log_axis, set_title
from rnn_zoos.baselines.benchmark.studies import Study, read_study, study_losses
from rnn_zoos.loaders.views.figures import finish_axes, new_figure, save_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOSS = "total variation per step (lower is better),{}logarithmic"
_COLOURS = (TEST, OOD)


def draw_study(folder: Path, out: Path) -> list[Path]:
    """Draw a study's files into the folder `out`; return the PNGs `study-NAME` and `study-NAME-training`.

    The first has dots for every variant, or curves if variants differ in how many training runs they have.

    Raises FormatError and StorageError.
    """
    name, study, groups = read_study(folder)
    counts = {variant: group[0]["settings"]["training_runs"] for variant, group in groups.items()}
    title = f"{name}: {study.question}"
    if len({*counts.values()}) > 1:
        figure = _by_training_runs(study, groups)
        set_title(figure, title)
    else:
        figure = _dots(study, groups)
        set_title(figure, title, "(diamonds: means; dots: seeds; dotted lines: the first variant)")
    training = _during_training(groups)
    set_title(training, title, "(a line per seed; in brackets: means at the end)")
    return save_figures({f"study-{name}": figure, f"study-{name}-training": training}, out)


def _dots(study: Study, groups: Mapping[str, Sequence[Any]]) -> Figure:
    """Draw a line per variant with a dot per seed and a diamond for their mean; dotted: the first variant."""
    figure, axes = new_figure(8, 1.7 + 0.28 * len(groups))
    drawn = list[float]()
    for split, colour, shift in zip(study.splits[-2:], _COLOURS, (-0.14, 0.14), strict=False):
        losses = [study_losses(group, split) for group in groups.values()]
        for line, seeds in enumerate(losses):
            axes.scatter(seeds, np.full(len(seeds), line + shift), color=colour, s=8, alpha=0.6)
            label = split if line == 0 else None
            axes.scatter([np.mean(seeds)], [line + shift], color=colour, marker="D", s=26, zorder=3, label=label)
        axes.axvline(float(np.mean(losses[0])), color=colour, linestyle=":", linewidth=1)
        drawn += [loss for seeds in losses for loss in seeds]
    axes.set_yticks(range(len(groups)), list(groups))
    axes.set_ylim(len(groups) - 0.4, -0.6)
    _log_axis(axes, "x", drawn)
    finish_axes(axes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _during_training(groups: Mapping[str, Sequence[Any]]) -> Figure:
    """Draw the loss of every variant on validation against updates, a line per seed."""
    figure, axes = new_figure(11, 5.2)
    drawn = list[float]()
    styles, final = looks(groups), {name: history(group, "total_variation")[-1] for name, group in groups.items()}
    for name in sorted(groups, key=final.__getitem__, reverse=True):  # as the lines end, from top to bottom
        label = f"{name} ({final[name]:.4f})"
        for result in groups[name]:
            updates, losses = history([result], "update"), history([result], "total_variation")
            axes.plot(updates, losses, label=label, marker="o", markersize=3, **styles[name].line)
            drawn, label = [*drawn, *losses], ""
    axes.set_xlabel("updates")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    _log_axis(axes, "y", drawn)
    axes.set_ylabel("total variation per step, validation\n(lower is better), logarithmic")
    finish_axes(axes)
    legend_beside(axes, len(groups))
    return figure


def _by_training_runs(study: Study, groups: Mapping[str, Sequence[Any]]) -> Figure:
    """Draw the losses of every encoder against its number of training runs, a panel per split; means over seeds."""
    splits = study.splits[-2:]
    figure, grid = new_figure(11, 4.8, ncols=len(splits), sharey=True, squeeze=False)
    encoders = {group[0]["encoder"]: group for group in groups.values()}
    styles = looks(encoders)
    counts, drawn = sorted({group[0]["settings"]["training_runs"] for group in groups.values()}), list[float]()
    panels = list(grid.flat)
    for axes, split in zip(panels, splits, strict=True):
        for encoder, style in styles.items():
            own = {g[0]["settings"]["training_runs"]: g for g in groups.values() if g[0]["encoder"] == encoder}
            means = [float(np.mean(study_losses(own[count], split))) for count in sorted(own)]
            axes.plot(sorted(own), means, label=encoder, marker="o", markersize=4, **style.line)
            drawn += means
        axes.set(xscale="log", xlabel="training runs, logarithmic", title=split)
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.set_xticks([], minor=True)
        finish_axes(axes)
    _log_axis(panels[0], "y", drawn)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _log_axis(axes: Axes, name: str, losses: Sequence[float]) -> None:
    """Make an axis of losses logarithmic, with room around them."""
    low, high = min(losses) / 1.15, max(losses) * 1.15
    label = _LOSS.format(" " if name == "x" else "\n")
    axes.set(**{f"{name}scale": "log", f"{name}lim": (low, high), f"{name}label": label})
    round_log_axis(getattr(axes, f"{name}axis"), low, high)
