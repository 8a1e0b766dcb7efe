"""Zoos whose runs draw hyperparameters: every trainer uses them, the index has them, `check` compares them."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import contents, generate_in_process
from damage import edit_index
from synthetic import synthetic_settings
from trainer_comparison import FAMILY, assert_equal_to_loop, assert_same_bits, train

from rnn_zoos.errors import PlanMismatchError, PresetError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.engines.local import LocalEngine
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.trainers.loop import LoopTrainer
from rnn_zoos.generation.trainers.native.trainer import NativeTrainer
from rnn_zoos.generation.trainers.stacked import StackedTrainer
from rnn_zoos.generation.trainers.trainer import Run, adamw_rates, learning_rate, settings_of_run, total_updates
from rnn_zoos.generation.trainers.triton.trainer import INTERPRETED, TritonTrainer
from rnn_zoos.generation.writing.verify import verify
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.weights import flatten

VARIED = """\
{zoo}:
  seed: 13
  runs: {runs}
  runs_per_shard: 3
  cell: lstm
  num_layers: 2
  hidden_size: 5
  batch_size: 3
  snapshots: [0, 2, 5, 11]
  learning_rate: {{0: 0.002, 5: 0.01, 11: 0.003}}
  weight_decay: [0.0001]
  evaluation: {{{evaluation}}}
  vary:
    learning_rate: {{low: 0.001, high: 0.1}}
    batch_size: [2, 5]
    weight_decay: {{low: 0.0001, high: 1}}
    initial_scale: [0.5, 2]
    num_updates: [5, 11]
