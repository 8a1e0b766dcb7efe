"""The benchmark from the command line to the leaderboard and its figures, on tiny zoos with very short trainings."""

import contextlib
import io
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, ZOOS
from short_benchmark import shorten_benchmark

from rnn_zoos.baselines.benchmark import presets
from rnn_zoos.baselines.benchmark.figures.draw import draw_results
from rnn_zoos.baselines.benchmark.leaderboard import leaderboard
from rnn_zoos.baselines.benchmark.presets import preset_of
from rnn_zoos.baselines.benchmark.result_files import read_results, result_path
from rnn_zoos.baselines.benchmark.runner import run_control, run_encoder
from rnn_zoos.baselines.benchmark.schedule import BenchmarkWork, Job
from rnn_zoos.baselines.downstream.controls import CONTROLS, controls_of
from rnn_zoos.baselines.downstream.end_to_end import EndToEndSettings
from rnn_zoos.baselines.downstream.targets import family_targets
from rnn_zoos.baselines.emulation.data import ZooData, load_data
from rnn_zoos.baselines.emulation.references import REFERENCES
from rnn_zoos.baselines.encoders.registry import ENCODERS, usable_encoders
from rnn_zoos.cli import app as cli
from rnn_zoos.errors import EncoderError, FormatError, PlanMismatchError
from rnn_zoos.families.language_strings import NUM_SYMBOLS
from rnn_zoos.families.registry import task_family
from rnn_zoos.networks.architecture import Architecture

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # tiny data
TEMPLATE = ROOT / "baselines" / "encoders" / "template.py"
ENCODER_NAMES = ("interactive", "user_module:MyEncoder")


@pytest.fixture(scope="module")
def zoo(edited_zoo) -> Path:
    edits = {
        "runs: 7": "runs: 24",
        "strings: 13": "strings: 3",
        "[0, 2, 11]": "[0, 2, 4]",
        "num_layers: 2": "num_layers: 1",
    }
    return edited_zoo("formal-languages", edits)


@pytest.fixture(scope="module", autouse=True)
def _short_trainings() -> Iterator[None]:
    cpu = presets.PRESETS["cpu"]
    settings = replace(cpu.settings["formal-languages"], updates=3, evaluate_every=2, networks=4, hidden=8, layers=1)
    sizes = {**cpu.sizes, "interactive": {"hidden": 8, "steps": 3}}
    short = presets.Preset(dict.fromkeys(ZOOS, settings), EndToEndSettings(updates=2, hidden=5), sizes)
    with pytest.MonkeyPatch.context() as patch:
        shorten_benchmark(patch, {"cpu": short})
        yield


@dataclass
class Finished:
    """A command that has finished: its exit status and what it printed."""

    status: int
    out: str
    err: str


