"""The figure baselines/results/interrogation.png: how many queries interaction saves. Drawn by `draw_interrogation`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnn_zoos.baselines.interrogation.theory import compare, gap_family, independent_family
from rnn_zoos.format.files import Array
from rnn_zoos.loaders.views.figures import finish_axes, new_figure, save_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RED, _BLUE, _GREEN, _GREY = "#ee6677", "#4477aa", "#228833", "#777777"
_SEARCHED, _PROVED = range(1, 7), range(7, 11)  # depths of gap families; the exact search takes too long for more
_SIZES, _FAMILIES = range(2, 17, 2), 20  # of random families
_INPUTS = 12


def draw_interrogation(out: Path) -> Path:
    """Draw how many queries interaction saves into the folder `out`; return the PNG. Raises StorageError."""
    figure, (gap, random) = new_figure(11.5, 4.6, ncols=2)
    _draw_gap_families(gap)
    _draw_random_families(random)
    return save_figures({"interrogation": figure}, out)[0]


def _draw_gap_families(axes: Axes) -> None:
    """Plot queries against the depth of a gap family: by exact search where that is feasible, else as proved."""
    found = [compare(gap_family(depth)) for depth in _SEARCHED]
    axes.plot(_SEARCHED, [each.non_interactive for each in found], "o-", color=_RED, label="non-interactive")
    axes.plot(_SEARCHED, [each.interactive for each in found], "o-", color=_BLUE, label="interactive, worst case")
    axes.plot(_PROVED, [2**n - 1 for n in _PROVED], "o--", c=_RED, mfc="white", label="$2^n - 1$: proved, not searched")
    axes.plot(_PROVED, _PROVED, "o--", c=_BLUE, mfc="white", label="$n$: proved, not searched")
    axes.set_yscale("log", base=2)
    axes.set(xlabel="$n$ (family of $2^n$ functions)", ylabel="queries", title="Gap families")
    finish_axes(axes, loc="upper left")


def _draw_random_families(axes: Axes) -> None:
    """Plot the mean queries of random families against the number of their functions."""
    groups = [[compare(family) for family in families] for families in _random_families()]

    def means(field: str) -> list[float]:
        return [float(np.mean([getattr(each, field) for each in group])) for group in groups]

    axes.plot(_SIZES, means("non_interactive"), "o-", color=_RED, label="non-interactive")
    axes.plot(_SIZES, means("interactive"), "o-", color=_BLUE, label="interactive, worst case")
    axes.plot(_SIZES, means("mean"), "s-", color=_GREEN, label="interactive, mean over functions")
    axes.plot(_SIZES, means("least"), ":", color=_GREY, label=r"$\lceil\log_2 F\rceil$: lower bound on the worst case")
    axes.set(xlabel="$F$, number of functions", ylabel=f"queries, mean over {_FAMILIES} families", xticks=_SIZES)
    axes.set(ylim=(0, None), title=f"Random families: 1 at up to 2 of {_INPUTS} inputs, else 0")
    finish_axes(axes, loc="lower right")


def _random_families() -> list[list[Array]]:
    """Return for each size some families [F, X], drawn from all functions that are 1 at up to 2 inputs."""
    random = np.random.default_rng(0)
    functions = [row for row in independent_family([2] * _INPUTS) if row.sum() <= 2]
    return [[random.choice(functions, size, replace=False) for _ in range(_FAMILIES)] for size in _SIZES]
