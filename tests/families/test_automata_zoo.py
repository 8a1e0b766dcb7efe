"""A tiny zoo of automata through everything that reads and writes zoos."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import contents, generate_in_process
from old_zoos import InlinePool, remove_labels

from rnn_zoos import load_dataset, load_model
from rnn_zoos.families.named_automata import NAMED, automaton_of
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.tensors import map_tensors
from rnn_zoos.generation import verify
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.publishing.export import export_parquet
from rnn_zoos.generation.writing import relabel as relabelling
from rnn_zoos.generation.writing.relabel import relabel
from rnn_zoos.loaders.views.figures import zoo_figures
from rnn_zoos.loaders.views.sample import sample_network
from rnn_zoos.loaders.zoo import open_zoo


@pytest.fixture(scope="module")
def automata(zoo):
    return zoo("automata")


def test_the_zoo_is_sound_and_reproducible(automata):
    assert [*check_zoo(automata)] == []
    report = verify(automata, runs=2, seed=1)
    assert report.exact and report.findings == []


def test_another_order_of_work_gives_the_same_bytes(automata, tiny_preset, tmp_path):
    """A batch of one shard at a time in any order, and a zoo that grows, end in the same files."""
    generate_in_process(tmp_path / "zoo", make_plan("automata", tiny_preset(), runs=16))
    generate_in_process(tmp_path / "zoo", make_plan("automata", tiny_preset()))
    assert contents(tmp_path / "zoo") == contents(automata)


def test_rows_have_the_automaton_and_networks_that_answer_as_stored(automata):
    rows = load_dataset(str(automata), split="ood", rollouts=True)
    assert {*NAMED} <= {*rows["task"]}
    row = next(row for row in rows if row["task"] == "Tomita 5" and row["step"] == 9)
    assert row["automaton"] == 4 and row["num_states"] == 4
    sequences, log_probs = row["rollouts"]["sequences"], row["rollouts"]["log_probs"]
    assert sequences.shape == (4, 40) and sequences.max() < automaton_of(4).num_symbols
    with torch.no_grad():
        outputs = load_model(row)(torch.eye(4)[sequences.long()])
    assert torch.allclose(outputs.log_softmax(-1), log_probs.float(), atol=1e-3)


def test_labels_can_be_added_to_a_zoo_without_them(automata, tmp_path, monkeypatch):
    monkeypatch.setattr(relabelling, "WorkerPool", InlinePool)
    without = remove_labels(shutil.copytree(automata, tmp_path / "old"), "hard_accuracy", "state_accuracy")
    assert relabel(without).labels == ("hard_accuracy", "state_accuracy")
    index = open_zoo(without).index()
    for name in ("hard_accuracy", "state_accuracy"):
        assert np.array_equal(index[name].to_numpy(), open_zoo(automata).index()[name].to_numpy())


def test_samples_show_the_answers_that_the_automaton_gives(automata):
    title, rows = sample_network(automata, run=7, step=9, count=6)
    assert "parity" in title and len(rows) == 6
    stored = map_tensors(next((automata / "rollouts").glob("ood-00001*")))["sequences"]
    for row, sequence in zip(rows[:4], stored[3 * 2], strict=True):  # run 7 is the third of shard 1, with three steps
        assert row["string"] == "".join(map(str, sequence.tolist()))
    for row in rows:
        ones, right = np.cumsum([int(symbol) for symbol in row["string"]]), 0
        for count, answer in zip(ones, row["answers (+: accepted)"], strict=True):
            right += (answer == "+") == (count % 2 == 0)
        assert (row["wrong"], row["verdict"]) == (40 - right, "right" if right == 40 else "wrong")


def test_figures_show_final_accuracy_against_the_number_of_states(automata):
    figure = zoo_figures(open_zoo(automata))["tasks"]
    last = [row for row in open_zoo(automata).index().to_pylist() if row["step"] == 9]
    dots = [tuple(dot) for group in figure.axes[0].collections for dot in group.get_offsets().tolist()]
    assert sorted(dots) == sorted((row["num_states"], row["accuracy"]) for row in last)


def test_parquet_files_have_the_tables_of_the_automata(automata, tmp_path):
    paths = [path for path in export_parquet(automata, tmp_path / "out") if "/data/ood" in str(path)]
    table = pq.read_table(paths[0], columns=["task", "transitions", "accepting", "automaton"])
    row = next(row for row in table.to_pylist() if row["task"] == "ones modulo 3")
    assert (row["transitions"], row["accepting"], row["automaton"]) == ("0 1 | 1 2 | 2 0", "0", 8)


def test_the_columns_of_a_row_are_those_of_the_family(automata):
    assert open_zoo(automata).index().column_names == [*task_family("automata").columns]