def command(*arguments: object) -> Finished:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr("sys.argv", ["rnn-zoos", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    return Finished(int(stop.value.code or 0), out.getvalue(), err.getvalue())


def benchmark_arguments(zoo: Path, out: Path) -> list[object]:
    arguments: list[object] = ["benchmark", "--zoo", zoo, "--out", out, "--seeds", 2, "--workers", 1]
    for name in ENCODER_NAMES:
        arguments += ["--encoder", name]
    return arguments


@pytest.fixture(scope="module")
def out(zoo, tmp_path_factory) -> Iterator[Path]:
    """The results of the command for a built-in encoder, an encoder of the user, and all controls."""
    folder = tmp_path_factory.mktemp("benchmark")
    shutil.copy(TEMPLATE, folder / "user_module.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        finished = command(*benchmark_arguments(zoo, folder / "out"))
        assert finished.status == 0 and "leaderboard" in finished.out.splitlines()[-1], finished.err
        yield folder / "out"


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "formal-languages").glob("*.json")}


def test_the_command_writes_a_file_per_encoder_and_seed_and_per_control(zoo, out):
    before = contents(out)
    assert len(before) == 4 + 2 * len(REFERENCES) + len(CONTROLS) and "user_module.MyEncoder.1.json" in before
    assert command(*benchmark_arguments(zoo, out)).status == 0 and contents(out) == before
    result = json.loads(before["interactive.0.json"])
    assert result["queries"] == 12 and result["information"] == "queries" and result["flop_per_network"] > 1000
    assert result["zoo"]["sha256"] == load_data(zoo).zoo.identity and len(result["history"]) == 2
    assert json.loads(before["user_module.MyEncoder.0.json"])["queries"] == 10


def test_results_of_an_encoder_of_the_user_are_not_kept_when_its_code_has_changed(zoo, out):
    module, before = out.parent / "user_module.py", contents(out)
    code = module.read_text()
    module.write_text(f"{code}\n# better now")
    try:
        finished = command(*benchmark_arguments(zoo, out))
    finally:
        module.write_text(code)
    assert finished.status == 1 and contents(out) == before
    assert "user_module.MyEncoder.0.json is a result with different code. Use another --out." in finished.err


def test_the_leaderboard_has_a_line_per_encoder_and_control_and_the_mean_of_the_seeds(out):
    finished = command("leaderboard", out)
    lines = finished.out.splitlines()
    assert finished.status == 0 and lines[0] == "### formal-languages"
    labels = lines[lines.index("Labels, predictor linear, protocol strict, split test:") :]
    table = itertools.takewhile(lambda line: line.startswith("|"), labels[2:])
    names = [line.split("|")[1].strip() for line in table][2:]
    assert set(names[:2]) == set(ENCODER_NAMES) and "control: mean" in names
    assert set(names[2:]) == {f"reference: {name}" for name in REFERENCES} | {f"control: {name}" for name in CONTROLS}
    losses = [
        json.loads(contents(out)[f"interactive.{seed}.json"])["emulation"]["test"]["total_variation"] for seed in (0, 1)
    ]
    assert f"| {sum(losses) / 2:.4f} [" in next(line for line in lines if line.startswith("| interactive"))
    results = read_results(out)
    assert leaderboard(results, "paper", "mlp") != finished.out != leaderboard(results, split="ood")
    assert command("leaderboard", out, "--check").status == 0
    assert command("leaderboard", out, "--protocol", "loose").status == 1


def test_what_is_stored_for_the_figures_belongs_to_the_networks(zoo, out):
    data, result = load_data(zoo), json.loads(contents(out)["interactive.0.json"])
    check_figure_data(result, data)
    assert max(result["invariance"].values()) < 1e-4  # probing depends on the outputs of a network alone
    assert set(result["clones"]) == {"validation", "test", "ood"} and result["seconds"]["emulation"] > 0
    assert [entry["seconds"] > 0 for entry in result["history"]] == [True, True]


def check_figure_data(result: dict, data: ZooData) -> None:
    test, stored = data.splits["test"], result["map"]
    assert len(stored["places"]) == len(test) and sum(stored["explained"]) <= 1
    assert [stored["tasks"][number] for number in stored["task"]] == test.labels("task").tolist()
    for table in (stored, result["clone_points"]):
        assert table["accuracy"] == pytest.approx(test.labels("accuracy"), abs=6e-4)
        assert table["step"] == test.labels("step").tolist()
    clones = result["clone_points"]["clone"]
    assert np.mean(clones) == pytest.approx(result["clones"]["test"]["accuracy"], abs=1e-3)
    for split, rows in data.splits.items():
        if split != "train":
            assert result["by_run"][split]["run"] == np.unique(rows.labels("run")).tolist()
            means = [np.mean(result["by_run"][split]["total_variation"]), np.mean(result["by_position"][split])]
            assert means == pytest.approx([result["emulation"][split]["total_variation"]] * 2, rel=1e-3)
    for example in result["asked"]:
        row = data.zoo.row(example["run"], example["step"])
        assert (row["task"], row["split"]) == (example["task"], "test")
        assert row["accuracy"] == pytest.approx(example["accuracy"], rel=1e-4)
        probes = np.array(example["questions"])
        assert probes.shape == (3, 6) and np.allclose(probes.sum(axis=1), 1, atol=5e-2)
    assert [example["step"] for example in result["asked"]] == [0, 4, 4]
    first, second = (example["questions"][0] for example in result["asked"][:2])
    assert first == second  # no output has been seen yet


def test_trajectory_tasks_of_encoders_and_controls_are_those_of_the_zoo(zoo, out):
    """The zoo has one early step, no run diverged, and most of its tasks have a single run."""
    data, stored = load_data(zoo), contents(out)
    for name, control in CONTROLS.items():
        path = result_path(out, "formal-languages", name, None)
        found = json.loads(path.read_text())["trajectories"]
        assert set(found["predicted"]["paper"]) == set(control.predictors) and found["early_steps"] == [2]
    steps = json.loads(stored["control.step-only.json"])["trajectories"]
    assert steps["predicted"]["strict"]["linear"]["order"]["test"]["accuracy"]["value"] == 1
    runs = len(np.unique(data.splits["test"].labels("run")))
    chance = pytest.approx(1 / runs, rel=1e-4)
    for measure in ("top_1", "chance_top_1"):
        assert steps["retrieved"]["own_snapshot@2"]["test"][measure]["value"] == chance
    for name in ("interactive.0.json", "user_module.MyEncoder.1.json", "step-known.0.json", "control.mean.json"):
        found = json.loads(stored[name])["trajectories"]
        for predictor in ("linear", "mlp"):
            tasks = found["predicted"]["strict"][predictor]
            assert set(tasks) == {"final_accuracy@2", "order", "diverged@2"}
            assert tasks["diverged@2"]["ood"] == {"left_out": "the training rows: no run with such a snapshot diverged"}
        assert found["retrieved"]["own_snapshot@2"]["test"]["chance_top_1"]["value"] == chance
    table = leaderboard(read_results(out))
    assert "Trajectories, early snapshots at step 2, predictor linear" in table
    assert "- diverged: left out. the training rows: no run with such a snapshot diverged." in table


def test_figures_are_drawn_from_the_results(out, tmp_path):
    drawn = draw_results(read_results(out), tmp_path / "figures")
    kinds = {path.name.removesuffix("-formal-languages.png") for path in drawn}
    assert len(kinds) == len(drawn) == 10 and {"emulation", "downstream", "asked"} < kinds
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5_000 for path in drawn)


