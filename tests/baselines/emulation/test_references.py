"""References read labels in place of weights, and are trained and evaluated like encoders."""

import numpy as np
import pytest
import torch
from conftest import ZOOS

from rnn_zoos.baselines.emulation.data import load_data
from rnn_zoos.baselines.emulation.references import REFERENCES
from rnn_zoos.baselines.emulation.settings import EmulationSettings
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.errors import EncoderError, PresetError

SETTINGS = EmulationSettings(updates=4, evaluate_every=4, networks=5, hidden=12, layers=1)


@pytest.fixture(scope="module")
def data(edited_zoo):
    return lambda name: load_data(edited_zoo(name, {"runs: 7": "runs: 16", "runs: 5": "runs: 12"}))


@pytest.mark.parametrize("zoo", ZOOS)
@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_knows_its_labels_and_nothing_else(name, zoo, data, tmp_path):
    run = EmulationRun(data(zoo), name, 0, SETTINGS, tmp_path)
    rows = run.data.splits["train"]
    run.train()
    embeddings = run.embedder.embeddings("train")
    known = [np.unique(rows.labels(column), return_inverse=True)[1] for column in REFERENCES[name]]
    groups = np.unique(np.stack([*known, np.zeros(len(rows))]), axis=1, return_inverse=True)[1].ravel()
    for group in range(groups.max() + 1):
        same = embeddings[torch.from_numpy(groups == group)]
        assert torch.allclose(same, same[:1].expand_as(same), atol=1e-6)
    first = torch.stack([embeddings[int(np.flatnonzero(groups == group)[0])] for group in range(groups.max() + 1)])
    apart = torch.cdist(first, first) + torch.eye(len(first))
    assert apart.min() > 1e-4, "different labels have different embeddings"
    assert run.encoder.num_queries == 0 and 0 < run.losses("test")["total_variation"] < 1


def test_weights_alone_do_not_tell_labels(data, tmp_path):
    run = EmulationRun(data("formal-languages"), "step-known", 0, SETTINGS, tmp_path)
    with pytest.raises(EncoderError, match="reads the labels"):
        run.encoder(run.data.splits["train"].weights, run.data.splits["train"].stack(torch.arange(3)))


def test_the_emulator_starts_the_same_with_every_encoder(data, tmp_path):
    zoo = data("formal-languages")
    runs = [EmulationRun(zoo, name, 3, SETTINGS, tmp_path / name) for name in ("constant", "flat", "interactive")]
    for run in runs[1:]:
        for name, tensor in run.emulator.state_dict().items():
            assert torch.equal(tensor, runs[0].emulator.state_dict()[name])
    other = EmulationRun(zoo, "constant", 4, SETTINGS, tmp_path / "other")
    assert not torch.equal(other.emulator.out.weight, runs[0].emulator.out.weight)


def test_a_training_on_few_runs_sees_only_these(data, tmp_path):
    from dataclasses import replace

    zoo = data("formal-languages")
    run = EmulationRun(zoo, "statistics", 0, replace(SETTINGS, training_runs=2), tmp_path)
    runs = zoo.splits["train"].labels("run")
    seen = np.unique(runs[run.training_rows.numpy()])
    assert seen.tolist() == np.unique(runs)[:2].tolist()
    assert len(run.training_rows) == int(np.isin(runs, seen).sum()) < len(runs)
    run.train()
    for wrong, error in ((999, EncoderError), (-1, PresetError)):
        with pytest.raises(error, match=f"training_runs is {wrong}"):
            EmulationRun(zoo, "statistics", 0, replace(SETTINGS, training_runs=wrong), tmp_path / "many")
