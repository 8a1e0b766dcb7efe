"""The report of check_gpu.py, as far as it works without a GPU: triton in its interpreter, stacked on the CPU."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest
import torch

pytest.importorskip("triton", reason="triton exists for Linux on x86-64 only")

from conftest import ROOT

from rnn_zoos.generation.measuring.gpu_checks import FAMILIES, Sizes, check_gradients, check_training
from rnn_zoos.generation.measuring.gpu_report import Report, measure_speed, profile
from rnn_zoos.generation.trainers.stacked import StackedTrainer
from rnn_zoos.generation.trainers.triton.trainer import TritonTrainer

STACKED_METHODS = {"stacked": partial(StackedTrainer, "cpu")}
SCRIPT_WITHOUT_PACKAGES = """
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


def test_right_trainers_pass_the_checks_and_a_wrong_one_fails(report, capsys):
    class Wrong(StackedTrainer):
        def train(self, family, settings, runs, report):
            for trained in super().train(family, settings, runs, report):
                trained.weights["linear.bias"] *= 1.1
                yield trained

    methods = {"triton": partial(TritonTrainer, "cpu"), "stacked": partial(StackedTrainer, "cpu")}
    tiny = [Sizes("rnn", 1, 5, 3, (2,))]
    report.section("gradients", check_gradients(methods, tiny, FAMILIES[:1]))
    report.section("training", check_training(methods, tiny, FAMILIES[:1]))
    assert report.close() == 0 and "All results are right." in capsys.readouterr().out
    report.section("wrong", check_training({"wrong": partial(Wrong, "cpu")}, tiny, FAMILIES))
    assert report.close() == 1
    sections = json.loads(report.out.read_text())["sections"]
    assert [row["right"] for name in sections for row in sections[name]] == [True] * 4 + [False] * 2


def test_speed_and_profile_have_rows_for_every_method(report):
    report.section("speed", measure_speed(STACKED_METHODS, (1, 2), seconds=0))
    report.section("profile", profile(STACKED_METHODS, 1, updates=2))
    speed = report.data["sections"]["speed"]
    assert [(row["zoo"], row["runs"]) for row in speed] == [
        (family.name, runs) for family in FAMILIES for runs in (1, 2)
    ]
    for row in speed:
        assert row["seconds for 20,000 updates"] == pytest.approx(row["runs"] * 20_000 / row["updates/s"])
    assert {row["zoo"] for row in report.data["sections"]["profile"]} == {family.name for family in FAMILIES}


def test_failures_are_rows_and_sections_without_time_are_listed(report):
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_script_reports_it_and_it_needs_no_installation():
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT_WITHOUT_PACKAGES], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.startswith("Error: Backend 'triton' needs an NVIDIA GPU"), done.stderr
