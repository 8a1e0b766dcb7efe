"""What `rnn-zoos speed generation` reports; not how fast anything is."""

from pathlib import Path

import pytest
from conftest import ZOOS

from rnn_zoos.architecture import Architecture
from rnn_zoos.generation import machine, speed
from rnn_zoos.generation.machine import commit, describe_machine, update_flop
from rnn_zoos.generation.speed import measure_generation
from rnn_zoos.generation.stacked import StackedTrainer


def test_every_way_has_a_row_whose_numbers_agree(monkeypatch):
    monkeypatch.setattr(speed, "available_cores", lambda: 1)
    monkeypatch.setattr(speed, "_MATMUL", 64)
    make = speed.make_trainer
    monkeypatch.setattr(
        speed, "make_trainer", lambda name: StackedTrainer("cpu", 3) if name == "stacked" else make(name)
    )
    measured = measure_generation(["loop", "stacked"], 2, 1)
    ways = ["matmul", "bare", "bare, one process a core", "1 of loop", "loop", "stacked, 3 runs at once"]
    assert [(row["zoo"], row["way"]) for row in measured["results"]] == [(zoo, way) for zoo in ZOOS for way in ways]
    for zoo in ZOOS:
        rows = {row["way"]: row for row in measured["results"] if row["zoo"] == zoo}
        for row in rows.values():
            assert row["of matmul"] == pytest.approx(row["updates/s"] / rows["matmul"]["updates/s"])
            assert row["GFLOP/s"] / row["updates/s"] == pytest.approx(
                rows["bare"]["GFLOP/s"] / rows["bare"]["updates/s"]
            )


def test_flop_of_an_update_by_hand():
    """Layers 3 -> 13 -> 13 of 4 gates, readout 13 -> 4: multiply-adds of one step, times 6, 7 steps and 5 sequences."""
    by_hand = 4 * 13 * (3 + 13) + 4 * 13 * (13 + 13) + 13 * 4
    assert update_flop(Architecture("lstm", 2, 3, 13, 4), 5, 7) == 6 * 7 * 5 * by_hand


@pytest.mark.skipif(not (Path(__file__).parents[1] / ".git").exists(), reason="no checkout")
def test_the_commit_is_that_of_the_checkout_and_unknown_elsewhere(tmp_path, monkeypatch):
    assert len(commit().removesuffix("+")) == 40 and describe_machine()["commit"] == commit()
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "machine.py"))
    assert commit() == "unknown"
