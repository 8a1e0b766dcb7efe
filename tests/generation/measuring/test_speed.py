"""`rnn-zoos speed` reports consistent numbers; how fast anything is, is not tested."""

import json
import subprocess

import numpy as np
import pytest
import torch
from command import run_command
from conftest import ALL_ZOOS, ROOT, contents

from rnn_zoos import machine
from rnn_zoos.baselines import Encoder
from rnn_zoos.baselines.benchmark.encoder_speed import measure_encoders
from rnn_zoos.errors import StorageError
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.check import check_zoo
from rnn_zoos.generation.measuring import architecture_speed, loading_speed, trainer_speed
from rnn_zoos.generation.measuring.architecture_speed import measure_architectures
from rnn_zoos.generation.measuring.loading_methods import (
    LOADER_METHODS,
    RANDOM_METHODS,
    SPLIT,
    STREAM_METHODS,
    CopiedZoo,
)
from rnn_zoos.generation.measuring.loading_speed import measure_loading
from rnn_zoos.generation.measuring.random_zoo import write_random_zoo
from rnn_zoos.generation.measuring.trainer_speed import measure_generation
from rnn_zoos.generation.trainers.stacked import StackedTrainer
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.machine import commit, describe_machine, update_flop
from rnn_zoos.networks.architecture import Architecture


@pytest.mark.long
def test_every_training_method_has_a_row_with_consistent_numbers(monkeypatch):
    monkeypatch.setattr(trainer_speed, "available_cores", lambda: 1)
    monkeypatch.setattr(trainer_speed, "_MATMUL", 64)
    make = trainer_speed.make_trainer
    monkeypatch.setattr(
        trainer_speed, "make_trainer", lambda name: StackedTrainer("cpu", 3) if name == "stacked" else make(name)
    )
    measured = measure_generation(["loop", "stacked"], 2, 1)
    methods = ["matmul", "bare", "bare, one process a core", "bare, saturated"]
    methods += ["1 of loop", "loop", "loop, saturated", "stacked, 3 runs at once"]
    assert [(row["zoo"], row["way"]) for row in measured["results"]] == [
        (zoo, method) for zoo in ALL_ZOOS for method in methods
    ]
    for zoo in ALL_ZOOS:
        rows = {row["way"]: row for row in measured["results"] if row["zoo"] == zoo}
        for row in rows.values():
            assert row["of matmul"] == pytest.approx(row["updates/s"] / rows["matmul"]["updates/s"])
            assert row["GFLOP/s"] / row["updates/s"] == pytest.approx(
                rows["bare"]["GFLOP/s"] / rows["bare"]["updates/s"]
            )


@pytest.mark.long
def test_every_architecture_has_a_row_and_so_has_their_mixture(monkeypatch):
    monkeypatch.setattr(architecture_speed, "available_cores", lambda: 1)
    monkeypatch.setattr(architecture_speed, "UNITS", (3, 5))
    monkeypatch.setattr(trainer_speed, "_MATMUL", 64)
    *rows, mixture = measure_architectures("automata", "loop", 2, 1)["results"]
    assert [row["network"] for row in rows[:4]] == ["lstm-1x3", "lstm-1x5", "lstm-2x3", "lstm-2x5"] and len(rows) == 18
    assert all(row["updates/s"] > 0 and row["of matmul"] > 0 for row in rows)
    assert mixture["network"] == "all, a run of each" and mixture["of its parts"] > 0


@pytest.mark.long
def test_loading_is_measured_with_every_method_and_leaves_no_files(tmp_path, monkeypatch):
    random, streams = ("load_dataset", "torch_dataset", "numpy memmap"), ("load_dataset, streaming",)
    monkeypatch.setattr(loading_speed, "RANDOM_METHODS", {name: RANDOM_METHODS[name] for name in random})
    monkeypatch.setattr(loading_speed, "STREAM_METHODS", {name: STREAM_METHODS[name] for name in streams})
    measured = measure_loading(None, 8, batch=5, repeats=1, scratch=tmp_path)
    assert [row["way"] for row in measured["results"]] == [*random, *LOADER_METHODS, *streams]
    assert measured["zoo"]["rows"] == 72 and measured["index"].keys() == {"open all splits, s", "filter by accuracy, s"}
    assert all(row["rows/s"] > 0 and row["first pass, s"] > 0 for row in measured["results"])
    base = next(row for row in measured["results"] if row["way"] == "numpy memmap")
    for row in measured["results"]:
        assert row["times memmap"] == pytest.approx(row["rows/s"] / base["rows/s"])
    assert not list(tmp_path.iterdir())
    with pytest.raises(StorageError, match="nowhere is not a directory"):
        measure_loading(None, 8, batch=5, repeats=1, scratch=tmp_path / "nowhere")