def test_results_of_other_settings_are_neither_replaced_nor_mixed(zoo, out, monkeypatch):
    cpu = presets.PRESETS["cpu"]
    longer = {name: replace(settings, updates=4) for name, settings in cpu.settings.items()}
    monkeypatch.setitem(presets.PRESETS, "cpu", replace(cpu, settings=longer))
    with pytest.raises(PlanMismatchError, match="is a result with different settings. Use another --out"):
        run_encoder(load_data(zoo), "interactive", 0, "cpu", out)
    before = contents(out)
    finished = command(*benchmark_arguments(zoo, out))
    assert finished.status == 1 and "is a result with different settings" in finished.err
    assert "leaderboard" not in finished.out and contents(out) == before


@pytest.mark.parametrize(("content", "problem"), [('{"a":', "not a readable result"), ("[]", "not a result, but list")])
def test_a_damaged_result_is_named_and_not_replaced(content, problem, zoo, tmp_path):
    path = result_path(tmp_path, "formal-languages", "step only", None)
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(FormatError, match=f"control.step-only.json is {problem}.* Delete it to make it again"):
        run_control(load_data(zoo), "step only", tmp_path)
    assert path.read_text() == content


def test_results_on_merged_biases_are_kept_apart_from_the_others(zoo, tmp_path):
    apart, merged = (load_data(zoo, biases=biases) for biases in ("apart", "merged"))
    paths = [run_encoder(data, "statistics", 0, "cpu", tmp_path) for data in (apart, merged)]
    paths += [run_control(data, "weight statistics", tmp_path) for data in (apart, merged)]
    assert len(set(paths)) == 4 and all("merged" in path.name for path in paths[1::2])
    of_apart, of_merged = (json.loads(path.read_text())["invariance"] for path in paths[:2])
    assert of_apart["biases"] > 1e-3 > of_merged["biases"] == 0  # merging twice is merging once
    assert set(controls_of("merged")) < set(controls_of("apart")) == set(CONTROLS)
    lines = leaderboard(read_results(tmp_path)).splitlines()
    names = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert {"statistics", "statistics, merged biases", "control: weight statistics, merged biases"} <= set(names)


def test_encoders_of_digits_are_measured_and_drawn(edited_zoo, tmp_path):
    edits = {"runs: 5": "runs: 24", "[0, 3, 8]": "[0, 4]", "num_layers: 3": "num_layers: 1"}
    data = load_data(edited_zoo("sequential-mnist", edits))
    done = []
    path = run_encoder(data, "interactive", 0, "cpu", tmp_path, lambda update, loss: done.append(update))
    assert done == list(range(1, BenchmarkWork("", tmp_path).updates(data, Job("interactive", 0)) + 1)), (
        "for progress bars"
    )
    result = json.loads(path.read_text())
    assert 0 <= result["clones"]["test"]["agreement"] <= 1
    assert all(set(scores) == set(family_targets("sequential-mnist")) for scores in result["end_to_end"].values())
    results = read_results(tmp_path)
    assert "task error (degrees)" in leaderboard(results)
    assert "Trajectories, no early snapshots" in leaderboard(results)
    assert len(draw_results(results, tmp_path / "figures")) == 10


def test_encoders_that_do_not_support_an_architecture_are_not_run_by_default(zoo):
    architecture = load_data(zoo).architecture
    languages, digits = (
        usable_encoders(each) for each in (architecture, replace(architecture, input_size=16, output_size=10))
    )
    assert [name for name in ENCODERS if name in languages] == languages
    rollouts = {name for name in ENCODERS if name.startswith("self-rollout")}
    assert rollouts <= set(languages) and not rollouts & set(digits)
    assert {"interactive", "flat", "dws"} <= set(languages) & set(digits)


def test_encoders_that_ask_what_a_family_does_not_read_are_not_run_by_default_and_refused(monkeypatch):
    """Numbers of two classes have the sizes of symbols that are accepted, or not: the family tells them apart."""
    two, written = Architecture("lstm", 1, 2, 5, 2), Architecture("lstm", 1, NUM_SYMBOLS, 5, NUM_SYMBOLS)
    numbers = replace(task_family("automata").benchmark, input_kind="numbers")
    assert "hankel" in usable_encoders(two, task_family("automata").benchmark)
    assert "hankel" not in usable_encoders(two, numbers) and "interactive" in usable_encoders(two, numbers)
    assert not {name for name in usable_encoders(written, numbers) if name.startswith("self-rollout")}
    assert "rotation-bank" in usable_encoders(Architecture("lstm", 1, 16, 5, 10), numbers)
    monkeypatch.setattr(presets, "benchmark_of", lambda zoo: numbers)
    with pytest.raises(
        EncoderError, match=r"hankel cannot query networks of automata\. Choose one of statistics, .*, interactive, "
    ):
        preset_of("cpu").sizes_of("hankel", "automata")
