"""Figures of the benchmark, PNG files made from result files alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_zoos.baselines.benchmark.result_files import Group, Result, Selection, group_by_zoo, is_control, score_of
from rnn_zoos.baselines.downstream.targets import TARGETS, measure_title, target_title
from rnn_zoos.families.formal_languages import LETTERS, FormalLanguages
from rnn_zoos.loaders.views.figures import finish_axes, new_figure, save_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TEST, _OOD, _CONTROL = "#4477aa", "#ee6677", "#999999"  # distinguishable with colour-vision deficiencies
_SPLITS = {"test": "test: unseen tasks", "ood": "ood: out-of-distribution tasks"}
_MAP_COLUMNS = 6


def draw_results(results: Sequence[Result], out: Path) -> list[Path]:
    """Draw results into the folder `out`, up to four figures per zoo, and return the PNGs. Raises StorageError.

    `emulation-ZOO`: emulation losses. `downstream-ZOO`: scores of the targets. `embeddings-ZOO`: projected embeddings.
    `asked-ZOO`: probe sequences of interactive probing, if it is among the encoders.
    """
    figures: dict[str, Figure] = {}
    for zoo, groups in group_by_zoo(results).items():
        encoders = {name: group for name, group in groups.items() if not is_control(group[0])}
        ranked = dict(sorted(encoders.items(), key=lambda entry: _total_variations(entry[1], "test").mean()))
        controls = {name: group for name, group in groups.items() if name not in encoders}
        figures[f"downstream-{zoo}"] = _scores(zoo, {**ranked, **controls})
        if ranked:
            figures[f"emulation-{zoo}"] = _losses(zoo, ranked)
            figures[f"embeddings-{zoo}"] = _embeddings(zoo, ranked)
        probing = [group[0] for group in ranked.values() if group[0]["asked"]]
        if probing:
            figures[f"asked-{zoo}"] = _probes(zoo, probing[0])
    return save_figures(figures, out, dpi=110)


def _total_variations(group: Group, split: str) -> Any:  # noqa: ANN401 - an array [seeds]
    return np.array([result["emulation"][split]["total_variation"] for result in group])


def _losses(zoo: str, ranked: Mapping[str, Group]) -> Figure:
    """Draw a line per encoder, with a dot per seed for each split."""
    figure, axes = new_figure(8, 1.5 + 0.3 * len(ranked))
    for split, colour, shift in (("test", _TEST, -0.14), ("ood", _OOD, 0.14)):
        for line, group in enumerate(ranked.values()):
            values, label = _total_variations(group, split), _SPLITS[split] if line == 0 else None
            axes.scatter(values, np.full(len(values), line + shift), color=colour, s=22, alpha=0.7, label=label)
            axes.plot([values.mean()] * 2, [line + shift - 0.13, line + shift + 0.13], color=colour, linewidth=2)
    axes.set_yticks(range(len(ranked)), list(ranked))
    axes.invert_yaxis()
    axes.set(xlabel="total variation per step (lower is better)")
    axes.set_title(f"{zoo}: emulation loss (dots: seeds, bars: mean over seeds)")
    finish_axes(axes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _scores(zoo: str, groups: Mapping[str, Group]) -> Figure:
    """Draw a panel per target, with a bar per encoder and control: the mean over seeds of value and interval."""
    targets = TARGETS[zoo]
    figure, panels = new_figure(2.6 + 2.1 * len(targets), 1.6 + 0.28 * len(groups), ncols=len(targets), sharey=True)
    for axes, (name, target) in zip(panels, targets.items(), strict=True):
        for line, group in enumerate(groups.values()):
            scores = [score_of(result, name, Selection()) for result in group]
            defined = [[s["value"], s["low"], s["high"]] for s in scores if s and s["value"] is not None]
            if defined:
                value, low, high = np.array(defined, dtype=float).mean(axis=0)
                axes.barh(line, value, color=_CONTROL if is_control(group[0]) else _TEST, height=0.7)
                axes.plot([low, high], [line, line], color="black", linewidth=1)
        better = "lower" if target.kind == "angle" else "higher"
        axes.set(title=target_title(name), xlabel=f"{measure_title(target)}\n({better} is better)")
        if target.kind == "number":
            axes.set(xlim=(-0.1, 1), xlabel=f"{measure_title(target)}, from -0.1\n({better} is better)")
        axes.set_axisbelow(True)
        finish_axes(axes)
    panels[0].set_yticks(range(len(groups)), list(groups))
    panels[0].set_ylim(len(groups) - 0.4, -0.6)
    figure.suptitle(
        f"{zoo}, split test: scores of linear predictors (of boosted trees where named), with 95% intervals over runs\n"
        "blue: frozen embeddings of encoders; grey: controls"
    )
    return figure


def _embeddings(zoo: str, ranked: Mapping[str, Group]) -> Figure:
    """Draw the embeddings of all encoders twice: coloured by task and by accuracy."""
    from matplotlib.figure import Figure

    lines = -(-len(ranked) // _MAP_COLUMNS)
    columns = -(-len(ranked) // lines)
    figure = Figure(figsize=(1.5 + 2.1 * columns, 1 + 2 * (0.4 + 2.4 * lines)), layout="constrained")
    seed = next(iter(ranked.values()))[0]["seed"]
    figure.suptitle(f"{zoo}: embeddings of networks of unseen tasks (test), two principal components, seed {seed}")
    upper, lower = figure.subfigures(nrows=2, squeeze=False)[:, 0]
    maps = {name: group[0]["map"] for name, group in ranked.items()}
    languages = zoo == FormalLanguages.name
    bar = _draw_maps(upper.subplots(lines, columns, squeeze=False), maps, lambda content: _task_colours(zoo, content))
    bar.set_label("language (ordered by m_b, m_c, m_d)" if languages else "angle (degrees)")
    upper.suptitle(f"coloured by {'language' if languages else 'angle'}", fontsize=11)
    if languages:
        bar.set_ticks([])
    bar = _draw_maps(lower.subplots(lines, columns, squeeze=False), maps, _accuracy_colours)
    bar.set_label("accuracy")
    lower.suptitle("coloured by accuracy", fontsize=11)
    return figure


def _draw_maps(
    panels: Any,  # noqa: ANN401 - an array of matplotlib's axes
    maps: Mapping[str, Any],
    colours: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> Any:  # noqa: ANN401
    """Draw name -> map, a panel each, and return the colour bar; `colours` returns arguments of `scatter`."""
    for axes in panels.flat[len(maps) :]:
        axes.set_visible(False)
    for axes, (name, content) in zip(panels.flat, maps.items(), strict=False):
        dots = axes.scatter(*np.array(content["places"]).T, **colours(content), s=6)
        axes.set_title(name.replace(", ", ",\n"), fontsize=9)
        axes.set(xticks=[], yticks=[])
        first, second = content["explained"]
        axes.set_xlabel(f"PC 1 ({first:.0%}), PC 2 ({second:.0%})", fontsize=7)
    return panels[0, 0].figure.colorbar(dots, ax=panels, fraction=0.02)


def _accuracy_colours(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"c": content["accuracy"], "cmap": "viridis", "vmin": 0, "vmax": 1}


def _task_colours(zoo: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `scatter` that colour points by task: languages in order, angles on a circle."""
    if zoo == FormalLanguages.name:
        offsets = [[int(word[1:]) for word in task.split()] for task in content["task"]]
        return {"c": np.unique(offsets, axis=0, return_inverse=True)[1].ravel(), "cmap": "nipy_spectral"}
    return {"c": [_degrees(task) for task in content["task"]], "cmap": "twilight_shifted", "vmin": 0, "vmax": 360}


