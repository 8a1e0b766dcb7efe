"""Encoders on zoos of several architectures, and transfer from some architectures to others."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from conftest import generate_in_process
from short_benchmark import shorten_benchmark

from rnn_zoos.baselines.benchmark import presets
from rnn_zoos.baselines.benchmark.figures.draw import draw_results
from rnn_zoos.baselines.benchmark.figures.transfers import transfers
from rnn_zoos.baselines.benchmark.leaderboard import leaderboard
from rnn_zoos.baselines.benchmark.result_files import group_by_zoo, read_results
from rnn_zoos.baselines.benchmark.runner import run_control, run_encoder
from rnn_zoos.baselines.benchmark.transfer_table import transfer_conditions
from rnn_zoos.baselines.downstream.controls import CONTROLS, control_features, controls_of
from rnn_zoos.baselines.downstream.protocols import row_numbers
from rnn_zoos.baselines.downstream.settings import EndToEndSettings
from rnn_zoos.baselines.emulation.data import load_data
from rnn_zoos.baselines.emulation.saved_encoder import read_encoder, save_encoder
from rnn_zoos.baselines.emulation.settings import EmulationSettings
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.baselines.emulation.zoo_embeddings import embed_zoo
from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.baselines.encoders.registry import ENCODERS, encoder_class, make_encoder, usable_encoders
from rnn_zoos.baselines.encoders.weights.statistics import padded_statistics, weight_statistics
from rnn_zoos.errors import EncoderError, FormatError, PlanMismatchError, UnknownNameError
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.mixed_stack import MixedStack
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights
from rnn_zoos.symmetry.signed import SignedPermutation

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny data

PRESET = """\
formal-languages:
  seed: 2
  runs: 66
  runs_per_shard: 9
  architectures:
    - {cell: lstm, num_layers: 1, hidden_size: 5}
    - {cell: gru, num_layers: 2, hidden_size: 4}
    - {cell: rnn, num_layers: 1, hidden_size: 48}
  batch_size: 3
  snapshots: [0, 2]
  learning_rate: {0: 0.01}
  weight_decay: [0.0001]
  evaluation: {strings: 3, rollouts: 4}
