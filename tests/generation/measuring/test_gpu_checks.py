"""Checks and measurements of trainers for GPUs without a GPU: triton in its interpreter, stacked on the CPU."""

from functools import partial

import pytest

pytest.importorskip("triton", reason="triton exists for Linux on x86-64 only")

from rnn_zoos.generation.measuring.gpu_checks import FAMILIES, Sizes, check_gradients, check_training
from rnn_zoos.generation.measuring.gpu_speed import measure_speed, profile, time_updates
from rnn_zoos.generation.measuring.gpu_work import is_wrong
from rnn_zoos.generation.trainers.stacked import StackedTrainer
from rnn_zoos.generation.trainers.triton.trainer import TritonTrainer

STACKED = {"stacked": partial(StackedTrainer, "cpu")}
TINY = [Sizes("rnn", 1, 5, 3, (2,))]


def rows_of(units) -> list[dict]:
    return [row for unit in units for row in unit.work()]


def test_right_trainers_pass_the_checks_and_a_wrong_one_fails():
    class Wrong(StackedTrainer):
        def train(self, family, settings, runs, report):
            for trained in super().train(family, settings, runs, report):
                trained.weights["linear.bias"] *= 1.1
                yield trained

    methods = {"triton": partial(TritonTrainer, "cpu"), **STACKED}
    right = rows_of(check_gradients(methods, TINY, FAMILIES[:1])) + rows_of(check_training(methods, TINY, FAMILIES[:1]))
    assert [row["right"] for row in right] == [True] * 4 and not any(map(is_wrong, right))
    wrong = rows_of(check_training({"wrong": partial(Wrong, "cpu")}, TINY, FAMILIES))
    assert [row["right"] for row in wrong] == [False] * 2 and all(map(is_wrong, wrong))


def test_units_have_different_names():
    sizes = [*TINY, Sizes("gru", 2, 5, 3, (2,))]
    units = [*check_gradients(STACKED, sizes, FAMILIES), *check_training(STACKED, sizes, FAMILIES)]
    units += measure_speed(STACKED, FAMILIES, (1, 2))
    assert len({unit.name for unit in units}) == len(units) == 12


@pytest.mark.long
def test_speed_and_profile_have_rows_for_every_method():
    speed = rows_of(measure_speed(STACKED, FAMILIES, (1, 2), seconds=0))
    shares = rows_of(profile(STACKED, FAMILIES, 1, updates=2))
    assert [(row["zoo"], row["runs"]) for row in speed] == [
        (family.name, runs) for family in FAMILIES for runs in (1, 2)
    ]
    for row in speed:
        extrapolated = row["extrapolated seconds for 20,000 updates"]
        assert extrapolated == pytest.approx(row["runs"] * 20_000 / row["updates/s"])
    assert {row["zoo"] for row in shares} == {family.name for family in FAMILIES}


@pytest.mark.parametrize(("beginning", "each", "most"), [(2.0, 0.0045, 20_000), (0.0, 1.0, 20_000), (0.5, 0.001, 40)])
def test_the_time_of_an_update_is_without_that_of_the_beginning(beginning, each, most, monkeypatch):
    now, asked = 0.0, []

    def train(updates: int) -> None:
        nonlocal now
        now += beginning + each * updates
        asked.append(updates)

    monkeypatch.setattr("time.perf_counter", lambda: now)
    found = time_updates(train, 4.0, most)
    assert found == (pytest.approx(each), pytest.approx(beginning, abs=1e-6), asked[-1])
    assert asked[-1] == most or each * asked[-1] >= 2.0
    assert now < 40
