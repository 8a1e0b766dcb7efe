"""Pictures of a zoo, as PNG files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rnn_zoos.errors import StorageError
from rnn_zoos.families.family import SPLITS
from rnn_zoos.families.formal_languages import OFFSETS, FormalLanguages
from rnn_zoos.families.sequential_mnist import OOD_FROM
from rnn_zoos.loaders.zoo import open_zoo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

_COLOURS = dict(zip(SPLITS, ("#4477aa", "#ccbb44", "#228833", "#ee6677"), strict=True))  # told apart by all eyes


def draw_zoo(name_or_dir: str | Path, out: Path, revision: str | None = None) -> list[Path]:
    """Draw a zoo into the folder `out` and return the PNGs: accuracy against step, and the tasks' final accuracy."""
    zoo = open_zoo(name_or_dir, revision)
    index = zoo.index()
    last = _last_snapshots(index)
    languages = zoo.manifest.zoo == FormalLanguages.name
    drawn = {
        "accuracy": _accuracy_against_step(index, zoo.manifest.zoo),
        "tasks": _language_grid(last) if languages else _accuracy_against_angle(last),
    }
    return save_figures(drawn, out)


def save_figures(drawn: Mapping[str, Figure], out: Path, dpi: int = 120) -> list[Path]:
    """Write figures, name -> figure, as PNGs into the folder `out`, and return their paths. Raises StorageError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn.items():
            figure.savefig(out / f"{name}.png", dpi=dpi)
    except OSError as error:
        raise StorageError(f"Figures cannot go to {out}: {error.strerror or error}. Give another folder.") from error
    return [out / f"{name}.png" for name in drawn]


def figure_of(width: float, height: float, **subplots: Any) -> tuple[Figure, Any]:  # noqa: ANN401 - matplotlib's own
    """Return a figure without pyplot, which would keep it in global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(**subplots)


def _last_snapshots(index: pa.Table) -> list[dict[str, Any]]:
    """Return the last row of every run."""
    last = {row["run"]: row for row in index.sort_by([("run", "ascending"), ("step", "ascending")]).to_pylist()}
    return list(last.values())


def _accuracy_against_step(index: pa.Table, title: str) -> Figure:
    """One thin line a run, one thick line a split: its mean."""
    figure, axes = figure_of(7, 4.2)
    frame = index.select(["run", "step", "split", "accuracy"]).to_pandas()
    for _, run in frame.groupby("run"):
        axes.plot(run["step"], run["accuracy"], color=_COLOURS[run["split"].iloc[0]], alpha=0.3, linewidth=0.7)
    for split in SPLITS:
        rows = frame[frame["split"] == split]
        if len(rows):
            mean = rows.groupby("step")["accuracy"].mean()
            runs = rows["run"].nunique()
            axes.plot(mean.index, mean, color=_COLOURS[split], linewidth=2.5, label=f"{split} (mean of {runs})")
    axes.set_xscale("symlog", linthresh=100)
    steps = sorted(set(frame["step"]))
    axes.set_xticks(steps, [f"{step:,}" for step in steps], rotation=45)
    axes.set_xticks([], minor=True)
    axes.set(xlabel="updates", ylabel="accuracy", ylim=(-0.02, 1.02), title=f"{title}: accuracy against training step")
    finish(axes, loc="upper left")
    return figure


def _language_grid(last: list[dict[str, Any]]) -> Figure:
    """One panel an m_b, one cell a language: the mean final accuracy of its runs, framed in the colour of its split."""
    figure, panels = figure_of(12, 3.2, ncols=len(OFFSETS), sharey=True)
    runs = defaultdict(list)
    for row in last:
        runs[row["m_b"], row["m_c"], row["m_d"], row["split"]].append(row["accuracy"])
    for m_b, axes in zip(OFFSETS, panels, strict=True):
        grid = np.full((len(OFFSETS), len(OFFSETS)), np.nan)
        for (b, c, d, split), accuracies in runs.items():
            if b == m_b:
                across, down, mean = OFFSETS.index(d), OFFSETS.index(c), float(np.mean(accuracies))
                grid[down, across] = mean
                axes.text(across, down, f"{mean:.2f}", ha="center", va="center", fontsize=6.5,
                          color="white" if mean < 0.6 else "black")  # fmt: skip
                axes.add_patch(_frame(across, down, _COLOURS[split]))
        image = axes.imshow(grid, vmin=0, vmax=1, cmap="viridis")
        axes.set_facecolor("#eeeeee")
        axes.set_xticks(range(len(OFFSETS)), OFFSETS)
        axes.set_yticks(range(len(OFFSETS)), OFFSETS)
        axes.set(title=f"$m_b$ = {m_b}", xlabel="$m_d$")
    panels[0].set_ylabel("$m_c$")
    figure.suptitle("formal-languages: final accuracy of every language (grey: no run; frame: split)")
    figure.colorbar(image, ax=panels, label="final accuracy", fraction=0.02)
    figure.legend(handles=[_frame(0, 0, _COLOURS[split], label=split) for split in SPLITS], loc="outside lower center",
                  ncols=len(SPLITS), frameon=False)  # fmt: skip
    return figure


def _frame(across: int, down: int, colour: str, label: str | None = None) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((across - 0.45, down - 0.45), 0.9, 0.9, fill=False, edgecolor=colour, linewidth=1.8, label=label)


def _accuracy_against_angle(last: list[dict[str, Any]]) -> Figure:
    """One dot a run, coloured by split; the angles that are out of distribution are shaded."""
    figure, axes = figure_of(7, 4.2)
    for split in SPLITS:
        rows = [row for row in last if row["split"] == split]
        if rows:
            angles, accuracies = [row["angle"] for row in rows], [row["accuracy"] for row in rows]
            axes.scatter(angles, accuracies, color=_COLOURS[split], label=f"{split} ({len(rows)})", s=28)
    axes.axvspan(OOD_FROM, 360, color=_COLOURS["ood"], alpha=0.08, linewidth=0)
    axes.set_xticks(range(0, 361, 45))
    axes.set(xlabel="angle (degrees)", ylabel="accuracy on held-out digits", xlim=(0, 360), ylim=(0, 1))
    axes.set_title("sequential-mnist: final accuracy against angle")
    finish(axes, loc="lower center", ncols=4)
    return figure


def finish(axes: Axes, **legend: Any) -> None:  # noqa: ANN401 - matplotlib's own
    """Take away what distracts, and add the legend if there is something in it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, **legend)