"""
OF_OTHERS = ("rotation-bank", "hankel")  # encoders that do not read languages
MIXED = [name for name in ENCODERS if encoder_class(name).mixed and name not in OF_OTHERS]
SMALL = {"interactive": {"hidden": 8, "sequences": 2, "steps": 3}}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    (folder / "mixed.yaml").write_text(PRESET)
    generate_in_process(folder / "zoo", make_plan("formal-languages", str(folder / "mixed.yaml"), backend="native"))
    return folder / "zoo"


def small_run(data, name: str, folder: Path) -> EmulationRun:
    settings = EmulationSettings(updates=2, evaluate_every=2, networks=5, hidden=8, layers=1)
    return EmulationRun(data, name, 0, settings, folder / name, SMALL.get(name))


def test_the_splits_of_a_transfer_have_the_architectures_that_it_says(mixed):
    cells, sizes = (load_data(mixed, transfer=name).splits for name in ("cells", "sizes"))
    for split in ("train", "validation", "test"):
        assert set(cells[split].index["cell"].to_pylist()) == {"lstm"}
        assert set(sizes[split].index["hidden_size"].to_pylist()) <= {4, 5}
    assert set(cells["ood"].index["cell"].to_pylist()) == {"gru", "rnn"}
    assert set(sizes["ood"].index["hidden_size"].to_pylist()) == {48}
    whole = open_zoo(mixed)
    test = {row["run"] for row in whole.index("test").to_pylist()}
    for splits in (cells, sizes):
        found = [set(splits[split].index["run"].to_pylist()) for split in ("test", "ood")]
        assert found[0].isdisjoint(found[1]) and found[0] | found[1] == test
        tasks = [set(splits[split].index["task"].to_pylist()) for split in ("train", "ood")]
        assert tasks[0].isdisjoint(tasks[1]), "neither the task nor the architecture is known"


@pytest.mark.parametrize("transfer", ["cells", None])
def test_the_papers_protocol_tests_no_task_that_it_trains_on(transfer):
    """In a transfer, `ood` has the tasks of `test`, on other architectures."""
    tasks = {"train": "fghif", "validation": "klk", "test": "abcda", "ood": "dabcdb" if transfer else "uvwxux"}
    splits = {
        split: SimpleNamespace(labels=lambda name, of=names: np.array(list(of) if name == "task" else [9] * len(of)))
        for split, names in tasks.items()
    }
    trained, tested = row_numbers(SimpleNamespace(splits=splits, transfer=transfer), "paper")
    named = {split: [tasks[split][row] for row in rows] for split, rows in tested.items()}
    if transfer:
        assert trained["ood"].tolist() == [1, 3] and "".join(tasks["ood"][row] for row in trained["ood"]) == "ac"
        assert named == {"validation": ["k", "l", "k"], "test": ["b", "d"], "ood": ["d", "b", "d", "b"]}
    else:
        assert trained["ood"].tolist() == [0, 2, 4]
        assert named == {"validation": ["k", "l", "k"], "test": list("abcda"), "ood": ["v", "x", "x"]}


def test_some_networks_of_a_split_are_of_an_architecture_that_it_has(mixed):
    split = load_data(mixed).splits["test"]
    first, *others = sorted(set(split.index["architecture"].to_pylist()))
    split.index = split.index.filter(pc.not_equal(split.index["architecture"], first))
    networks = split.some_networks(2)
    assert networks.architecture.name in others and 1 <= networks.num_networks <= 2


def test_a_transfer_that_cannot_be_is_refused(mixed, zoo):
    with pytest.raises(UnknownNameError, match="Unknown transfer 'cell'.*cells"):
        load_data(mixed, transfer="cell")
    with pytest.raises(FormatError, match="needs a zoo of several"):
        load_data(zoo("formal-languages", "gru"), transfer="cells")


@pytest.mark.parametrize("name", MIXED)
def test_a_network_has_the_embedding_that_it_has_without_the_others(name, mixed, tmp_path):
    data = load_data(mixed)
    run = small_run(data, name, tmp_path)
    run.train()
    test = data.splits["test"]
    assert isinstance(test.networks, MixedStack)
    found = run.embedder.embeddings("test")
    assert found.shape == (len(test), 16) and len(found.unique(dim=0)) > len(found) // 2
    with torch.no_grad():
        for row in (0, 1, len(test) - 1):
            weights = open_zoo(mixed).weights(test.index.slice(row, 1).to_pylist()[0])
            alone = NetworkStack(Architecture.of(weights), stack_weights([weights]))
            expected = embeddings_of(run.encoder, alone.weights, alone)[0]
            torch.testing.assert_close(found[row], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [name for name in ENCODERS if not encoder_class(name).mixed])
def test_encoders_of_one_architecture_say_so(name, mixed):
    data = load_data(mixed)
    with pytest.raises(EncoderError, match=f"{name} embeds networks of one architecture; these have 3 .*self-rollout"):
        make_encoder(name, data.architectures)
    with pytest.raises(EncoderError, match="one architecture"):
        make_encoder("rnn_zoos.baselines.encoders.template:MyModule", data.architectures)
    assert set(usable_encoders(data.architectures)) == set(MIXED)
    transferred = load_data(mixed, transfer="cells")
    assert transferred.architecture.name == "lstm-1x5"
    assert name not in usable_encoders(transferred.architectures), "its tests are not of the cell that it is trained on"


@pytest.mark.parametrize("name", ["self-rollout", "neural-graph"])
def test_a_saved_encoder_embeds_zoos_of_other_architectures(name, mixed, zoo, tmp_path):
    run = small_run(load_data(mixed, transfer="cells"), name, tmp_path)
    run.train()
    save_encoder(run, tmp_path / "encoder.safetensors")
    saved = read_encoder(tmp_path / "encoder.safetensors")
    whole = open_zoo(mixed)
    embeddings = embed_zoo(whole, saved)
    index, test = whole.index(), run.data.splits["test"]
    wanted = list(zip(test.index["run"].to_pylist(), test.index["step"].to_pylist(), strict=True))
    rows = [*zip(index["run"].to_pylist(), index["step"].to_pylist(), strict=True)]
    found = embeddings[[rows.index(row) for row in wanted]]
    np.testing.assert_allclose(found, run.embedder.embeddings("test").numpy(), atol=1e-4)
    assert embed_zoo(open_zoo(zoo("formal-languages", "gru")), saved).shape[1] == 16
    with pytest.raises(EncoderError, match="but those of this zoo have"):
        embed_zoo(open_zoo(zoo("automata")), saved)


def test_controls_read_every_architecture(mixed):
    data = load_data(mixed)
    for name in CONTROLS:
        features = control_features(data, name)
        assert {len(data.splits[split]) for split in features} == {len(rows) for rows in features.values()}
    norms, index = control_features(data, "weight norm")["test"][:, 0], data.splits["test"].index
    np.testing.assert_allclose(norms, index["weight_norm"].to_numpy(), rtol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_padded_statistics_are_those_of_each_gate_in_fixed_places(cell, layers):
    architecture = Architecture(cell, layers, 5, 7, 3)
    weights = stack_weights([initial_weights(architecture, 0, run) for run in range(4)])
    padded, plain = padded_statistics(architecture, weights), weight_statistics(architecture, weights)
    assert padded.shape == (4, 7 * (4 * 3 * 4 + 2) + 3 + 2)
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[cell]
    recurrent = padded[:, : 7 * 48].view(4, 3, 4, 4, 7)
    assert torch.equal(recurrent[:, :layers, :, :gates].flatten(1), plain[:, :-14])
    assert torch.equal(padded[:, 7 * 48 : 7 * 50], plain[:, -14:])
    recurrent[:, :layers, :, :gates] = 0
    assert not recurrent.any()
    drawn = SignedPermutation.sample(architecture, 4, generator=torch.Generator().manual_seed(0))
    permuted = SignedPermutation(drawn.orders, SignedPermutation.identity(architecture, 4).signs)
    again = padded_statistics(architecture, permuted.apply(architecture, weights))
    torch.testing.assert_close(again, padded_statistics(architecture, weights), atol=1e-5, rtol=1e-4)
    if layers == 1:
        others = padded_statistics(Architecture(cell, 1, 5, 8, 3), weights_of(Architecture(cell, 1, 5, 8, 3)))
        assert not torch.equal(others[:, -5:], padded_statistics(architecture, weights)[:, -5:])


def weights_of(architecture: Architecture) -> dict[str, torch.Tensor]:
    return stack_weights([initial_weights(architecture, 0, run) for run in range(4)])


def test_padded_statistics_have_no_place_for_a_fourth_layer():
    deep = Architecture("gru", 4, 5, 3, 3)
    with pytest.raises(EncoderError, match="a place for 3 layers; found gru-4x3"):
        padded_statistics(deep, weights_of(deep))
    several = [deep, Architecture("lstm", 2, 5, 3, 3)]
    assert "statistics-padded" not in usable_encoders(several) and "neural-graph" in usable_encoders(several)
    assert set(CONTROLS) - set(controls_of("apart", several)) == {
        name for name in CONTROLS if name.startswith("weight statistics")
    }
    assert controls_of("apart", [deep]) == controls_of("apart", several[1:] * 2) == list(CONTROLS)


def test_results_of_a_transfer_cannot_be_mixed_with_others(mixed, tmp_path, monkeypatch):
    cpu = presets.PRESETS["cpu"]
    settings = replace(cpu.settings["formal-languages"], updates=2, evaluate_every=2, networks=4, hidden=8, layers=1)
    short = presets.Preset({"formal-languages": settings}, EndToEndSettings(updates=2, hidden=5), SMALL)
    shorten_benchmark(monkeypatch, {"cpu": short})
    transferred, plain = (load_data(mixed, transfer=name) for name in ("cells", None))
    path = run_encoder(transferred, "interactive", 0, "cpu", tmp_path / "cells")
    run_control(transferred, "weight statistics", tmp_path / "cells")
    assert json.loads(path.read_text())["transfer"] == "cells"
    text = leaderboard(read_results(tmp_path / "cells"), "strict", "linear", "test", False)
    assert "with networks of cell lstm; `ood` has networks of cell gru or rnn" in text
    assert_table_of_transfer(text, json.loads(path.read_text()))
    with pytest.raises(PlanMismatchError, match="different transfer"):
        run_encoder(plain, "interactive", 0, "cpu", tmp_path / "cells")
    run_control(plain, "mean", tmp_path / "plain")
    assert "Transfer" not in leaderboard(read_results(tmp_path / "plain"), "strict", "linear", "test", False)
    names = {
        kind: {own.name for own in draw_results(read_results(tmp_path / kind), tmp_path / "figures" / kind)}
        for kind in ("cells", "plain")
    }
    assert "transfer-formal-languages.png" in names["cells"] - names["plain"]
    with pytest.raises(FormatError, match="is of another transfer than"):
        read_results(tmp_path)
    assert_score_beyond_the_axis_is_drawn_at_its_edge(read_results(tmp_path / "cells"))


def assert_score_beyond_the_axis_is_drawn_at_its_edge(results: list) -> None:
    [groups] = group_by_zoo(results).values()
    name = "control: weight statistics"
    scores = groups[name][0]["downstream"]["strict"]["linear"]["accuracy"]
    scores["test"]["r_squared"]["value"], scores["ood"]["r_squared"]["value"] = -0.4, -3.0
    panels = {axes.get_title().replace("\n", " "): axes for axes in transfers("formal-languages", groups).axes}
    line = list(groups).index(name)
    marks = {}  # distance from the line -> place, and whether the mark may leave the panel
    for mark in panels["accuracy R²"].collections:
        for place, height in mark.get_offsets().tolist():
            if abs(height - line) < 0.4:
                marks[round(height - line, 2)] = place, not mark.get_clip_on()
    assert marks == {-0.16: (-0.4, False), 0.16: (-0.5, True)}


def assert_table_of_transfer(text: str, result: dict) -> None:
    """Every cell has the score on known architectures, then on others; a control has no emulation."""
    lines = text[
        text.index("Transfer, known architectures → others (`test` → `ood`), predictor linear:") :
    ].splitlines()
    header, _, encoder, control = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:6])
    cells = dict(zip(header, encoder, strict=True))
    losses = [np.mean(result["by_run"][split]["total_variation"]) for split in ("test", "ood")]
    steps = [result["downstream"]["strict"]["linear"]["step"][split]["accuracy"]["value"] for split in ("test", "ood")]
    assert cells["encoder"] == "interactive" and control[:3] == ["control: weight statistics", "", ""]
    assert cells["TV per step"] == "{:.4f} → {:.4f}".format(*losses)
    assert cells["step accuracy"] == "{:.2f} → {:.2f}".format(*steps) and control[header.index("step accuracy")]


@pytest.mark.parametrize(("name", "words"), [("cells", ("cell lstm", "cell gru or rnn")), ("sizes", None)])
def test_a_transfer_is_described_in_words(name, words):
    known, others = transfer_conditions(name)
    assert (known, others) == (words or ("hidden_size at most 32", "hidden_size at least 48"))
