"""The command `rnn-zoos benchmark`: which results it makes by default, and how it compares them with others."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from command import Finished, run_command
from torch import nn

from rnn_zoos import open_zoo
from rnn_zoos.baselines.benchmark import comparable, presets, schedule
from rnn_zoos.baselines.benchmark.schedule import BenchmarkWork, Job
from rnn_zoos.baselines.downstream.controls import CONTROLS
from rnn_zoos.baselines.downstream.protocols import EVALUATED_SPLITS
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.baselines.emulation.references import REFERENCES
from rnn_zoos.baselines.encoders.registry import usable_encoders

OWN = f"{__name__}:Own"
SHARED = {
    "settings": {"updates": 1},
    "zoo": {"name": "formal-languages", "preset": "medium", "sha256": "ab" * 32},
    "by_run": {split: {"run": [4], "task": ["t"]} for split in EVALUATED_SPLITS},
}


class Own(nn.Module):
    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.map = nn.Linear(6, embedding_size)

    def forward(self, weights):
        return self.map(weights["linear.bias"])


class TooWide(Own):
    def __init__(self) -> None:
        super().__init__(17)


@pytest.fixture
def made(zoo, monkeypatch, tmp_path) -> list[Job]:
    """Replace training by writing small files; return the jobs of the command."""
    jobs = []

    def make(benchmark: BenchmarkWork, asked, workers, finished, progress) -> None:
        for job in asked:
            jobs.append(job)
            path = tmp_path / f"{len(jobs)}.json"
            information = "labels" if job.name in REFERENCES else "weights"
            path.write_text(json.dumps({"encoder": job.name, "seed": job.seed, "information": information}))
            finished(job, path)

    monkeypatch.setattr(schedule, "make_results", make)
    opened = ZooData(open_zoo(zoo("formal-languages")), {})
    monkeypatch.setattr(schedule, "load_data", lambda *arguments: opened)
    apart = {**SHARED, "biases": "apart"}
    monkeypatch.setattr(comparable, "shared_entries", lambda data, preset: {**apart, "preset": preset})
    monkeypatch.setattr(presets, "PRESETS", {name: presets.PRESETS["cpu"] for name in ("quick", "cpu")})
    monkeypatch.setattr(comparable, "STORED", tmp_path / "nowhere")
    return jobs


def benchmark(*arguments: object) -> Finished:
    return run_command("benchmark", "--zoo", "zoo", "--out", "out", *arguments)


def encoders_of(jobs: list[Job]) -> list[tuple[str, int | None]]:
    return [(job.name, job.seed) for job in jobs if job.seed is not None]


def test_quick_trains_one_seed_without_controls_and_other_presets_three_with_them(made, zoo):
    assert benchmark("--encoder", OWN, "--preset", "quick").status == 0
    assert made == [Job(OWN, 0)]
    made.clear()
    assert benchmark("--encoder", OWN, "--encoder", "flat").status == 0
    assert encoders_of(made) == [(name, seed) for seed in range(3) for name in (OWN, "flat", *REFERENCES)]
    assert {job.name for job in made if job.seed is None} == {*CONTROLS}
    made.clear()
    assert benchmark("--encoder", OWN, "--preset", "quick", "--seeds", 2, "--controls").status == 0
    assert encoders_of(made) == [(name, seed) for seed in range(2) for name in (OWN, *REFERENCES)]
    assert len(made) == 2 * (1 + len(REFERENCES)) + len(CONTROLS)
    made.clear()
    assert benchmark("--encoder", "flat", "--biases", "merged", "--controls", "--seeds", 1).status == 0
    assert encoders_of(made) == [("flat", 0)]
    made.clear()
    assert benchmark("--encoder", "flat", "--encoder", "flat", "--preset", "quick").status == 0
    assert made == [Job("flat", 0)]
    made.clear()
    assert benchmark("--encoder", "constant", "--preset", "quick").status == 0
    assert made == [Job("constant", 0)]
    made.clear()
    assert benchmark("--encoder", OWN, "--no-controls").status == 0
    assert len(made) == 3
    made.clear()
    assert benchmark("--preset", "quick").status == 0
    usable = usable_encoders(open_zoo(zoo("formal-languages")).manifest.architecture)
    assert encoders_of(made) == [(name, 0) for name in usable]


def test_an_own_module_with_a_wrong_output_is_reported_before_anything_is_trained(made):
    finished = benchmark("--encoder", "flat", "--encoder", f"{__name__}:TooWide")
    assert finished.status == 1 and made == [] and "TooWide returned (2, 17) for 2 networks" in finished.err


def test_without_comparable_results_the_command_prints_how_to_make_some(made):
    lines = benchmark("--encoder", OWN, "--preset", "quick").out.splitlines()
    assert lines[0].startswith(f"{OWN}, seed 0: ") and "to compare with. To make some: rnn-zoos benchmark" in lines[1]
    assert lines[2] == "All results are complete. Show them with: rnn-zoos leaderboard out"
    made.clear()
    lines = benchmark("--preset", "quick").out.splitlines()
    assert len(lines) == len(made) + 1 > 2, "the leaderboard compares all encoders"


def test_new_results_are_compared_with_the_given_ones(made, tmp_path, monkeypatch):
    calls = []
    comparison = ModuleType("comparison")
    comparison.rank_report = lambda new, stored: calls.append((new, stored)) or "second of three"
    monkeypatch.setitem(sys.modules, "rnn_zoos.baselines.benchmark.comparison", comparison)
    monkeypatch.setattr(comparable, "check_result", lambda path: [])
    (tmp_path / "other").mkdir()
    stored = {"encoder": "flat", "preset": "quick", "biases": "apart", **SHARED}
    (tmp_path / "other" / "flat.0.json").write_text(json.dumps(stored))
    command = ["--encoder", OWN, "--preset", "quick", "--seeds", 2, "--controls", "--against"]
    finished = benchmark(*command, tmp_path / "other")
    assert finished.status == 0 and "second of three" in finished.out.splitlines()
    ((new, found),) = calls
    assert [(result["encoder"], result["seed"]) for result in new] == [(OWN, 0), (OWN, 1)], "not what reads labels"
    assert found == [stored]
    made.clear()
    finished = benchmark(*command, Path("nowhere"))
    assert finished.status == 1 and "nowhere has no results of other encoders" in finished.err
    assert made == [], "reported before anything is trained"
