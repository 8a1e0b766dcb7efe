"""The script for GPUs, as far as it goes without one: triton in its interpreter, stacked on the CPU."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest
import torch

pytest.importorskip("triton", reason="triton is there for Linux on x86-64 alone")

from conftest import ROOT

from rnn_zoos.generation.measuring.gpu_report import (
    FAMILIES,
    Report,
    Sizes,
    check_gradients,
    check_training,
    measure_speed,
    profile,
)
from rnn_zoos.generation.trainers.stacked import StackedTrainer
from rnn_zoos.generation.trainers.triton.trainer import TritonTrainer

STACKED = {"stacked": partial(StackedTrainer, "cpu")}
BARE = """
import sys, runpy
missing = ("pydantic", "yaml", "datasets", "pyarrow", "rich", "typer", "safetensors", "huggingface_hub", "PIL")
sys.modules.update(dict.fromkeys(missing))
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
sys.path = [path for path in sys.path if path]
sys.argv = ["generation/check_gpu.py", *sys.argv[1:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def report(tmp_path) -> Report:
    return Report(600, tmp_path / "gpu.json")


def test_both_trainers_are_found_right_and_a_wrong_one_is_not(report, capsys):
    class Wrong(StackedTrainer):
        def train(self, family, settings, runs, report):
            for trained in super().train(family, settings, runs, report):
                trained.weights["linear.bias"] *= 1.1
                yield trained

    ways = {"triton": partial(TritonTrainer, "cpu"), "stacked": partial(StackedTrainer, "cpu")}
    tiny = [Sizes("rnn", 1, 5, 3, (2,))]
    report.section("gradients", check_gradients(ways, tiny, FAMILIES[:1]))
    report.section("training", check_training(ways, tiny, FAMILIES[:1]))
    assert report.close() == 0 and "All right." in capsys.readouterr().out
    report.section("wrong", check_training({"wrong": partial(Wrong, "cpu")}, tiny, FAMILIES))
    assert report.close() == 1
    sections = json.loads(report.out.read_text())["sections"]
    assert [row["right"] for name in sections for row in sections[name]] == [True] * 4 + [False] * 2


def test_speed_and_profile_have_a_row_for_every_way(report):
    report.section("speed", measure_speed(STACKED, (1, 2), seconds=0))
    report.section("profile", profile(STACKED, 1, updates=2))
    speed = report.data["sections"]["speed"]
    assert [(row["zoo"], row["runs"]) for row in speed] == [
        (family.name, runs) for family in FAMILIES for runs in (1, 2)
    ]
    for row in speed:
        assert row["seconds for 20,000 updates"] == pytest.approx(row["runs"] * 20_000 / row["updates/s"])
    assert {row["zoo"] for row in report.data["sections"]["profile"]} == {family.name for family in FAMILIES}


def test_what_fails_is_a_row_and_what_there_is_no_time_for_is_named(report):
    def fail():
        raise torch.OutOfMemoryError("too little")

    report.section("first", iter([fail, lambda: [{"right": True}]]))
    report.end = 0
    report.section("second", iter([fail]))
    assert report.data["sections"] == {
        "first": [{"failed": "OutOfMemoryError: too little"}, {"right": True}],
        "second": [],
    }
    assert report.data["left out"] == ["second, after 0 rows"] and report.close() == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_script_says_so_and_needs_no_installation():
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", BARE], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("Error: Backend 'triton' needs an NVIDIA GPU"), done.stderr
