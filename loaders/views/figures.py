"""`draw_zoo`: figures of a zoo as PNG files, and helpers for other figures of this project."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rnn_zoos.errors import StorageError
from rnn_zoos.families.family import SPLITS, TaskFamily
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.language_strings import OFFSETS
from rnn_zoos.families.registry import task_family
from rnn_zoos.families.sequential_mnist import OOD_FROM, SequentialMnist
from rnn_zoos.format.columns import require_labels
from rnn_zoos.loaders.zoo import Zoo, open_zoo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.patches import Rectangle

_COLOURS = dict(
    zip(SPLITS, ("#4477aa", "#ccbb44", "#228833", "#ee6677"), strict=True)
)  # distinguishable with colour blindness
_SOFTWARE = "rnn-zoos"  # in the header of every figure
_PNG_HEADER_BYTES = 4096  # the text of a header is within them


def draw_zoo(name_or_dir: str | Path, out: str | Path, revision: str | None = None) -> list[Path]:
    """Draw accuracy against training step, and the final accuracy per task.

    Args:
        name_or_dir: directory of a zoo, or OWNER/NAME of a dataset repository on the Hub.
        out: folder for the figures; it is created if necessary. Figures that were drawn before are replaced, other
            files are not.
        revision: branch, tag or commit hash on the Hub; None is the main branch.

    Returns:
        The paths of accuracy.png and tasks.png.

    Raises:
        FormatError: if the directory or repository is not a zoo.
        IntegrityError: if an index file is missing or damaged.
        HubError: if the Hub denies access, cannot be reached, or lacks the repository or revision.
        StorageError: if the figures cannot be written, or `out` has a file of the same name from elsewhere.

    Example:
        >>> from rnn_zoos.loaders import draw_zoo
        >>> paths = draw_zoo("zoos/formal-languages", "figures")
    """
    return draw_opened(open_zoo(name_or_dir, revision), Path(out))


def draw_opened(zoo: Zoo, out: Path) -> list[Path]:
    """Do the same as `draw_zoo` with an opened zoo."""
    drawn = zoo_figures(zoo)
    for name in drawn:
        _check_replaceable(out / f"{name}.png")
    return save_figures(drawn, out)


def zoo_figures(zoo: Zoo) -> dict[str, Figure]:
    """Return the figures `accuracy` (against training step) and `tasks` (final accuracy per task) of a zoo."""
    require_labels(zoo.manifest, ["accuracy"])
    index = zoo.index()
    last = _last_snapshots(index)
    return {
        "accuracy": _accuracy_against_step(index, zoo.manifest.zoo),
        "tasks": tasks_figure(task_family(zoo.manifest.zoo), last),
    }


def png_bytes(figure: Figure, dpi: int = 120) -> bytes:
    """Return a figure as the content of a PNG file, which names this package as its software."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": _SOFTWARE})
    return buffer.getvalue()


def _check_replaceable(path: Path) -> None:
    """Raise StorageError if a file exists that this package did not draw."""
    try:
        with open(path, "rb") as file:
            if _SOFTWARE.encode() in file.read(_PNG_HEADER_BYTES):
                return
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}. Give another folder.") from error
    raise StorageError(
        f"{path} exists, and this version of rnn-zoos did not draw it. Nothing was changed. Move it, or give another "
        "folder."
    )


def save_figures(drawn: Mapping[str, Figure], out: Path, dpi: int = 120) -> list[Path]:
    """Write figures, name -> figure, as PNG files into the folder `out`; return their paths. Raises StorageError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn.items():
            (out / f"{name}.png").write_bytes(png_bytes(figure, dpi))
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"Figures could not be written to {out}: {reason}. Give another folder.") from error
    return [out / f"{name}.png" for name in drawn]


def new_figure(width: float, height: float, **subplots: Any) -> tuple[Figure, Any]:  # noqa: ANN401 - matplotlib's own
    """Return a figure of this size in inches and its axes, made without pyplot, which would keep it in global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(**subplots)


def _last_snapshots(index: pa.Table) -> list[dict[str, Any]]:
    """Return the index row of the last snapshot of every run."""
    last = {row["run"]: row for row in index.sort_by([("run", "ascending"), ("step", "ascending")]).to_pylist()}
    return list(last.values())


def _accuracy_against_step(index: pa.Table, name: str) -> Figure:
    """Draw one thin line per run and one thick line per split, its mean."""
    figure, axes = new_figure(7, 4.6)
    frame = index.select(["run", "step", "split", "accuracy"]).to_pandas()
    for _, run in frame.groupby("run"):
        axes.plot(run["step"], run["accuracy"], color=_COLOURS[run["split"].iloc[0]], alpha=0.3, linewidth=0.7)
    for split in SPLITS:
        rows = frame[frame["split"] == split]
        if len(rows):
            mean = rows.groupby("step")["accuracy"].mean()
            label = f"{split} ({_count(rows['run'].nunique())})"
            axes.plot(mean.index, mean, color=_COLOURS[split], linewidth=2.5, label=label)
    axes.set_xscale("symlog", linthresh=100)
    steps = sorted(set(frame["step"]))
    axes.set_xticks(steps, [f"{step:,}" for step in steps], rotation=45)
    axes.set_xticks([], minor=True)
    axes.set(xlabel="training step (updates)", ylabel="accuracy", ylim=(-0.02, 1.02))
    axes.set_title(f"{name}: accuracy during training\n(thin: single runs; thick: mean of a split)")
    finish_axes(axes)
    _legend_below(figure)
    return figure


