"""Figures of emulation losses: values with intervals, curves during training, queries, positions in a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from rnn_zoos.baselines.benchmark.comparison import history, total_variation_estimate
from rnn_zoos.baselines.benchmark.figures.style import (
    OOD,
    TEST,
    legend_beside,
    looks,
    name_lines,
    round_log_axis,
    spread,
)
from rnn_zoos.baselines.benchmark.result_files import Group, is_reference
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.views.figures import finish_axes, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SPLITS = {"test": "test: unseen tasks", "ood": "ood: out-of-distribution tasks"}
_LOSS = "total variation per step (lower is better)"


def losses(zoo: str, trained: Mapping[str, Group]) -> Figure:
    """Draw a line per encoder, with mean, 95% interval and seeds for each split; references below a rule."""
    figure, axes = new_figure(8, 1.6 + 0.3 * len(trained))
    smallest, largest = np.inf, 0.0
    for split, colour, shift in (("test", TEST, -0.16), ("ood", OOD, 0.16)):
        for line, group in enumerate(trained.values()):
            estimate, place = total_variation_estimate(group, split), line + shift
            seeds = [np.mean(result["by_run"][split]["total_variation"]) for result in group]
            axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
            axes.scatter(seeds, np.full(len(seeds), place), color=colour, s=7, alpha=0.6)
            label = _SPLITS[split] if line == 0 else None
            axes.scatter([estimate.value], [place], color=colour, marker="D", s=26, label=label, zorder=3)
            smallest, largest = min(smallest, *seeds), max(largest, *seeds)
    name_lines([axes], trained)
    axes.set_xscale("log")
    round_log_axis(axes.xaxis, smallest / 1.3, largest * 1.3)
    axes.set(xlabel=f"{_LOSS}, logarithmic", xlim=(smallest / 1.3, largest * 1.3))
    figure.suptitle(f"{zoo}: emulation loss\n(diamonds: means; lines: 95% intervals over tasks and seeds; dots: seeds)")
    finish_axes(axes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def curves(zoo: str, trained: Mapping[str, Group]) -> Figure:
    """Draw the validation loss of all encoders against updates and against seconds of training; means over seeds."""
    figure, panels = new_figure(14.5, 5.6, ncols=2, sharey=True)
    styles, final = looks(trained), {name: history(group, "total_variation")[-1] for name, group in trained.items()}
    labels = {"update": "updates", "seconds": "seconds of training"}
    for axes, (key, label) in zip(panels, labels.items(), strict=True):
        for name in sorted(trained, key=final.__getitem__):
            places, values = history(trained[name], key), history(trained[name], "total_variation")
            axes.plot(places, values, label=f"{name} ({final[name]:.4f})", **styles[name].line)
        axes.set(xscale="log", yscale="log", xlabel=f"{label}, logarithmic")
        _log_limits(axes, np.concatenate([history(group, key) for group in trained.values()]))
        finish_axes(axes)
    every = np.concatenate([history(group, "total_variation") for group in trained.values()])
    round_log_axis(panels[0].yaxis, every.min() / 1.1, every.max() * 1.1)
    panels[0].set_ylabel("total variation per step, validation, logarithmic")
    panels[0].set_title("at equal numbers of updates")
    panels[1].set_title("at equal time")
    legend_beside(panels[1], len(trained))
    figure.suptitle(f"{zoo}: emulation loss during training (means over seeds; in brackets: at the end)")
    return figure


def _log_limits(axes: Axes, values: Array) -> None:
    low, high = values[values > 0].min() / 1.1, values.max() * 1.1
    round_log_axis(axes.xaxis, low, high)
    axes.set_xlim(low, high)


def queries(zoo: str, trained: Mapping[str, Group]) -> Figure:
    """Draw the loss on unseen tasks against the number of queries, a named dot per encoder with its 95% interval."""
    figure, axes = new_figure(9.5, 6.4)
    styles = looks(trained)
    points = {
        name: (int(group[0]["queries"]), total_variation_estimate(group, "test")) for name, group in trained.items()
    }
    columns = {count: [name for name, (found, _) in points.items() if found == count] for count, _ in points.values()}
    values = np.array([estimate.value for _, estimate in points.values()])
    places = {count: place for place, count in enumerate(sorted(columns))}
    gap = 0.028 * np.log(values.max() / values.min() * 1.6)  # the height of a name
    for count, names in columns.items():
        labels = np.exp(spread(np.log([points[name][1].value for name in names]), gap))
        for number, (name, label) in enumerate(zip(names, labels, strict=True)):
            estimate, place, colour = points[name][1], places[count] + 0.03 * (number % 4), styles[name].colour
            axes.plot([place, place], [estimate.low, estimate.high], color=colour, linewidth=1.6)
            marker = "s" if is_reference(trained[name][0]) else "o"
            axes.scatter([place], [estimate.value], color=colour, s=30, marker=marker, zorder=3)
            _name_point(axes, name.removeprefix("reference: "), (place, estimate.value), (places[count] + 0.2, label))
    axes.set_yscale("log")
    axes.set_xticks(range(len(places)), [f"{count:,}" for count in places])
    axes.set(xlim=(-0.25, len(places) - 0.1), ylim=(values.min() / 1.3, values.max() * 1.3))
    round_log_axis(axes.yaxis, values.min() / 1.3, values.max() * 1.3)
    axes.set(
        xlabel="queries: time steps that a network is run for to embed it (not to scale)",
        ylabel=f"{_LOSS}, test, logarithmic",
    )
    axes.set_title(
        f"{zoo}: emulation loss on unseen tasks and queries\n"
        "(lines: 95% intervals; squares: references; points with equal queries are side by side)"
    )
    finish_axes(axes)
    return figure


def _name_point(axes: Axes, name: str, point: tuple[float, float], place: tuple[float, float]) -> None:
    """Write the name of a point at a place to the right of it, with a thin line between them."""
    line = {"arrowstyle": "-", "color": "#777777", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
    axes.annotate(name, point, place, fontsize=8, va="center", arrowprops=line)


def positions(zoo: str, trained: Mapping[str, Group]) -> Figure:
    """Draw the loss on unseen tasks at every position of the sequence; means over seeds and networks."""
    figure, axes = new_figure(10.5, 5.4)
    styles = looks(trained)
    smallest, largest = np.inf, 0.0
    for name, group in trained.items():
        values = np.mean([result["by_position"]["test"] for result in group], axis=0)
        axes.plot(np.arange(1, len(values) + 1), np.maximum(values, 1e-6), label=name, **styles[name].line)
        smallest, largest = min(smallest, max(values.min(), 1e-6)), max(largest, values.max())
    axes.set_yscale("log")
    round_log_axis(axes.yaxis, smallest / 1.2, largest * 1.2)
    axes.set(xlabel="position in the sequence (time step)", ylabel="total variation, test, logarithmic")
    axes.set(ylim=(smallest / 1.2, largest * 1.2))
    axes.set_title(f"{zoo}: where in the sequence emulators of unseen networks err")
    finish_axes(axes)
    legend_beside(axes, len(trained))
    return figure
