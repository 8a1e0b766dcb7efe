"""What the figures of results share: how encoders look, and labels that do not overlap."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_zoos.baselines.benchmark.result_files import Group, is_control, is_reference
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.views.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinguishable with colour-vision deficiencies.
TEST, OOD, CONTROL, REFERENCE = "#4477aa", "#ee6677", "#999999", "#ccbb44"
_ENCODERS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#ccbb44", "#66ccee", "#222222")
_REFERENCES = ("#888888", "#aaaaaa", "#cccccc")
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
_LEGEND_SIZE = 8
MOST_PANELS = 8
"""Panels in a row: with more, their text is too small on a page."""
_FEWEST_TICKS = 4
_LETTER = 0.11  # inches: how wide a letter of a figure's title is, on average


@dataclass(frozen=True)
class Look:
    """How the curve of an encoder is drawn.

    Attributes:
        colour: Colour of line and marker.
        dashes: Line style of matplotlib.
        width: Width of the line.
    """

    colour: str
    dashes: Any
    width: float

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of `plot`."""
        return {"color": self.colour, "linestyle": self.dashes, "linewidth": self.width}


def looks(groups: Mapping[str, Group]) -> dict[str, Look]:
    """Return how each encoder looks: colours and dashes in the order of the groups; references are grey and thick."""
    found, references = {}, 0
    for name, group in groups.items():
        if is_reference(group[0]):
            found[name] = Look(_REFERENCES[references % len(_REFERENCES)], _DASHES[references % len(_DASHES)], 2.6)
            references += 1
        else:
            turn, number = divmod(len(found) - references, len(_ENCODERS))
            found[name] = Look(_ENCODERS[number], _DASHES[turn % len(_DASHES)], 1.4)
    return found


def set_title(figure: Figure, *lines: str) -> None:
    """Set the title of a whole figure; lines that are wider than the figure are broken into parts of similar length."""
    letters = int(figure.get_figwidth() / _LETTER)
    figure.suptitle("\n".join(_broken_evenly(line, letters) for line in lines))


def _broken_evenly(line: str, letters: int) -> str:
    """Break a line at the least width that does not need more lines, so that no short word is left alone."""
    needed = len(textwrap.wrap(line, letters))
    width = next(width for width in range(1, letters + 1) if len(textwrap.wrap(line, width)) == needed)
    return textwrap.fill(line, width)


def broken(name: str) -> str:
    """Return the name of a panel, broken after its prefix and its commas so that it fits."""
    return name.replace(": ", ":\n", 1).replace(", ", ",\n")


def bar_colour(group: Group) -> str:
    """Return the colour of the bar of an encoder, a reference or a control."""
    if is_control(group[0]):
        return CONTROL
    return REFERENCE if is_reference(group[0]) else TEST


def legend_beside(axes: Axes, entries: int) -> None:
    """Add a legend to the right of axes, in one column or in two if there are many entries."""
    columns = 1 if entries <= 26 else 2
    axes.legend(
        loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=_LEGEND_SIZE, ncols=columns,
        handlelength=3.2, labelspacing=0.35,
    )  # fmt: skip


def panels_of_lines(number: int, lines: int, width: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels of horizontal charts, in rows of at most `MOST_PANELS`, each with so many lines."""
    rows = -(-number // MOST_PANELS)
    columns = -(-number // rows)
    size = {"width": 2.8 + width * columns, "height": 1.2 + (0.9 + 0.26 * lines) * rows}
    figure, grid = new_figure(**size, nrows=rows, ncols=columns, sharey=True, squeeze=False)
    for axes in grid.flat[number:]:
        axes.set_visible(False)
    return figure, list(grid.flat[:number])


def name_lines(panels: Sequence[Axes], groups: Mapping[str, Group]) -> None:
    """Name the lines of horizontal charts that share them, the first at the top; a rule ends those of encoders."""
    encoders = sum(not (is_control(group[0]) or is_reference(group[0])) for group in groups.values())
    panels[0].set_yticks(range(len(groups)), list(groups))
    panels[0].set_ylim(len(groups) - 0.4, -0.6)
    for axes in panels:
        if 0 < encoders < len(groups):
            axes.axhline(encoders - 0.5, color="black", linewidth=0.6)


def spread(places: Array, gap: float) -> Array:
    """Return places [N] moved apart so that neighbours are at least `gap` apart, each as near its own as possible.

    Places that are too near each other are put side by side around their mean; then blocks of them, until none overlap.
    """
    order = np.argsort(places)
    blocks = [[float(place)] for place in np.asarray(places)[order]]
    lows = _lows(blocks, gap)
    while (near := _overlapping(blocks, lows, gap)) is not None:
        blocks[near : near + 2] = [blocks[near] + blocks[near + 1]]
        lows = _lows(blocks, gap)
    moved = np.empty(len(order))
    moved[order] = [low + gap * n for low, block in zip(lows, blocks, strict=True) for n in range(len(block))]
    return moved


def _lows(blocks: Sequence[Sequence[float]], gap: float) -> list[float]:
    """Return the lowest place of every block when its places are put side by side around their mean."""
    return [sum(block) / len(block) - gap * (len(block) - 1) / 2 for block in blocks]


def _overlapping(blocks: Sequence[Sequence[float]], lows: Sequence[float], gap: float) -> int | None:
    """Return the number of the first block that is too near the next one, if there is one."""
    for number, (block, (low, following)) in enumerate(zip(blocks, pairwise(lows), strict=False)):
        if following - low < gap * len(block) - 1e-9:
            return number
    return None


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two positive ones, for the ticks of a logarithmic axis; at least 4 if it can be."""
    ticks: list[float] = []
    for digits in ((1, 2, 3, 5, 7), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        numbers = [digit * 10.0**power for power in range(-6, 7) for digit in digits]
        ticks = [number for number in numbers if low <= number <= high]
        if len(ticks) >= _FEWEST_TICKS:
            break
    return ticks


def round_log_axis(axis: Any, low: float, high: float) -> None:  # noqa: ANN401 - matplotlib's axis
    """Label a logarithmic axis with plain round numbers between its ends."""
    ticks = log_ticks(low, high)
    axis.set_ticks(ticks, [f"{tick:,g}" for tick in ticks])
    axis.set_ticks([], minor=True)
