"""Hyperparameters that runs draw as targets: which and of what kind, predicted by all means, stored, shown."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import generate_in_process
from short_benchmark import shorten_benchmark

from rnn_zoos.baselines.benchmark import presets
from rnn_zoos.baselines.benchmark.figures.scores import scores as score_figure
from rnn_zoos.baselines.benchmark.leaderboard import leaderboard
from rnn_zoos.baselines.benchmark.result_files import group_by_zoo, read_results
from rnn_zoos.baselines.benchmark.result_format import check_result
from rnn_zoos.baselines.benchmark.runner import run_control, run_encoder
from rnn_zoos.baselines.downstream.controls import control_features
from rnn_zoos.baselines.downstream.predictors import EvaluationSettings, predictor_scores
from rnn_zoos.baselines.downstream.settings import EndToEndSettings
from rnn_zoos.baselines.downstream.targets import MOST_CLASSES, family_targets, measure_title, target_title, targets_of
from rnn_zoos.baselines.emulation.data import ZooData, load_data
from rnn_zoos.families.registry import task_family
from rnn_zoos.families.run_table import VARIED, run_table, varied_values
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.presets import load_preset

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny data

PRESET = """\
sequential-mnist:
  seed: 3
  runs: 60
  runs_per_shard: 20
  cell: gru
  num_layers: 1
  hidden_size: 3
  batch_size: 4
  snapshots: [0, 1, 3]
  learning_rate: {0: 0.01, 2: 0.003}
  weight_decay: [0, 0.1]
  evaluation: {held_out_digits: 5, fit_digits: 5, test_digits: 5, rollouts: 2}
  vary:
    learning_rate: {low: 0.0003, high: 0.3}
    batch_size: [1, 2, 5]
    weight_decay: {low: 0.00001, high: 1}
    initial_scale: {low: 0.3, high: 3}
    num_updates: [1, 1, 1, 3]