def _count(runs: int) -> str:
    return f"{runs} run" if runs == 1 else f"{runs} runs"


def _legend_below(figure: Figure, handles: Sequence[Any] | None = None) -> None:
    """Add a legend of one row below the axes, where it covers no data."""
    handles = figure.axes[0].get_legend_handles_labels()[0] if handles is None else handles
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)


@singledispatch
def tasks_figure(family: TaskFamily, last: list[dict[str, Any]]) -> Figure:
    """Draw the final accuracy of every run against `family.main_column` of its task, coloured by split.

    Args:
        family: The task family.
        last: Rows of the index, the last snapshot of each run.

    Returns:
        The figure. Other forms are registered per family.
    """
    return _accuracy_against(family, last)


@tasks_figure.register(FormalLanguages)
def _language_grid(_family: FormalLanguages, last: list[dict[str, Any]]) -> Figure:
    """Draw one panel per m_b, with one cell per language: the mean final accuracy of its runs, framed by its split."""
    figure, panels = new_figure(12, 3.2, ncols=len(OFFSETS), sharey=True)
    by_language = defaultdict(list)
    for row in last:
        by_language[row["m_b"], row["m_c"], row["m_d"], row["split"]].append(row["accuracy"])
    for m_b, axes in zip(OFFSETS, panels, strict=True):
        cells = {key[1:]: float(np.mean(values)) for key, values in by_language.items() if key[0] == m_b}
        image = _language_panel(axes, cells)
        axes.set(title=f"$m_b = {m_b}$", xlabel="$m_d$")
    panels[0].set_ylabel("$m_c$")
    figure.suptitle("formal-languages: final accuracy per language (mean over runs; grey: no run; frame: split)")
    figure.colorbar(image, ax=panels, label="final accuracy", fraction=0.02)
    _legend_below(figure, [_frame(0, 0, _COLOURS[split], label=split) for split in SPLITS])
    return figure


def _language_panel(axes: Axes, cells: Mapping[tuple[int, int, str], float]) -> AxesImage:
    """Draw the languages of one m_b; `cells` maps (m_c, m_d, split) to accuracy."""
    grid = np.full((len(OFFSETS), len(OFFSETS)), np.nan)
    for (m_c, m_d, split), accuracy in cells.items():
        x, y = OFFSETS.index(m_d), OFFSETS.index(m_c)
        grid[y, x] = accuracy
        colour = "white" if accuracy < 0.6 else "black"
        axes.text(x, y, f"{accuracy:.2f}", ha="center", va="center", fontsize=6.5, color=colour)
        axes.add_patch(_frame(x, y, _COLOURS[split]))
    axes.set_facecolor("#eeeeee")
    labels = [str(offset) for offset in OFFSETS]
    axes.set_xticks(range(len(OFFSETS)), labels)
    axes.set_yticks(range(len(OFFSETS)), labels)
    return axes.imshow(grid, vmin=0, vmax=1, cmap="viridis")


def _frame(x: int, y: int, colour: str, label: str | None = None) -> Rectangle:
    """Return the frame of the cell at column x and row y of a grid."""
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.45, y - 0.45), 0.9, 0.9, fill=False, edgecolor=colour, linewidth=1.8, label=label)


@tasks_figure.register(SequentialMnist)
def _accuracy_against_angle(family: SequentialMnist, last: list[dict[str, Any]]) -> Figure:
    """Draw one dot per run, coloured by split; the out-of-distribution angles are shaded."""
    figure = _accuracy_against(family, last)
    (axes,) = figure.axes
    axes.axvspan(OOD_FROM, 360, color=_COLOURS["ood"], alpha=0.08, linewidth=0)
    axes.set_xticks(range(0, 361, 45))
    axes.set(xlabel="rotation angle (degrees)", ylabel="final accuracy on validation digits", xlim=(0, 360))
    axes.set_title(f"{family.name}: final accuracy per run\n(shaded: out-of-distribution angles)")
    return figure


def _accuracy_against(family: TaskFamily, last: list[dict[str, Any]]) -> Figure:
    """Draw one dot per run, coloured by split."""
    figure, axes = new_figure(7, 4.6)
    column = family.columns[family.main_column]
    for split in SPLITS:
        rows = [row for row in last if row["split"] == split]
        if rows:
            values, accuracies = [row[family.main_column] for row in rows], [row["accuracy"] for row in rows]
            label = f"{split} ({_count(len(rows))})"
            axes.scatter(values, accuracies, color=_COLOURS[split], label=label, s=28, clip_on=False)
    unit = f" ({column.unit})" if column.unit else ""
    axes.set(xlabel=f"{column.description}{unit}", ylabel="final accuracy", ylim=(0, 1))
    axes.set_title(f"{family.name}: final accuracy per run")
    finish_axes(axes)
    _legend_below(figure)
    return figure


def finish_axes(axes: Axes, **legend: Any) -> None:  # noqa: ANN401 - matplotlib's own
    """Hide the top and right spines, draw a light grid, and add a legend if `legend` arguments are given."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if legend and axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, **legend)
