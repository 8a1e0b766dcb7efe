"""The benchmark from the command to the table, with the user's own encoder; results that are wrong are named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import make_in_process

from rnn_zoos import cli
from rnn_zoos.baselines import benchmark
from rnn_zoos.baselines.controls import CONTROLS
from rnn_zoos.baselines.data import load_data
from rnn_zoos.baselines.leaderboard import check_result, leaderboard, read_results
from rnn_zoos.baselines.registry import ENCODERS, usable_encoders
from rnn_zoos.errors import FormatError, PlanMismatchError
from rnn_zoos.generation.plan import make_plan

OWN = '''\
from torch import nn

from rnn_zoos.baselines.encoder import Encoder


class BiasEncoder(Encoder):
    """Reads the readout's bias alone."""

    def __init__(self, architecture, embedding_size=16):
        super().__init__(architecture, embedding_size)
        self.head = nn.Linear(architecture.output_size, embedding_size)

    def embed(self, weights, stack):
        return self.head(weights["linear.bias"])
'''


@pytest.fixture(scope="module")
def zoo(tiny_preset, tmp_path_factory) -> Path:
    text = Path(tiny_preset()).read_text().replace("runs: 7", "runs: 24").replace("strings: 13", "strings: 3")
    preset = tmp_path_factory.mktemp("presets") / "wide.yaml"
    preset.write_text(text.replace("[0, 2, 11]", "[0, 4]").replace("num_layers: 2", "num_layers: 1"))
    directory = tmp_path_factory.mktemp("zoo")
    make_in_process(directory, make_plan("formal-languages", str(preset)))
    return directory


@pytest.fixture(autouse=True)
def _short(monkeypatch) -> None:
    cpu = benchmark.PRESETS["cpu"]
    settings = replace(cpu.settings, updates=3, evaluate_every=2, networks=4, hidden=8, layers=1)
    sizes = {**cpu.sizes, "interactive": {"hidden": 8, "steps": 3}}
    monkeypatch.setattr(benchmark, "PRESETS", {"cpu": benchmark.Preset(settings, sizes)})
    monkeypatch.setattr(benchmark, "_BOOTSTRAPS", 3)


def command(monkeypatch, capsys, *arguments: object) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["rnn-zoos", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny data
def test_from_the_command_to_the_table(zoo, tmp_path, monkeypatch, capsys):
    (tmp_path / "own_module.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("interactive", "own_module:BiasEncoder")
    arguments = ["benchmark", "--zoo", zoo, "--out", tmp_path / "out", "--seeds", 2]
    for name in names:
        arguments += ["--encoder", name]
    status, out, err = command(monkeypatch, capsys, *arguments)
    assert status == 0 and "All results are there" in out, err
    found = {path.name: path.read_bytes() for path in (tmp_path / "out" / "formal-languages").iterdir()}
    assert len(found) == 4 + len(CONTROLS) and "own_module.BiasEncoder.1.json" in found
    assert command(monkeypatch, capsys, *arguments)[0] == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "formal-languages").iterdir()} == found
    told = json.loads(found["interactive.0.json"])
    assert told["queries"] == 12 and told["information"] == "queries" and told["flop_per_network"] > 1000
    assert told["zoo"]["sha256"] == load_data(zoo).zoo.identity and len(told["history"]) == 2
    assert json.loads(found["own_module.BiasEncoder.0.json"])["parameters"] == 7 * 16

    status, table, _ = command(monkeypatch, capsys, "leaderboard", tmp_path / "out")
    lines = table.splitlines()
    assert status == 0 and lines[0] == "### formal-languages" and len(lines) == 4 + 2 + len(CONTROLS)
    assert {line.split("|")[1].strip() for line in lines[4:6]} == set(names) and "control: mean" in table
    mean = (
        sum(json.loads(found[f"interactive.{seed}.json"])["emulation"]["test"]["total_variation"] for seed in (0, 1))
        / 2
    )
    assert f"| {mean:.4f} ±" in next(line for line in lines if line.startswith("| interactive"))
    assert leaderboard(read_results(tmp_path / "out"), "paper", "mlp") != table
    assert command(monkeypatch, capsys, "leaderboard", tmp_path / "out", "--check")[0] == 0
    assert command(monkeypatch, capsys, "leaderboard", tmp_path / "out", "--protocol", "loose")[0] == 1

    cpu = benchmark.PRESETS["cpu"]
    monkeypatch.setitem(benchmark.PRESETS, "cpu", replace(cpu, settings=replace(cpu.settings, updates=4)))
    with pytest.raises(PlanMismatchError, match="is a result of another settings. Give another --out"):
        benchmark.run_encoder(load_data(zoo), "interactive", 0, "cpu", tmp_path / "out")
    status, out, err = command(monkeypatch, capsys, *arguments)
    assert status == 1 and "is a result of another settings" in err and "All results" not in out

    path = tmp_path / "out" / "formal-languages" / "interactive.0.json"
    for edit, message in (
        (lambda result: result.pop("queries"), "It lacks queries."),
        (lambda result: result.update(format=9), "no result of format 1"),
        (lambda result: result["zoo"].update(name="birds"), "There is no zoo 'birds'"),
        (lambda result: result["emulation"]["test"].update(total_variation=1.5), "it is at most 1"),
        (lambda result: result["emulation"]["ood"].pop("reverse_kl"), "None as reverse_kl of ood"),
        (lambda result: result["downstream"]["paper"]["mlp"].pop("step"), "no paper, mlp, step, validation, accuracy"),
    ):
        result = json.loads(found["interactive.0.json"])
        edit(result)
        path.write_text(json.dumps(result))
        assert any(message in line for line in check_result(path)), check_result(path)
        with pytest.raises(FormatError, match="leaderboard .* --check. lists all"):
            read_results(tmp_path / "out")
        status, out, _ = command(monkeypatch, capsys, "leaderboard", tmp_path / "out", "--check")
        assert status == 1 and message in out


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
