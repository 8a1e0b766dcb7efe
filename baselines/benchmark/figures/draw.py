"""Figures of the benchmark, PNG files made from result files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnn_zoos.baselines.benchmark.figures.embeddings import embeddings, probes
from rnn_zoos.baselines.benchmark.figures.losses import curves, losses, positions, queries
from rnn_zoos.baselines.benchmark.figures.scores import clones, retrieval, scores
from rnn_zoos.baselines.benchmark.figures.trajectories import trajectories
from rnn_zoos.baselines.benchmark.figures.transfers import transfers
from rnn_zoos.baselines.benchmark.result_files import Group, Result, group_by_zoo, is_control, sort_by_loss
from rnn_zoos.baselines.benchmark.trajectory_table import with_trajectories
from rnn_zoos.baselines.downstream.targets import task_targets
from rnn_zoos.loaders.views.figures import save_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TRAINED = {
    "emulation": losses,
    "curves": curves,
    "queries": queries,
    "positions": positions,
    "retrieval": retrieval,
    "clones": clones,
    "embeddings": embeddings,
}


def draw_results(results: Sequence[Result], out: Path) -> list[Path]:
    """Draw results into the folder `out`, up to eleven figures per zoo, and return the PNGs. Raises StorageError.

    All encoders and references are in all figures:

    - `emulation-ZOO`: emulation losses with intervals.
    - `curves-ZOO`: validation losses during training, at equal updates and at equal time.
    - `queries-ZOO`: emulation losses against queries.
    - `positions-ZOO`: emulation losses by position in the sequence.
    - `retrieval-ZOO`: whether the nearest embedding is of a network of the same task, where tasks are a target.
    - `clones-ZOO`: accuracies of clones against those of their networks.
    - `embeddings-ZOO`: projected embeddings.
    - `downstream-ZOO`: scores of the targets, also of controls.
    - `trajectories-ZOO`: scores of trajectory tasks, also of controls, if results have them.
    - `transfer-ZOO`: scores on architectures that were trained on and on others, for results of a transfer.
    - `asked-ZOO`: probe sequences of the best encoder that stored them, if there is one.
    """
    figures: dict[str, Figure] = {}
    for zoo, groups in group_by_zoo(results).items():
        for kind, figure in _figures_of(zoo, sort_by_loss(groups)).items():
            figures[f"{kind}-{zoo}"] = figure
    paths = save_figures(figures, out, dpi=110)
    for path in paths:
        _reduce_colours(path)
    return paths


def _reduce_colours(path: Path) -> None:
    """Rewrite a PNG with 256 colours, a third of its size: thousands of soft dots have no use for more."""
    from PIL import Image

    with Image.open(path) as image:
        method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
        reduced = image.convert("RGB").quantize(256, method=method, kmeans=3, dither=dither)
    reduced.save(path, optimize=True)


def _figures_of(zoo: str, groups: Mapping[str, Group]) -> dict[str, Figure]:
    """Return the figures of a zoo by the first part of their names."""
    trained = {name: group for name, group in groups.items() if not is_control(group[0])}
    figures = {"downstream": scores(zoo, groups)}
    if trained:
        kinds = _TRAINED if task_targets(zoo) else {kind: _TRAINED[kind] for kind in _TRAINED if kind != "retrieval"}
        figures |= {kind: draw(zoo, trained) for kind, draw in kinds.items()}
    drawn = trajectories(zoo, with_trajectories(groups))
    if drawn is not None:
        figures["trajectories"] = drawn
    transferred = transfers(zoo, groups)
    if transferred is not None:
        figures["transfer"] = transferred
    asked = [group[0] for group in trained.values() if group[0].get("asked")]
    if asked:
        figures["asked"] = probes(zoo, asked[0])
    return figures