def _degrees(task: str) -> float:
    """Return the angle of a task such as "312.25 degrees"."""
    return float(task.split()[0])


def _probes(zoo: str, result: Result) -> Figure:
    """Draw a panel per network: the first probe sequence, inputs down and time steps across."""
    languages = zoo == FormalLanguages.name
    examples = result["asked"]
    figure, panels = new_figure(3.6 * len(examples), 3.6, ncols=len(examples), sharey=True, squeeze=False)
    low = min(0.0, *(np.min(example["questions"]) for example in examples))
    high = max(np.max(example["questions"]) for example in examples)
    for axes, example in zip(panels[0], examples, strict=True):
        probes = np.array(example["questions"]).T
        image = axes.imshow(probes, aspect="auto", cmap="viridis", vmin=low, vmax=high)
        trained = f"step {example['step']:,}, accuracy {example['accuracy']:.2f}"
        task = example["task"] if languages else f"{_degrees(example['task']):.0f} degrees"
        axes.set_title(f"task {task}\n{trained}", fontsize=9)
        axes.set_xlabel("time step")
    if languages:
        symbols = [*LETTERS, "BOS", "EOS"]
        panels[0, 0].set_yticks(range(len(symbols)), symbols)
    panels[0, 0].set_ylabel("symbol" if languages else "pixel of the tile")
    figure.colorbar(image, ax=panels, label="probability" if languages else "pixel value", fraction=0.03)
    encoder = f"{result['encoder']}, seed {result['seed']}"
    figure.suptitle(
        f"{zoo}: first probe sequence that the encoder {encoder}, feeds to each of {len(examples)} networks"
    )
    return figure
