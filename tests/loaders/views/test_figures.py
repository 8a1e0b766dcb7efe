import numpy as np
import pytest
from conftest import ZOOS
from PIL import Image

from rnn_zoos.families.sequential_mnist import SequentialMnist
from rnn_zoos.loaders.views import figures
from rnn_zoos.loaders.views.figures import draw_zoo
from rnn_zoos.loaders.zoo import open_zoo


@pytest.mark.parametrize("name", ZOOS)
def test_figures_are_written_and_not_empty(name, zoo, tmp_path):
    paths = draw_zoo(zoo(name), tmp_path / "new" / "figures")
    assert [path.name for path in paths] == ["accuracy.png", "tasks.png"]
    for path in paths:
        with Image.open(path) as picture:
            assert (
                picture.width > 600 and len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50
            )


def test_the_accuracy_figure_has_one_line_per_run_and_one_mean_per_split(zoo):
    index = open_zoo(zoo("formal-languages")).index()
    axes = figures._accuracy_against_step(index, "x").axes[0]
    runs = {row["run"]: [] for row in index.to_pylist()}
    for row in index.to_pylist():
        runs[row["run"]].append(row["accuracy"])
    lines = [list(line.get_ydata()) for line in axes.lines]
    assert all(any(line == pytest.approx(accuracies) for line in lines) for accuracies in runs.values())
    assert len(lines) == len(runs) + len(set(index["split"].to_pylist()))


def test_the_task_figure_shows_the_last_snapshot_of_every_run(zoo):
    index = open_zoo(zoo("sequential-mnist")).index()
    last = figures._last_snapshots(index)
    assert [(row["run"], row["step"]) for row in last] == [(run, 8) for run in range(5)]
    axes = figures.tasks_figure(SequentialMnist(), last).axes[0]
    dots = [tuple(dot) for group in axes.collections for dot in group.get_offsets().tolist()]
    assert sorted(dots) == sorted((row["angle"], row["accuracy"]) for row in last)
