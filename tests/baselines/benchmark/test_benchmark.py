"""The benchmark from the command to the table, with the user's own encoder; results that are wrong are named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, ZOOS

from rnn_zoos.baselines.benchmark import results as benchmark
from rnn_zoos.baselines.benchmark.figures import draw_results
from rnn_zoos.baselines.benchmark.leaderboard import leaderboard
from rnn_zoos.baselines.benchmark.reading import check_result, read_results
from rnn_zoos.baselines.downstream.controls import CONTROLS, controls_of
from rnn_zoos.baselines.downstream.end_to_end import EndToEndSettings
from rnn_zoos.baselines.downstream.targets import TARGETS
from rnn_zoos.baselines.emulation.data import ZooData, load_data
from rnn_zoos.baselines.encoders.registry import ENCODERS, usable_encoders
from rnn_zoos.cli import app as cli
from rnn_zoos.errors import FormatError, PlanMismatchError

TEMPLATE = ROOT / "baselines" / "encoders" / "template.py"


@pytest.fixture(scope="module")
def zoo(edited_zoo) -> Path:
    edits = {
        "runs: 7": "runs: 24",
        "strings: 13": "strings: 3",
        "[0, 2, 11]": "[0, 4]",
        "num_layers: 2": "num_layers: 1",
    }
    return edited_zoo("formal-languages", edits)


@pytest.fixture(autouse=True)
def _short(monkeypatch) -> None:
    cpu = benchmark.PRESETS["cpu"]
    settings = replace(cpu.settings["formal-languages"], updates=3, evaluate_every=2, networks=4, hidden=8, layers=1)
    sizes = {**cpu.sizes, "interactive": {"hidden": 8, "steps": 3}}
    monkeypatch.setattr(
        benchmark,
        "PRESETS",
        {"cpu": benchmark.Preset(dict.fromkeys(ZOOS, settings), EndToEndSettings(updates=2, hidden=5), sizes)},
    )
    monkeypatch.setattr(benchmark, "_BOOTSTRAPS", 3)


def command(monkeypatch, capsys, *arguments: object) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["rnn-zoos", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny data
def test_from_the_command_to_the_table(zoo, tmp_path, monkeypatch, capsys):
    shutil.copy(TEMPLATE, tmp_path / "own_module.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("interactive", "own_module:MyEncoder")
    arguments = ["benchmark", "--zoo", zoo, "--out", tmp_path / "out", "--seeds", 2, "--workers", 1]
    for name in names:
        arguments += ["--encoder", name]
    status, out, err = command(monkeypatch, capsys, *arguments)
    assert status == 0 and "All results are there" in out, err
    found = {path.name: path.read_bytes() for path in (tmp_path / "out" / "formal-languages").iterdir()}
    assert len(found) == 4 + len(CONTROLS) and "own_module.MyEncoder.1.json" in found
    assert command(monkeypatch, capsys, *arguments)[0] == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "formal-languages").iterdir()} == found
    told = json.loads(found["interactive.0.json"])
    assert told["queries"] == 12 and told["information"] == "queries" and told["flop_per_network"] > 1000
    assert told["zoo"]["sha256"] == load_data(zoo).zoo.identity and len(told["history"]) == 2
    assert json.loads(found["own_module.MyEncoder.0.json"])["queries"] == 10

    status, table, _ = command(monkeypatch, capsys, "leaderboard", tmp_path / "out")
    lines = table.splitlines()
    assert status == 0 and lines[0] == "### formal-languages" and len(lines) == 4 + 2 + len(CONTROLS)
    assert {line.split("|")[1].strip() for line in lines[4:6]} == set(names) and "control: mean" in table
    mean = (
        sum(json.loads(found[f"interactive.{seed}.json"])["emulation"]["test"]["total_variation"] for seed in (0, 1))
        / 2
    )
    assert f"| {mean:.4f} ±" in next(line for line in lines if line.startswith("| interactive"))
    results = read_results(tmp_path / "out")
    assert leaderboard(results, "paper", "mlp") != table != leaderboard(results, split="ood")
    brief = leaderboard(results, brief=True).splitlines()
    head = "encoder, queries, TV test, TV ood, clones test, task (accuracy), accuracy (r squared), step (accuracy)"
    assert brief[2] == f"| {head.replace(', ', ' | ')} |"
    assert len(brief) == len(lines) and len({line.count("|") for line in brief[2:]}) == 1
    trained_on_labels = leaderboard(results, predictor="end-to-end").splitlines()
    assert len(trained_on_labels) == 4 + 2  # controls are not trained
    check_portraits(told, load_data(zoo))
    drawn = draw_results(results, tmp_path / "figures")
    assert {path.name.removesuffix("-formal-languages.png") for path in drawn} == {
        "emulation", "downstream", "embeddings", "asked"
    }  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000 for path in drawn)
    assert command(monkeypatch, capsys, "leaderboard", tmp_path / "out", "--check")[0] == 0
    assert command(monkeypatch, capsys, "leaderboard", tmp_path / "out", "--protocol", "loose")[0] == 1

    cpu = benchmark.PRESETS["cpu"]
    longer = {name: replace(settings, updates=4) for name, settings in cpu.settings.items()}
    monkeypatch.setitem(benchmark.PRESETS, "cpu", replace(cpu, settings=longer))
    with pytest.raises(PlanMismatchError, match="is a result of another settings. Give another --out"):
        benchmark.run_encoder(load_data(zoo), "interactive", 0, "cpu", tmp_path / "out")
    status, out, err = command(monkeypatch, capsys, *arguments)
    assert status == 1 and "is a result of another settings" in err and "All results" not in out

    path = tmp_path / "out" / "formal-languages" / "interactive.0.json"
    for edit, message in (
        (lambda result: result.pop("queries"), "It lacks queries."),
        (lambda result: result.update(format=9), "no result of format 1"),
        (lambda result: result["zoo"].update(name="birds"), "There is no zoo 'birds'"),
        (lambda result: result["emulation"]["test"].update(total_variation=1.5), "is 1.5; expected 0 to 1"),
        (
            lambda result: result["emulation"]["ood"].pop("reverse_kl"),
            "ood, reverse_kl is 'nothing'; expected a number.",
        ),
        (lambda result: result.update(downstream=[]), "strict, linear, task, validation, accuracy, value is 'nothing'"),
        (
            lambda result: result["downstream"]["paper"]["mlp"].pop("step"),
            "paper, mlp, step, validation, accuracy, low",
        ),
        (
            lambda result: result["end_to_end"]["step"]["ood"].update(accuracy=1),
            "end_to_end, step, ood, accuracy, high",
        ),
        (lambda result: result.update(map={}), "map has {'places': 0, 'task': 0, 'step': 0, 'accuracy': 0} entries"),
        (lambda result: result["map"]["task"].pop(), "entries; expected equally many, and at least one."),
        (lambda result: result["clones"].update(test=None), "clones, test, correlation is 'nothing'"),
    ):
        result = json.loads(found["interactive.0.json"])
        edit(result)
        path.write_text(json.dumps(result))
        assert any(message in line for line in check_result(path)), check_result(path)
        with pytest.raises(FormatError, match="leaderboard .* --check. lists all"):
            read_results(tmp_path / "out")
        status, out, _ = command(monkeypatch, capsys, "leaderboard", tmp_path / "out", "--check")
        assert status == 1 and message in out
    for edit, message in (
        (lambda result: result.update(seed=1), "interactive.1.json is the same as .*interactive.0.json"),
        (lambda result: result["zoo"].update(sha256="f"), "is of another zoo than"),
        (lambda result: result["settings"].update(networks=9), "has other settings than"),
    ):
        result = json.loads(found["interactive.0.json"])
        edit(result)
        path.write_text(json.dumps(result))
        with pytest.raises(FormatError, match=message):
            read_results(tmp_path / "out")


def check_portraits(told: dict, data: ZooData) -> None:
    """Look at what is told for figures, and at what else is measured of an encoder."""
    test = data.splits["test"]
    assert len(told["map"]["places"]) == len(told["map"]["task"]) == len(test) and sum(told["map"]["explained"]) <= 1
    assert told["map"]["accuracy"] == test.labels("accuracy").tolist()
    for asked in told["asked"]:
        row = data.zoo.row(asked["run"], asked["step"])
        assert (row["task"], row["accuracy"], row["split"]) == (asked["task"], asked["accuracy"], "test")
        assert np.shape(asked["questions"]) == (3, 6) and np.allclose(np.sum(asked["questions"], axis=1), 1, atol=1e-2)
    assert [asked["step"] for asked in told["asked"]] == [0, 4, 4]
    assert told["asked"][0]["questions"][0] == told["asked"][1]["questions"][0]  # nothing is known yet
    assert max(told["invariance"].values()) < 1e-4  # it only asks
    assert set(told["clones"]) == {"validation", "test", "ood"} and told["seconds"]["emulation"] > 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny data
def test_results_on_merged_biases_stand_beside_the_others(zoo, tmp_path):
    apart, merged = (load_data(zoo, biases=biases) for biases in ("apart", "merged"))
    paths = [benchmark.run_encoder(data, "statistics", 0, "cpu", tmp_path) for data in (apart, merged)]
    paths += [benchmark.run_control(data, "weight statistics", tmp_path) for data in (apart, merged)]
    assert len(set(paths)) == 4 and all("merged" in path.name for path in paths[1::2])
    one, other = (json.loads(path.read_text())["invariance"] for path in paths[:2])
    assert one["biases"] > 1e-3 > other["biases"] == 0  # merging twice is merging once
    assert set(controls_of("merged")) < set(controls_of("apart")) == set(CONTROLS)
    names = [line.split("|")[1].strip() for line in leaderboard(read_results(tmp_path)).splitlines()[4:]]
    assert {"statistics", "statistics, merged biases", "control: weight statistics, merged biases"} <= set(names)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny data
def test_digits_are_measured_and_drawn(edited_zoo, tmp_path):
    edits = {"runs: 5": "runs: 24", "[0, 3, 8]": "[0, 4]", "num_layers: 3": "num_layers: 1"}
    data = load_data(edited_zoo("sequential-mnist", edits))
    told = json.loads(benchmark.run_encoder(data, "interactive", 0, "cpu", tmp_path).read_text())
    assert 0 <= told["clones"]["test"]["agreement"] <= 1 and set(told["end_to_end"]) == set(TARGETS["sequential-mnist"])
    results = read_results(tmp_path)
    assert "task (degrees)" in leaderboard(results) and len(draw_results(results, tmp_path / "figures")) == 4


def test_encoders_that_cannot_take_an_architecture_are_not_run_by_default(zoo):
    architecture = load_data(zoo).architecture
    assert usable_encoders(architecture) == list(ENCODERS)
    digits = usable_encoders(replace(architecture, input_size=16, output_size=10))
    assert [name for name in ENCODERS if name not in digits] == [
        "self-rollout", "self-rollout-soft", "self-rollout-short"
    ]  # fmt: skip


def test_without_results_there_is_no_table(tmp_path):
    with pytest.raises(FormatError, match="has no results. Expected the --out of"):
        read_results(tmp_path)
