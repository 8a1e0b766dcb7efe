"""Pictures of the benchmark's results, as PNG files, made from its JSON files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_zoos.baselines.benchmark.reading import by_zoo, reading
from rnn_zoos.baselines.downstream.targets import MEASURES, TARGETS
from rnn_zoos.families.formal_languages import LETTERS, FormalLanguages
from rnn_zoos.loaders.views.figures import figure_of, finish, save_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Group = Sequence[Mapping[str, Any]]
_TEST, _OOD, _CONTROL = "#4477aa", "#ee6677", "#999999"  # told apart by all eyes
_MAPS = 4  # encoders whose embeddings are drawn


def draw_results(results: Group, out: Path) -> list[Path]:
    """Draw results into the folder `out`, four figures a zoo, and return the PNGs. Raises StorageError."""
    drawn: dict[str, Figure] = {}
    for zoo, named in by_zoo(results).items():
        encoders = {name: group for name, group in named.items() if "control" not in group[0]}
        ranked = dict(sorted(encoders.items(), key=lambda pair: _emulation(pair[1], "test").mean()))
        controls = {name: group for name, group in named.items() if name not in encoders}
        drawn[f"downstream-{zoo}"] = _downstream(zoo, {**ranked, **controls})
        if ranked:
            drawn[f"emulation-{zoo}"] = _losses(zoo, ranked)
            drawn[f"embeddings-{zoo}"] = _maps(zoo, ranked)
        asking = [group[0] for group in ranked.values() if group[0]["asked"]]
        if asking:
            drawn[f"asked-{zoo}"] = _asked(zoo, asking[0])
    return save_figures(drawn, out, dpi=110)


def _emulation(group: Group, split: str) -> Any:  # noqa: ANN401 - an array [seeds]
    return np.array([result["emulation"][split]["total_variation"] for result in group])


def _losses(zoo: str, ranked: Mapping[str, Group]) -> Figure:
    """One line an encoder, one dot a seed, for unseen tasks of the same kind and for `ood`."""
    figure, axes = figure_of(7, 1.2 + 0.3 * len(ranked))
    for split, colour, shift in (("test", _TEST, -0.12), ("ood", _OOD, 0.12)):
        for place, group in enumerate(ranked.values()):
            values = _emulation(group, split)
            label = f"{split} (line: mean of seeds)" if place == 0 else None
            axes.scatter(values, np.full(len(values), place + shift), color=colour, s=22, alpha=0.7, label=label)
            axes.plot([values.mean()] * 2, [place + shift - 0.13, place + shift + 0.13], color=colour, linewidth=2)
    axes.set_yticks(range(len(ranked)), list(ranked))
    axes.invert_yaxis()
    axes.set(xlabel="total variation a step (less is better)", title=f"{zoo}: emulation of networks of unseen tasks")
    finish(axes, loc="best")
    return figure


def _downstream(zoo: str, named: Mapping[str, Group]) -> Figure:
    """One panel a target, one bar an encoder or control: the mean of seeds, with the mean 95% interval over runs."""
    targets = TARGETS[zoo]
    figure, panels = figure_of(2.1 + 2.1 * len(targets), 1.2 + 0.28 * len(named), ncols=len(targets), sharey=True)
    for axes, (name, target) in zip(panels, targets.items(), strict=True):
        for place, group in enumerate(named.values()):
            told = [reading(result, name) for result in group]
            found = [[one["value"], one["low"], one["high"]] for one in told if one and one["value"] is not None]
            if found:
                value, low, high = np.array(found, dtype=float).mean(axis=0)
                colour = _CONTROL if "control" in group[0] else _TEST
                axes.barh(place, value, color=colour, height=0.7)
                axes.plot([low, high], [place, place], color="black", linewidth=1)
        axes.set(title=name, xlabel=next(iter(MEASURES[target.kind])).replace("_", " "))
        if target.kind == "number":
            axes.set_xlim(-0.1, 1)
        finish(axes)
    panels[0].set_yticks(range(len(named)), list(named))
    panels[0].invert_yaxis()
    figure.suptitle(f"{zoo}: read linearly from frozen embeddings, unseen tasks (grey: controls)")
    return figure


def _maps(zoo: str, ranked: Mapping[str, Group]) -> Figure:
    """One column an encoder: its embeddings of unseen tasks by principal components, in two colourings."""
    shown = dict(list(ranked.items())[:_MAPS])
    figure, panels = figure_of(1.5 + 2.7 * len(shown), 5.6, nrows=2, ncols=len(shown), squeeze=False)
    for column, (name, group) in enumerate(shown.items()):
        told = group[0]["map"]
        places, (one, two) = np.array(told["places"]), told["explained"]
        first = panels[0, column].scatter(*places.T, **_task_colours(zoo, told["task"]), s=8)
        second = panels[1, column].scatter(*places.T, c=told["accuracy"], cmap="viridis", vmin=0, vmax=1, s=8)
        panels[0, column].set_title(name)
        panels[1, column].set_xlabel(f"PC 1 ({one:.0%}); PC 2 ({two:.0%})")
        for axes in panels[:, column]:
            axes.set(xticks=[], yticks=[])
    kind = "language (by m_b, m_c, m_d)" if zoo == FormalLanguages.name else "angle (degrees)"
    bar = figure.colorbar(first, ax=panels[0], label=kind, fraction=0.03)
    if zoo == FormalLanguages.name:
        bar.set_ticks([])
    figure.colorbar(second, ax=panels[1], label="accuracy", fraction=0.03)
    figure.suptitle(f"{zoo}: embeddings of networks of unseen tasks, seed {next(iter(shown.values()))[0]['seed']}")
    return figure


def _task_colours(zoo: str, tasks: Sequence[str]) -> dict[str, Any]:
    """Return how dots are coloured by task: languages stand in order, angles go round."""
    if zoo == FormalLanguages.name:
        return {"c": np.unique(np.array(tasks), return_inverse=True)[1], "cmap": "nipy_spectral"}
    return {"c": [float(task.split()[0]) for task in tasks], "cmap": "twilight_shifted", "vmin": 0, "vmax": 360}


def _asked(zoo: str, result: Mapping[str, Any]) -> Figure:
    """One panel a network: the first sequence of questions, inputs down and steps across."""
    figure, panels = figure_of(3.4 * len(result["asked"]), 3.2, ncols=len(result["asked"]), sharey=True, squeeze=False)
    for axes, told in zip(panels[0], result["asked"], strict=True):
        questions = np.array(told["questions"]).T
        image = axes.imshow(questions, aspect="auto", cmap="viridis", vmin=min(0.0, questions.min()))
        axes.set_title(f"task {told['task']}, step {told['step']:,}\naccuracy {told['accuracy']:.2f}", fontsize=9)
        axes.set_xlabel("step")
        figure.colorbar(image, ax=axes, fraction=0.05)
    languages = zoo == FormalLanguages.name
    if languages:
        panels[0, 0].set_yticks(range(questions.shape[0]), [*LETTERS, "BOS", "EOS"])
    panels[0, 0].set_ylabel("symbol" if languages else "pixel of the tile")
    figure.suptitle(f"{zoo}: what {result['encoder']} probing asks (first of its sequences)")
    return figure
