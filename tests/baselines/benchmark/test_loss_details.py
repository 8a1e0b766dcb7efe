"""Losses by run and by position: means of the losses of single outputs, in agreement with the overall loss."""

import numpy as np
import pytest
import torch

from rnn_zoos.baselines.benchmark.loss_details import by_run, position_losses
from rnn_zoos.baselines.emulation.data import load_data
from rnn_zoos.baselines.emulation.settings import EmulationSettings
from rnn_zoos.baselines.emulation.training import EmulationRun


@pytest.fixture(scope="module")
def run(edited_zoo, tmp_path_factory) -> EmulationRun:
    edits = {
        "runs: 7": "runs: 40",
        "strings: 13": "strings: 3",
        "[0, 2, 11]": "[0, 4]",
        "num_layers: 2": "num_layers: 1",
    }
    data = load_data(edited_zoo("formal-languages", edits))
    settings = EmulationSettings(updates=3, evaluate_every=3, networks=4, hidden=8, layers=1, evaluated_sequences=3)
    return EmulationRun(data, "statistics", 0, settings, tmp_path_factory.mktemp("run"))


@torch.no_grad()
def test_losses_by_position_are_those_of_the_outputs(run):
    data, found = run.data.splits["test"], position_losses(run, "test")
    assert found.shape == (len(data), 41)
    assert found.mean() == pytest.approx(run.losses("test")["total_variation"], rel=1e-5)
    row = len(data) - 1
    behaviour = data.behaviour(torch.tensor([row]), torch.arange(3)[None])
    emulated = run.emulator(run.embedder.embed("test", torch.tensor([row])), behaviour.inputs)
    expected = 0.5 * (emulated.exp() - behaviour.log_probs.exp()).abs().sum(-1)[0].mean(0)
    assert found[row] == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-6)
    assert found.std(axis=0).max() > 0 and found.std(axis=1).max() > 0


def test_losses_of_a_run_are_means_over_its_snapshots():
    losses = np.array([[0.1, 0.3], [0.2, 0.4], [0.5, 0.5], [0.0, 0.2], [0.1, 0.1]])
    table = by_run(losses, np.array([7, 3, 7, 3, 5]), np.array(["x", "y", "x", "y", "z"]))
    assert table["run"] == [3, 5, 7] and table["task"] == ["y", "z", "x"]
    assert table["total_variation"] == pytest.approx([0.2, 0.1, 0.35])


def test_runs_of_a_split_have_their_tasks_and_the_mean_loss(run):
    data = run.data.splits["ood"]
    table = by_run(position_losses(run, "ood"), data.labels("run"), data.labels("task"))
    tasks = dict(zip(data.labels("run").tolist(), data.labels("task").tolist(), strict=True))
    assert dict(zip(table["run"], table["task"], strict=True)) == tasks
    assert np.mean(table["total_variation"]) == pytest.approx(run.losses("ood")["total_variation"], rel=1e-5)