"""
KINDS = {"learning_rate": "log", "batch_size": "classes", "weight_decay": "log", "initial_scale": "log"}
KINDS |= {"num_updates": "classes"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> ZooData:
    folder = tmp_path_factory.mktemp("varied")
    (folder / "varied.yaml").write_text(PRESET)
    plan = make_plan("sequential-mnist", str(folder / "varied.yaml"), backend="native", mnist="embedded")
    generate_in_process(folder / "zoo", plan)
    return load_data(folder / "zoo")


def own_targets(data: ZooData):
    return targets_of(data.zoo.manifest.zoo, data.zoo.manifest.settings)


def kinds(zoo: str, settings: dict) -> dict[str, str]:
    """Return the kind of each hyperparameter that is a target; `log` for numbers on a logarithmic scale."""
    targets = targets_of(zoo, {"weight_decay": [0.1], **settings})
    assert all(target.columns == (name,) for name, target in targets.items() if name in VARIED)
    return {name: "log" if targets[name].log else targets[name].kind for name in VARIED if name in targets}


@pytest.mark.parametrize("zoo", ["formal-languages", "sequential-mnist", "automata"])
def test_the_preset_diverse_has_a_target_for_each_of_five_hyperparameters(zoo):
    settings = load_preset("diverse", zoo).as_data()
    assert kinds(zoo, settings) == KINDS
    assert set(targets_of(zoo, settings)) == set(family_targets(zoo)) | set(VARIED)
    plain = load_preset("medium", zoo).as_data()
    assert targets_of(zoo, plain) == family_targets(zoo)


def test_the_kind_of_a_target_follows_from_what_runs_draw_from():
    assert kinds("formal-languages", {}) == {}
    assert kinds("formal-languages", {"vary": {"learning_rate": [0.1, 0.3]}}) == {"learning_rate": "classes"}
    assert kinds("formal-languages", {"vary": {"learning_rate": [0.1], "batch_size": [4, 4]}}) == {}
    many = [float(number) for number in range(MOST_CLASSES + 1)]
    assert kinds("formal-languages", {"vary": {"weight_decay": many}}) == {"weight_decay": "number"}
    assert kinds("formal-languages", {"vary": {"weight_decay": many[1:]}}) == {"weight_decay": "classes"}
    assert kinds("formal-languages", {"vary": {"initial_scale": [*many[1:], 0.5]}}) == {"initial_scale": "log"}


def test_the_weight_decay_of_digits_is_asked_once_and_not_where_all_runs_share_it():
    def of_digits(settings):
        return kinds("sequential-mnist", settings)

    assert of_digits({"weight_decay": [0, 0.1]}) == {"weight_decay": "classes"}
    assert of_digits({"weight_decay": [0.1]}) == {}
    drawn = {"weight_decay": [0, 0.1], "vary": {"weight_decay": {"low": 0.1, "high": 2}}}
    assert of_digits(drawn) == {"weight_decay": "log"}
    assert of_digits({**drawn, "vary": {"weight_decay": [0.3]}}) == {}


def test_labels_are_what_each_run_has_drawn_and_logarithms_of_it(data):
    settings = {**data.zoo.manifest.settings, "seed": data.zoo.manifest.seed, "runs": data.zoo.manifest.runs}
    table = run_table(task_family("sequential-mnist"), settings)
    for split in data.splits.values():
        drawn = [{**varied_values(settings, table[run]), "weight_decay": table[run]["weight_decay"]}
                 for run in split.labels("run")]  # fmt: skip
        for name, kind in KINDS.items():
            labels = own_targets(data)[name].values(split)[:, 0]
            original = 10**labels if kind == "log" else labels
            np.testing.assert_allclose(original, [values[name] for values in drawn], rtol=1e-6)


@pytest.mark.parametrize("predictor", ["linear", "boosting", pytest.param("mlp", marks=pytest.mark.long)])
def test_planted_hyperparameters_are_predicted_and_permuted_ones_are_not(predictor, data):
    random = np.random.default_rng(0)
    for name, kind in KINDS.items():
        target = own_targets(data)[name]
        features = {}
        for split, rows in data.splits.items():
            values = target.values(rows)
            features[split] = np.concatenate([values, random.normal(size=(len(rows), 2))], axis=1)
        scores, chance = (
            predictor_scores(
                data, features, {"a": target}, EvaluationSettings("strict", predictor, 1, permuted, repeats=3)
            )["a"]["test"]
            for permuted in (False, True)
        )
        measure = "r_squared" if kind == "log" else "accuracy"
        assert scores[measure]["value"] > chance[measure]["value"] + 0.1, name


def test_controls_know_of_hyperparameters_what_their_names_say(data):
    targets = {name: own_targets(data)[name] for name in VARIED}
    found = {
        control: predictor_scores(data, control_features(data, control), targets, EvaluationSettings(repeats=2))
        for control in ("mean", "step only", "task mean", "hyperparameters only")
    }

    def value(control: str, name: str) -> float:
        (measure,) = targets[name].shown
        return found[control][name]["test"][measure]["value"]

    for name, kind in KINDS.items():
        assert value("hyperparameters only", name) > 0.95
        assert value("mean", name) <= (0 if kind == "log" else 0.9)
        assert value("task mean", name) <= (0.01 if kind == "log" else 0.9)
    assert value("step only", "num_updates") > value("mean", "num_updates"), "a step of 3 means a run of 3 updates"


def small_results(data: ZooData, out: Path, monkeypatch) -> Path:
    cpu = presets.PRESETS["cpu"]
    settings = replace(cpu.settings["sequential-mnist"], updates=2, evaluate_every=2, networks=4, sequences=1, hidden=8)
    names = ("formal-languages", "sequential-mnist")
    short = presets.Preset(dict.fromkeys(names, settings), EndToEndSettings(updates=2, hidden=5), {})
    shorten_benchmark(monkeypatch, {"cpu": short})
    run_control(data, "hyperparameters only", out)
    return run_encoder(data, "statistics", 0, "cpu", out)


def table_cells(text: str, line: str) -> dict[str, str]:
    """Return header -> cell of one line of the table of labels."""
    rows = [row.strip("| ").split(" | ") for row in text.partition("Labels, ")[2].splitlines() if row.startswith("|")]
    return dict(zip(rows[0], next(row for row in rows if row[0] == line), strict=True))


def test_results_name_their_targets_and_tables_show_them_also_beside_older_ones(data, tmp_path, monkeypatch):
    path = small_results(data, tmp_path, monkeypatch)
    result = json.loads(path.read_text())
    targets = own_targets(data)
    assert list(result["targets"]) == list(targets) == list(result["end_to_end"]["paper"])
    assert result["targets"]["weight_decay"] == {
        "columns": ["weight_decay"], "kind": "number", "shown": ["r_squared"], "from_step": 0, "log": True,
    }  # fmt: skip
    monkeypatch.setattr("rnn_zoos.baselines.emulation.data.load_data", None)  # files are enough
    headers = [f"{target_title(name)} {measure_title(targets[name], targets[name].shown[0])}" for name in VARIED]
    assert headers == [
        "learning rate R² (log)", "batch size accuracy", "weight decay R² (log)", "initial scale R² (log)",
        "number of updates accuracy",
    ]  # fmt: skip
    for predictor in ("linear", "mlp", "end-to-end"):
        cells = table_cells(leaderboard(read_results(tmp_path), predictor=predictor), "statistics")
        assert all(cells[header] != "-" for header in headers)
    score_figure("sequential-mnist", group_by_zoo(read_results(tmp_path))["sequential-mnist"])

    older = {**result, "encoder": "flat"}
    del older["targets"]
    step = result["downstream"]["strict"]["linear"]["step"]
    for scores in [*(s for by in older["downstream"].values() for s in by.values()), *older["end_to_end"].values()]:
        for name in VARIED:
            del scores[name]
        scores["weight_decay"] = step  # as classes, which the version before asked for
    path.with_name("flat.0.json").write_text(json.dumps(older))
    assert check_result(path.with_name("flat.0.json")) == []
    text = leaderboard(read_results(tmp_path))
    assert all(table_cells(text, "flat")[header] == "-" for header in headers)
    assert table_cells(text, "statistics")["weight decay R² (log)"] != "-" and "weight decay accuracy" not in text
    path.unlink()
    (tmp_path / "sequential-mnist" / "control.hyperparameters-only.json").unlink()
    assert "weight decay accuracy" in leaderboard(read_results(tmp_path)), "older results alone show what they have"
