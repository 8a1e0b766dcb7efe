"""Result files: damaged or incomparable ones are rejected with a reason; every number shown is the stored one."""

import json
import shutil

import pytest
from conftest import ROOT

from rnn_zoos.baselines.benchmark.leaderboard import leaderboard
from rnn_zoos.baselines.benchmark.result_files import Selection, read_results, score_of, used_predictor
from rnn_zoos.baselines.benchmark.result_format import check_result
from rnn_zoos.baselines.downstream.controls import CONTROLS
from rnn_zoos.cli import app as cli
from rnn_zoos.errors import FormatError

STORED = ROOT / "baselines" / "results" / "formal-languages"
INTERACTIVE, BOOSTED = "interactive.0.json", "control.weight-statistics-boosted-trees.json"


@pytest.fixture
def results(tmp_path):
    """A folder with some of the stored results."""
    for name in (INTERACTIVE, "interactive.1.json", "control.mean.json", BOOSTED):
        shutil.copy(STORED / name, tmp_path)
    return tmp_path


def edit(path, change) -> None:
    result = json.loads(path.read_text())
    change(result)
    path.write_text(json.dumps(result))


PROBLEMS = {
    "Missing keys: queries.": lambda result: result.pop("queries"),
    "Not a result of format 1.": lambda result: result.update(format=9),
    "Unknown zoo 'birds'; known: formal-languages, sequential-mnist.": lambda result: result["zoo"].update(
        name="birds"
    ),
    "Unknown zoo (missing); known:": lambda result: result["zoo"].pop("name"),
    "emulation.test.total_variation is 1.5; expected 0 to 1.": lambda result: result["emulation"]["test"].update(
        total_variation=1.5
    ),
    "emulation.ood.reverse_kl is missing; expected a number.": lambda result: result["emulation"]["ood"].pop(
        "reverse_kl"
    ),
    "downstream.strict.linear.task.validation.accuracy.value is missing; expected a number or null.": (
        lambda result: result.update(downstream=[])
    ),
    "downstream.paper.mlp.step.validation.accuracy.low is missing": lambda result: result["downstream"]["paper"][
        "mlp"
    ].pop("step"),
    "end_to_end.step.ood.accuracy.high is missing": lambda result: result["end_to_end"]["step"]["ood"].update(
        accuracy=1
    ),
    "map has {'places': 0, 'task': 0, 'step': 0, 'accuracy': 0} entries": lambda result: result.update(map={}),
    "entries; expected the same number of each, at least one.": lambda result: result["map"]["task"].pop(),
    "clones.test.correlation is missing": lambda result: result["clones"].update(test=None),
    "seed is 'zero'; expected a number.": lambda result: result.update(seed="zero"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_problem_of_a_file_is_reported(problem, results):
    assert check_result(results / INTERACTIVE) == []
    edit(results / INTERACTIVE, PROBLEMS[problem])
    assert any(problem in line for line in check_result(results / INTERACTIVE)), check_result(results / INTERACTIVE)
    with pytest.raises(FormatError, match="leaderboard .* --check. lists all problems"):
        read_results(results)


def test_the_command_lists_all_problems(results, monkeypatch, capsys):
    edit(results / INTERACTIVE, PROBLEMS["Missing keys: queries."])
    (results / "control.mean.json").write_text("{")
    monkeypatch.setattr("sys.argv", ["rnn-zoos", "leaderboard", str(results), "--check"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out = capsys.readouterr().out
    assert stop.value.code == 1 and "Missing keys: queries." in out and "Not readable as JSON" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda result: result.update(seed=1), "interactive.1.json has the same encoder and seed as .*interactive.0"),
        (lambda result: result["zoo"].update(sha256="f"), "was made on a different zoo than"),
        (lambda result: result["settings"].update(networks=9), "has different settings than"),
    ],
)
def test_results_that_cannot_be_compared_are_rejected(change, message, results):
    edit(results / INTERACTIVE, change)
    with pytest.raises(FormatError, match=message):
        read_results(results)


def test_a_folder_without_results_is_rejected(tmp_path):
    with pytest.raises(FormatError, match="has no result files. Expected the --out of"):
        read_results(tmp_path)


def test_scores_are_those_of_the_selected_protocol_predictor_and_split(results):
    result = json.loads((results / INTERACTIVE).read_text())
    for protocol in ("strict", "paper"):
        for predictor in ("linear", "mlp"):
            stored = result["downstream"][protocol][predictor]["accuracy"]["ood"]["r_squared"]
            assert score_of(result, "accuracy", Selection(protocol, predictor, "ood")) == stored
    stored = result["end_to_end"]["step"]["test"]["accuracy"]
    assert score_of(result, "step", Selection(predictor="end-to-end")) == stored
    control = json.loads((results / "control.mean.json").read_text())
    assert score_of(control, "step", Selection(predictor="end-to-end")) is None


def test_another_predictor_than_the_selected_one_is_named_below_the_table(results):
    boosted = json.loads((results / BOOSTED).read_text())
    assert CONTROLS[boosted["control"]].predictors == ("boosting",)
    assert used_predictor(boosted, Selection(predictor="mlp")) == "boosting"
    table = leaderboard(read_results(results), predictor="mlp")
    note = "- control: weight statistics, boosted trees: scores of predictor `boosting` instead of `mlp`."
    assert table.endswith(f"|\n\n{note}\n") and table.count("instead of") == 1
    assert "instead of" not in leaderboard(read_results(results), predictor="end-to-end")
    (results / BOOSTED).unlink()
    assert "instead of" not in leaderboard(read_results(results), predictor="mlp")


def test_the_scores_of_an_encoder_are_never_replaced_by_those_of_another_predictor(results):
    for protocol in ("strict", "paper"):
        edit(results / INTERACTIVE, lambda result, protocol=protocol: result["downstream"][protocol].pop("mlp"))
    with pytest.raises(FormatError, match="interactive on formal-languages has no predictor 'mlp'; it has linear"):
        leaderboard(read_results(results), predictor="mlp")
    assert "| interactive |" in leaderboard(read_results(results))
