"""Figures of embeddings, projected on two components, and of the sequences that probing feeds to networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_zoos.baselines.benchmark.figures.style import broken
from rnn_zoos.baselines.benchmark.result_files import Group, Result
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.language_strings import LETTERS
from rnn_zoos.families.sequential_mnist import SequentialMnist
from rnn_zoos.loaders.views.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 8
_TASK_LABELS = {
    FormalLanguages.name: ("language (ordered by m_b, m_c, m_d)", "language"),
    SequentialMnist.name: ("angle (degrees)", "angle"),
}


def embeddings(zoo: str, trained: Mapping[str, Group]) -> Figure:
    """Draw the embeddings of all encoders twice: coloured by task and by accuracy."""
    from matplotlib.figure import Figure

    lines = -(-len(trained) // _COLUMNS)
    columns = -(-len(trained) // lines)
    figure = Figure(figsize=(1.5 + 1.9 * columns, 1 + 2 * (0.4 + 2.15 * lines)), layout="constrained")
    seed = next(iter(trained.values()))[0]["seed"]
    figure.suptitle(f"{zoo}: embeddings of networks of unseen tasks (test), two principal components, seed {seed}")
    upper, lower = figure.subfigures(nrows=2, squeeze=False)[:, 0]
    maps = {name: group[0]["map"] for name, group in trained.items()}
    bar = _draw_maps(upper.subplots(lines, columns, squeeze=False), maps, lambda content: _task_colours(zoo, content))
    label, title = _TASK_LABELS.get(zoo, ("task", "task"))
    bar.set_label(label)
    upper.suptitle(f"coloured by {title}", fontsize=11)
    if zoo != SequentialMnist.name:
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
        axes.set_title(broken(name), fontsize=8)
        axes.set(xticks=[], yticks=[])
        first, second = content["explained"]
        axes.set_xlabel(f"PC 1 ({first:.0%}), PC 2 ({second:.0%})", fontsize=7)
    return panels[0, 0].figure.colorbar(dots, ax=panels, fraction=0.02)


def _accuracy_colours(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"c": content["accuracy"], "cmap": "viridis", "vmin": 0, "vmax": 1}


def _task_colours(zoo: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `scatter` that colour points by task: languages in order, angles on a circle."""
    tasks = [content["tasks"][number] for number in content["task"]]
    if zoo == FormalLanguages.name:
        offsets = [[int(word[1:]) for word in task.split()] for task in tasks]
        return {"c": np.unique(offsets, axis=0, return_inverse=True)[1].ravel(), "cmap": "nipy_spectral"}
    if zoo != SequentialMnist.name:
        return {"c": np.unique(tasks, return_inverse=True)[1], "cmap": "nipy_spectral"}
    return {"c": [_degrees(task) for task in tasks], "cmap": "twilight_shifted", "vmin": 0, "vmax": 360}


def _degrees(task: str) -> float:
    """Return the angle of a task such as "312.25 degrees"."""
    return float(task.split()[0])


def probes(zoo: str, result: Result) -> Figure:
    """Draw a panel per network: the first probe sequence, inputs down and time steps across."""
    languages, digits = zoo == FormalLanguages.name, zoo == SequentialMnist.name
    examples = result["asked"]
    figure, panels = new_figure(3.6 * len(examples), 3.6, ncols=len(examples), sharey=True, squeeze=False)
    low = min(0.0, *(np.min(example["questions"]) for example in examples))
    high = max(np.max(example["questions"]) for example in examples)
    for axes, example in zip(panels[0], examples, strict=True):
        questions = np.array(example["questions"]).T
        image = axes.imshow(questions, aspect="auto", cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
        trained = f"step {example['step']:,}, accuracy {example['accuracy']:.2f}"
        task = f"{_degrees(example['task']):.0f} degrees" if digits else example["task"]
        axes.set_title(f"task {task}\n{trained}", fontsize=9)
        axes.set_xlabel("time step")
    if not digits:
        symbols = [*LETTERS, "BOS", "EOS"] if languages else [str(symbol) for symbol in range(len(questions))]
        panels[0, 0].set_yticks(range(len(symbols)), symbols)
    panels[0, 0].set_ylabel("pixel of the tile" if digits else "symbol")
    figure.colorbar(image, ax=panels, label="pixel value" if digits else "probability", fraction=0.03)
    encoder = f"encoder {result['encoder']}, seed {result['seed']},"
    figure.suptitle(f"{zoo}: first probe sequence that the {encoder} feeds to each of {len(examples)} networks")
    return figure