"""
EVALUATIONS = {
    "formal-languages": "strings: 13, rollouts: 4",
    "sequential-mnist": "held_out_digits: 23, fit_digits: 29, test_digits: 31, rollouts: 6",
    "automata": "strings: 13, hard_pairs: 11, traced_strings: 9, rollouts: 4",
}
RUNS = [
    Run(0, 0, 0.01),
    Run(1, 0, 0.1, rate_scale=3.0, initial_scale=0.5, batch_size=2, num_updates=3),
    Run(2, 0, 0.0, rate_scale=0.2, batch_size=5),
    Run(5, 0, 0.3, initial_scale=2.0, num_updates=1),
    Run(4, 0, 0.01, rate_scale=0.5, batch_size=2, num_updates=3),
]
SNAPSHOTS = (0, 1, 3, 8)


def varied_preset(folder: Path, zoo: str, runs: int = 11) -> str:
    path = folder / f"varied-{runs}.yaml"
    path.write_text(VARIED.format(zoo=zoo, runs=runs, evaluation=EVALUATIONS[zoo]))
    return str(path)


def native_plan(folder: Path, runs: int = 11) -> Plan:
    return make_plan("formal-languages", varied_preset(folder, "formal-languages", runs), backend="native")


@pytest.fixture(scope="module")
def languages(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("varied-languages")
    generate_in_process(folder / "zoo", native_plan(folder))
    return folder / "zoo"


def test_a_run_has_its_own_settings():
    settings = synthetic_settings(snapshots=SNAPSHOTS)
    assert settings_of_run(settings, RUNS[0]) is settings
    own = settings_of_run(settings, RUNS[1])
    assert (own.batch_size, own.snapshots, own.num_updates, own.seed) == (2, (0, 1, 3), 3, settings.seed)
    assert own.architecture(FAMILY) == settings.architecture(FAMILY)
    assert learning_rate(own, 2) == learning_rate(settings, 2)
    assert total_updates(settings, RUNS) == 8 + 3 + 8 + 1 + 3


def test_rates_of_adamw_are_scaled_run_by_run():
    settings = synthetic_settings()
    rates, single = adamw_rates(settings, range(3, 8), [1.0, 0.25]), adamw_rates(settings, range(3, 8), [1.0])
    assert rates.shape == (2, 5, 3) and torch.equal(rates[:1], single)
    assert torch.equal(rates[1, :, :2], single[0, :, :2] * 0.25) and torch.equal(rates[1, :, 2], single[0, :, 2])


def test_initial_weights_are_scaled():
    architecture = synthetic_settings().architecture(FAMILY)
    plain, scaled = (flatten(architecture, initial_weights(architecture, 3, 1, scale)) for scale in (1.0, 0.5))
    assert torch.equal(scaled, plain * 0.5)


@pytest.mark.parametrize("make", [NativeTrainer, lambda: StackedTrainer("cpu"), lambda: TritonTrainer()])
def test_every_trainer_uses_the_hyperparameters_of_each_run(make):
    if make not in (NativeTrainer,) and not INTERPRETED:
        pytest.skip("compares with the CPU")
    settings, updates = synthetic_settings(snapshots=SNAPSHOTS), []
    trained = train(make(), settings, RUNS, report=updates.append)
    assert [run.steps for run in trained] == [(0, 1, 3, 8), (0, 1, 3), (0, 1, 3, 8), (0, 1), (0, 1, 3)]
    assert_equal_to_loop(trained, train(LoopTrainer(), settings, RUNS))
    assert sum(updates) == total_updates(settings, RUNS)


@pytest.mark.parametrize("trainer", [LoopTrainer(), NativeTrainer(), StackedTrainer("cpu")])
def test_hyperparameters_change_the_weights_and_no_other_run(trainer):
    settings, run = synthetic_settings(snapshots=SNAPSHOTS), RUNS[1]
    (alone,) = train(trainer, settings, [run])
    assert_same_bits(train(trainer, settings, RUNS)[1], alone)
    changes = ({"rate_scale": 1.0}, {"initial_scale": 1.0}, {"batch_size": 3}, {"weight_decay": 0.2})
    for change in changes:
        (other,) = train(trainer, settings, [replace(run, **change)])
        assert not torch.equal(other.weights["linear.weight"][-1], alone.weights["linear.weight"][-1]), change


@pytest.mark.parametrize("zoo", EVALUATIONS)
def test_the_zoo_conforms_and_has_what_every_run_drew(zoo, tmp_path):
    plan = make_plan(zoo, varied_preset(tmp_path, zoo))
    generate_in_process(tmp_path / "zoo", plan)
    assert check_zoo(tmp_path / "zoo") == []
    opened = open_zoo(tmp_path / "zoo")
    assert opened.manifest.as_data()["format"] == 1, "older versions can read it"
    for run, _ in plan.runs():
        rows = opened.index(where=[("run", "==", run.run)]).to_pylist()
        assert [row["step"] for row in rows] == [step for step in (0, 2, 5, 11) if step <= run.num_updates]
        for row in rows:
            highest = max(learning_rate(plan.settings, update) for update in range(run.num_updates))
            assert row["learning_rate"] == pytest.approx(highest * run.rate_scale)
            assert row["weight_decay"] == pytest.approx(run.weight_decay)
            assert (row["batch_size"], row["num_updates"]) == (run.batch_size, run.num_updates)
            assert row["initial_scale"] == run.initial_scale and not row["diverged"]


def test_the_distance_from_the_start_begins_at_the_scaled_start(languages):
    rows = open_zoo(languages).index(steps=0).to_pylist()
    assert {row["distance_from_start"] for row in rows} == {0.0}


@pytest.mark.long
def test_workers_and_extensions_give_the_same_bytes(languages, tmp_path):
    small, whole = (native_plan(tmp_path, runs) for runs in (4, 11))
    generate(whole, tmp_path / "workers", LocalEngine(2))
    assert contents(tmp_path / "workers") == contents(languages)
    generate_in_process(tmp_path / "grown", small)
    generate_in_process(tmp_path / "grown", whole)
    assert contents(tmp_path / "grown") == contents(languages)
    report = verify(languages, runs=4, workers=1)
    assert report.exact and report.findings == []


@pytest.mark.parametrize("column", ["learning_rate", "batch_size", "initial_scale", "weight_decay", "num_updates"])
def test_check_finds_a_hyperparameter_that_the_run_did_not_draw(column, languages, tmp_path):
    shutil.copytree(languages, tmp_path / "zoo")

    def edit(rows):
        for row in rows:
            if row["run"] == rows[0]["run"]:
                row[column] = {"batch_size": 4, "num_updates": 2}.get(column, 0.75)

    edit_index(tmp_path / "zoo", open_zoo(languages).splits()[0], edit)
    findings = check_zoo(tmp_path / "zoo")
    assert any(f"{column} is" in finding and "assigns" in finding for finding in findings), findings


@pytest.mark.parametrize(
    ("text", "new", "message"),
    [
        ("low: 0.001, high: 0.1", "low: 0.1, high: 0.001", "low should be less than high"),
        ("low: 0.001, high: 0.1", "low: 0, high: 0.1", "greater than 0"),
        ("low: 0.001, high: 0.1", "low: 0.001, high: 3.0e+9", "less than 2147483648"),
        ("num_updates: [5, 11]", "num_updates: [4, 11]", r"\[4\], which are not among the snapshots"),
        ("batch_size: [2, 5]", "batch_size: []", "at least 1 item"),
        ("low: 0.001, high", "lowest: 0.001, high", r"lowest is not a setting. Allowed: low, high\."),
        ("batch_size: [2, 5]", "range: [2, 5]", r"vary.range is not a setting. Allowed: learning_rate, "),
        ("{low: 0.001, high: 0.1}", "0.1", "or the bounds of a range, low and high"),
        ("batch_size: [2, 5]", "momentum: [2, 5]", "vary.momentum is not a setting. Allowed: learning_rate, "),
        ("{0: 0.002, 5: 0.01, 11: 0.003}", "{0: 0}", "a schedule with a rate above 0"),
        ("{0: 0.002, 5: 0.01, 11: 0.003}", "{0: 0, 4: 0, 11: 1}", "a rate above 0 in its first 5 updates"),
    ],
)
def test_a_wrong_variation_is_explained(text, new, message, tmp_path):
    path = Path(varied_preset(tmp_path, "automata"))
    path.write_text(path.read_text().replace(text, new))
    with pytest.raises(PresetError, match=message):
        make_plan("automata", str(path))


def test_a_directory_cannot_go_on_without_its_variation(tmp_path):
    path = Path(varied_preset(tmp_path, "formal-languages", 2))
    generate_in_process(tmp_path / "zoo", make_plan("formal-languages", str(path)))
    path.write_text(path.read_text().partition("  vary:")[0])
    with pytest.raises(PlanMismatchError, match="vary"):
        generate(make_plan("formal-languages", str(path), runs=6), tmp_path / "zoo")