def test_every_loading_method_gives_the_same_weights(tmp_path):
    write_random_zoo(tmp_path / "zoo", 6)
    assert check_zoo(tmp_path / "zoo") == []
    source = CopiedZoo(tmp_path / "zoo", tmp_path / "copies")
    source.write_copies()
    index, order = open_zoo(source.zoo).index(SPLIT), [3, 0, 20, 3]
    names = open_zoo(source.zoo).manifest.architecture.parameter_shapes
    expected = np.load(source.copies / "weights.npy")[order]
    for method, open_method in RANDOM_METHODS.items():
        found = open_method(source)(order)
        if method == "load_dataset, labels alone":
            assert found["run"] == index.take(order)["run"].to_pylist()
            continue
        if isinstance(found, list):
            found = {name: np.stack([row[name] for row in found]) for name in names}
        tensors = [found[name] for name in names] if isinstance(found, dict) else [found]
        flat = np.concatenate([np.asarray(tensor).reshape(4, -1) for tensor in tensors], axis=1)
        assert np.array_equal(flat, expected), method


def test_the_flop_of_an_update_agree_with_a_calculation_by_hand():
    """Layers 3 -> 13 -> 13 with 4 gates, readout 13 -> 4: multiply-adds of a step, times 6, 7 steps and 5 sequences."""
    by_hand = 4 * 13 * (3 + 13) + 4 * 13 * (13 + 13) + 13 * 4
    assert update_flop(Architecture("lstm", 2, 3, 13, 4), 5, 7) == 6 * 7 * 5 * by_hand


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_the_commit_is_that_of_the_checkout_or_unknown(tmp_path, monkeypatch):
    """Also below another repository, such as a project with a virtual environment."""
    assert len(commit().removesuffix("+")) == 40 and describe_machine()["commit"] == commit()
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "machine.py"))
    assert commit() == "unknown"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "own.txt").write_text("")
    for words in (["init", "-q"], ["add", "own.txt"], ["commit", "-qm", "own"]):
        subprocess.run([*git, *words], check=True)
    (tmp_path / "machine.py").write_text("")
    assert commit() == "unknown"


def test_every_measured_label_has_a_cost_and_the_zoo_does_not_change(zoo, tmp_path):
    directory = zoo("automata")
    before, out = contents(directory), tmp_path / "labels.json"
    options = ("--runs", 2, "--updates", 3, "--repeats", 1, "--backend", "loop", "--json", out)
    done = run_command("speed", "labels", directory, *options)
    assert done.status == 0 and "labels of automata, preset lstm" in done.out, done.err
    measured = json.loads(out.read_text())
    *rows, everything = measured["results"]
    names = [name for row in rows for name in row["labels"].removesuffix(", and rollouts").split(", ")]
    assert sorted(names) == sorted(task_family("automata").measured_labels)
    assert everything["labels"] == "all labels and rollouts"
    for row in measured["results"]:  # each run has 3 snapshots
        assert row["of training"] == pytest.approx(3 * row["ms per snapshot"] / 1e3 / measured["training"]["s per run"])
    assert measured["training"]["s per run"] == pytest.approx(9 * measured["training"]["ms per update"] / 1e3)
    assert contents(directory) == before


def test_the_share_of_training_counts_the_updates_that_the_runs_have(edited_zoo, tmp_path):
    """Runs whose lengths differ: their own updates count, not those of the longest."""
    one = "snapshots: [0, 2, 11]"
    directory = edited_zoo("formal-languages", {one: f"{one}\n  vary: {{num_updates: [2]}}"})
    out = tmp_path / "labels.json"
    options = ("--runs", 2, "--updates", 3, "--repeats", 1, "--backend", "loop", "--json", out)
    assert run_command("speed", "labels", directory, *options).status == 0
    measured = json.loads(out.read_text())
    for row in measured["results"]:  # each run has 2 updates, and the snapshots 0 and 2
        training = 2 * measured["training"]["ms per update"]
        assert row["of training"] == pytest.approx(2 * row["ms per snapshot"] / training)


class FittedToStack(Encoder):
    """An encoder of a user that is fitted to stacks of networks, not to their weights."""

    def __init__(self, architecture, embedding_size=16) -> None:
        super().__init__(architecture, embedding_size)
        self.out = torch.nn.Linear(architecture.output_size, embedding_size)

    def fit_networks(self, networks, sequences=None) -> None:
        self.mean = networks.weights["linear.bias"].mean()

    def embed(self, weights, stack):
        return self.out(weights["linear.bias"] - self.mean)


def test_encoders_are_fitted_before_they_are_timed():
    *_, row = measure_encoders([f"{__name__}:FittedToStack"], 1, "cpu")
    assert row["update with"].endswith("FittedToStack") and row["ms"] > 0 and row["parameters"] == 7 * 16


def test_encoders_are_compared_with_the_emulator_alone():
    rows = {row["update with"]: row for row in measure_encoders(["statistics", "self-rollout"], 1, "cpu")}
    assert list(rows) == ["matrix products of the emulator", "emulator alone", "statistics", "self-rollout"]
    assert rows["emulator alone"]["times emulator"] == 1 and rows["statistics"]["parameters"] == 32_656
    for row in rows.values():
        assert row["times emulator"] == pytest.approx(row["ms"] / rows["emulator alone"]["ms"])
