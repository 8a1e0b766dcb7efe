"""Figures of results: all encoders are in all of them, names do not overlap, files are small."""

import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from synthetic_results import DIGITS, LANGUAGES, MANY, Fake, many_results, synthetic, synthetic_control

from rnn_zoos.baselines.benchmark.figures.draw import _figures_of, draw_results
from rnn_zoos.baselines.benchmark.figures.embeddings import probes
from rnn_zoos.baselines.benchmark.figures.style import looks, set_title, spread
from rnn_zoos.baselines.benchmark.result_files import group_by_zoo, sort_by_loss
from rnn_zoos.baselines.downstream.controls import CONTROLS

KINDS = {
    "downstream", "emulation", "curves", "queries", "positions", "retrieval", "clones", "embeddings", "asked",
    "trajectories",
}  # fmt: skip


def figures_of(zoo: str, results: list[dict]) -> dict:
    return _figures_of(zoo, sort_by_loss(group_by_zoo(results)[zoo]))


def texts(figure) -> str:
    """Return all text of a figure and its subfigures, on one line."""
    return re.sub(r"\s+", " ", " ".join(text.get_text() for text in figure.findobj(Text)))


@pytest.fixture(scope="module", params=[LANGUAGES, DIGITS])
def many(request) -> dict:
    return figures_of(request.param, many_results(request.param))


def test_every_encoder_and_reference_is_named_in_every_figure(many):
    assert set(many) == KINDS
    for kind in KINDS - {"asked"}:
        found = texts(many[kind])
        assert all(re.search(rf"(^|[ :]){fake.name}( |$)", found) for fake in MANY), kind
    for kind in ("downstream", "trajectories"):
        assert all(f"control: {name}" in texts(many[kind]) for name in CONTROLS)
    assert "encoder interactive, seed 0" in texts(many["asked"])


def test_symbols_of_any_family_are_whole_numbers_on_the_axis_of_questions():
    result = synthetic(LANGUAGES, Fake("interactive", 0.02, 88, "queries"))
    labels = {
        zoo: [text.get_text() for text in probes(zoo, result).axes[0].get_yticklabels()]
        for zoo in (LANGUAGES, "automata")
    }
    assert labels == {LANGUAGES: ["a", "b", "c", "d", "BOS", "EOS"], "automata": [*"012345"]}


@pytest.mark.parametrize("kind", ["emulation", "downstream", "retrieval", "queries", "clones", "trajectories"])
def test_no_text_of_a_panel_overlaps_other_text_or_is_cut(many, kind):
    figure = many[kind]
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()
    boxes = [
        Text.get_window_extent(text, renderer)  # that of an annotation contains its line
        for axes in figure.axes
        for text in [axes.title, *axes.texts, *axes.get_yticklabels()]
        if text.get_text() and text.get_visible() and axes.get_visible()
    ]
    assert all(-1 <= box.x0 and box.x1 <= width + 1 and -1 <= box.y0 and box.y1 <= height + 1 for box in boxes)
    for number, box in enumerate(boxes):
        shrunk = box.padded(-1)
        assert not any(shrunk.overlaps(other.padded(-1)) for other in boxes[:number])


@pytest.mark.parametrize("width", [4.1, 7.3, 15])
def test_a_title_is_broken_where_it_is_wider_than_its_figure(width):
    figure = Figure(figsize=(width, 5), layout="constrained")
    set_title(figure, "sequential-mnist, split test: trajectories from early snapshots WITH 95% INTERVALS " * 2, "blue")
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    (title,) = figure.findobj(Text)
    box = title.get_window_extent(figure.canvas.get_renderer())
    assert 0 <= box.x0 and box.x1 <= figure.canvas.get_width_height()[0]
    assert title.get_text().endswith("\nblue") and title.get_text().count("\n") == {4.1: 5, 7.3: 3, 15: 2}[width]


def test_no_line_of_a_broken_title_is_much_shorter_than_the_others():
    figure = Figure(figsize=(7.3, 3))
    set_title(figure, "formal-languages, split test: labels read from embeddings with a predictor, MLP")
    (title,) = figure.findobj(Text)
    first, second = map(len, title.get_text().split("\n"))
    assert abs(first - second) < 15


def test_figures_are_drawn_into_small_files(tmp_path):
    results = [synthetic(LANGUAGES, fake) for fake in MANY[:3]] + [synthetic_control(LANGUAGES, "mean")]
    paths = draw_results(results, tmp_path / "figures")
    assert {path.name for path in paths} == {f"{kind}-{LANGUAGES}.png" for kind in KINDS - {"asked"}}
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG") and 5_000 < path.stat().st_size < 200_000
        with Image.open(path) as image:
            assert min(image.size) > 200


@pytest.mark.parametrize("fake", [Fake("alone", 0.02), Fake("constant", 0.07, 0, "labels")])
def test_a_single_encoder_or_reference_is_drawn(fake, tmp_path):
    assert len(draw_results([synthetic(DIGITS, fake)], tmp_path)) == 9


def test_controls_alone_have_figures_of_their_scores():
    control = synthetic_control(LANGUAGES, "mean")
    assert set(figures_of(LANGUAGES, [control])) == {"downstream", "trajectories"}
    del control["trajectories"]  # as in results that were made before there were such tasks
    assert set(figures_of(LANGUAGES, [control])) == {"downstream"}


def test_undefined_scores_and_intervals_are_left_out(tmp_path):
    result = synthetic(LANGUAGES, Fake("tiny", 0.02))
    undefined = {"value": None, "low": None, "high": None}
    for name in ("test", "ood"):
        result["retrieval"]["task_trained"][name] = {"accuracy": undefined}
    result["downstream"]["strict"]["linear"]["accuracy"]["test"]["r_squared_within_steps"] = undefined
    result["by_run"]["test"]["task"] = ["b-1 c-2 d-3"] * 85
    assert len(draw_results([result], tmp_path)) == 9


def test_seeds_with_different_numbers_of_evaluations_are_drawn():
    results = [synthetic(LANGUAGES, Fake("a", 0.02), seed) for seed in range(2)]
    results[1]["history"] = results[1]["history"][:7]
    (line, *_) = figures_of(LANGUAGES, results)["curves"].axes[0].lines
    assert len(line.get_xdata()) == 7


def test_encoders_look_different():
    results = [result for result in many_results(LANGUAGES, seeds=1) if "encoder" in result]
    found = looks(sort_by_loss(group_by_zoo(results)[LANGUAGES]))
    assert len({(look.colour, str(look.dashes), look.width) for look in found.values()}) == len(MANY)


def test_places_are_moved_apart_by_as_little_as_needed():
    places = np.array([5.0, 0.0, 0.1, 0.2, 9.0])
    moved = spread(places, 1.0)
    assert moved == pytest.approx([5, -0.9, 0.1, 1.1, 9])
    random = np.random.default_rng(0).random(40)
    gaps = np.diff(np.sort(spread(random, 0.05)))
    assert gaps.min() >= 0.05 - 1e-9 and (spread(random, 0.0) == random).all()
    assert (np.argsort(spread(random, 0.05)) == np.argsort(random)).all()
