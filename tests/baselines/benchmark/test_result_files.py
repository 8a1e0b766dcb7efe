"""Result files: small, and damaged or incomparable ones are rejected with a reason."""

import json

import numpy as np
import pytest
from synthetic_results import DIGITS, LANGUAGES, Fake, many_results, stored, synthetic, synthetic_control, write_results

from rnn_zoos.baselines.benchmark.leaderboard import leaderboard
from rnn_zoos.baselines.benchmark.result_files import (
    ScoreSelection,
    group_by_zoo,
    read_results,
    score_of,
    sort_by_loss,
    used_predictor,
    write_result,
)
from rnn_zoos.baselines.benchmark.result_format import check_result
from rnn_zoos.baselines.downstream.controls import CONTROLS
from rnn_zoos.cli import app as cli
from rnn_zoos.errors import FormatError

INTERACTIVE, BOOSTED = "interactive.0.json", "control.weight-statistics-boosted-trees.json"
BOOSTED_CONTROL = "weight statistics, boosted trees"


@pytest.fixture
def results(tmp_path):
    """A folder with results of an encoder, a reference and controls."""
    fakes = (Fake("interactive", 0.02, 88, "queries"), Fake("constant", 0.07, 0, "labels"))
    made = [synthetic(LANGUAGES, fake, seed) for fake in fakes for seed in range(2)]
    made += [synthetic_control(LANGUAGES, name) for name in ("mean", BOOSTED_CONTROL)]
    return write_results(made, tmp_path) / LANGUAGES


def test_the_order_is_that_of_the_losses_that_are_shown():
    """They are means over runs; runs that diverge have fewer snapshots, so means over snapshots are others."""
    better, worse = synthetic(LANGUAGES, Fake("flat", 0.03)), synthetic(LANGUAGES, Fake("dws", 0.05))
    better["emulation"]["test"]["total_variation"], worse["emulation"]["test"]["total_variation"] = 0.06, 0.02
    assert list(sort_by_loss(group_by_zoo([worse, better])[LANGUAGES])) == ["flat", "dws"]


BATCH_SIZE = {"columns": ["batch_size"], "kind": "classes", "shown": ["accuracy"]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "colours"},
        {"kind": ["number"]},
        {"shown": ["degrees"]},
        {"shown": []},
        {"columns": "batch_size"},
        {"columns": [1]},
        {"from_step": "0"},
        {"log": 1},
        {"unit": "sequences"},
    ],
)
def test_a_description_of_targets_that_cannot_be_read_is_reported(wrong, results):
    edit(results / INTERACTIVE, lambda result: result.update(targets={"batch_size": BATCH_SIZE | wrong}))
    assert check_result(results / INTERACTIVE)[0].startswith("targets is not a description of targets")


def edit(path, change) -> None:
    result = json.loads(path.read_text())
    change(result)
    path.write_text(json.dumps(result))


PROBLEMS = {
    "Missing keys: queries.": lambda result: result.pop("queries"),
    "Missing keys: end_to_end.": lambda result: result.pop("end_to_end"),
    "Not a result of format 2.": lambda result: result.update(format=1),
    "Unknown zoo 'birds'; known: formal-languages, sequential-mnist, automata.": lambda result: result["zoo"].update(
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
    "downstream.strict.mlp.accuracy.test.r_squared_within_steps.value is missing": lambda result: result["downstream"][
        "strict"
    ]["mlp"]["accuracy"]["test"].pop("r_squared_within_steps"),
    "end_to_end.paper.step.ood.accuracy.high is missing": lambda result: result["end_to_end"]["paper"]["step"][
        "ood"
    ].update(accuracy=1),
    "retrieval.task_trained.ood.accuracy.value is missing": lambda result: result["retrieval"]["task_trained"].pop(
        "ood"
    ),
    "targets is not a description of targets; expected name -> columns, kind, shown,": lambda result: result.update(
        targets=["step"]
    ),
    "downstream.strict.linear.batch_size.test.accuracy.value is missing": lambda result: result.update(
        targets={"batch_size": {**BATCH_SIZE, "log": False}}
    ),
    "trajectories.early_steps is not a list of steps": lambda result: result["trajectories"].update(early_steps="100"),
    "trajectories.predicted.strict.mlp.order.ood.accuracy.value is missing": lambda result: result["trajectories"][
        "predicted"
    ]["strict"]["mlp"]["order"].pop("ood"),
    "trajectories.predicted.paper.linear.final_accuracy@200.test.r_squared.low is missing": lambda result: result[
        "trajectories"
    ]["predicted"]["paper"]["linear"].pop("final_accuracy@200"),
    "trajectories.predicted.strict.linear.diverged@100.test.majority.value is missing": lambda result: result[
        "trajectories"
    ]["predicted"]["strict"]["linear"]["diverged@100"].update(test={"left_out": None}),
    "trajectories.retrieved.own_snapshot_of_task@100.validation.chance_top_1.high is missing": lambda result: result[
        "trajectories"
    ].update(retrieved={}),
    "map has {'places': 0, 'task': 0, 'step': 0, 'accuracy': 0} entries": lambda result: result.update(map={}),
    "map has {'places': 300, 'task': 299, 'step': 300, 'accuracy': 300} entries": lambda result: result["map"][
        "task"
    ].pop(),
    "by_run.ood has {'run': 120, 'task': 120, 'total_variation': 0} entries": lambda result: result["by_run"][
        "ood"
    ].pop("total_variation"),
    "clone_points has {'clone': 299, ": lambda result: result["clone_points"]["clone"].pop(),
    "by_position.validation has no losses": lambda result: result["by_position"].update(validation=[]),
    "history has no evaluations": lambda result: result.update(history=[]),
    "history has an evaluation without seconds.": lambda result: result["history"][3].pop("seconds"),
    "clones.test.correlation is missing": lambda result: result["clones"].update(test=None),
    "seed is 'zero'; expected a number.": lambda result: result.update(seed="zero"),
    "by_run.test.total_variation has -3.0; expected numbers": lambda result: result["by_run"]["test"][
        "total_variation"
    ].__setitem__(7, -3.0),
    "by_run.ood.total_variation has None; expected numbers": lambda result: result["by_run"]["ood"][
        "total_variation"
    ].__setitem__(0, None),
    "zoo.sha256 is missing; expected a text.": lambda result: result["zoo"].pop("sha256"),
    "zoo.preset is 3; expected a text.": lambda result: result["zoo"].update(preset=3),
    "transfer is 'zzz'; expected one of (None, 'cells', 'sizes').": lambda result: result.update(transfer="zzz"),
    "biases is None; expected one of ('apart', 'merged').": lambda result: result.update(biases=None),
    "sizes is 3; expected names and values.": lambda result: result.update(sizes=3),
    "settings is None; expected names and values.": lambda result: result.update(settings=None),
    "seconds.emulation is missing; expected a number.": lambda result: result["seconds"].pop("emulation"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_problem_of_a_file_is_reported(problem, results):
    assert check_result(results / INTERACTIVE) == []
    edit(results / INTERACTIVE, PROBLEMS[problem])
    assert any(problem in line for line in check_result(results / INTERACTIVE)), check_result(results / INTERACTIVE)
    with pytest.raises(FormatError, match="leaderboard .* --check. lists all problems"):
        read_results(results)


def test_a_reference_needs_no_end_to_end_training_and_probes_need_not_be_stored(results):
    edit(results / INTERACTIVE, lambda result: result.pop("asked"))
    assert check_result(results / INTERACTIVE) == check_result(results / "constant.0.json") == []
    edit(results / "constant.0.json", lambda result: result.update(information="weights"))
    assert check_result(results / "constant.0.json") == ["Missing keys: end_to_end."]


def test_results_from_before_trajectory_tasks_are_read_and_shown_without_them(results):
    table = leaderboard(read_results(results))
    assert "Trajectories, early snapshots at step 100, predictor linear, protocol strict, split test:" in table
    for path in results.glob("*.json"):
        edit(path, lambda result: result.pop("trajectories"))
        assert check_result(path) == []
    older = leaderboard(read_results(results))
    assert "Trajectories" not in older and set(older.splitlines()) < set(table.splitlines())


def test_the_command_lists_all_problems(results, monkeypatch, capsys):
    edit(results / INTERACTIVE, PROBLEMS["Missing keys: queries."])
    (results / "control.mean.json").write_text("{")
    monkeypatch.setattr("sys.argv", ["rnn-zoos", "leaderboard", str(results), "--check"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out = capsys.readouterr().out
    assert stop.value.code == 1 and "Missing keys: queries." in out and "Not readable as JSON" in out


def test_a_result_that_may_not_be_read_is_not_called_invalid_json(tmp_path):
    (tmp_path / "folder.json").mkdir()  # root may read any file, but nobody a directory
    assert check_result(tmp_path / "folder.json") == ["Cannot be read: Is a directory."]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda result: result.update(seed=1), "interactive.1.json has the same encoder and seed as .*interactive.0"),
        (lambda result: result["zoo"].update(sha256="f"), "was made on a different zoo than"),
        (lambda result: result["settings"].update(networks=9), "has different settings than"),
        (lambda result: result["end_to_end_settings"].update(updates=9), "has different settings of end-to-end"),
        (lambda result: result["sizes"].update(hidden=9), "is of an encoder of another size than .*interactive.0"),
        (lambda result: result.update(queries=9), "is of an encoder of another size than"),
        (lambda result: result.update(parameters=9), "is of an encoder of another size than"),
        (lambda result: result.update(code="9"), "is of an encoder with other code than"),
    ],
)
def test_results_that_cannot_be_compared_are_rejected(change, message, results):
    edit(results / INTERACTIVE, change)
    with pytest.raises(FormatError, match=message):
        read_results(results)


def test_a_folder_without_results_is_rejected(tmp_path):
    with pytest.raises(FormatError, match="has no result files. Expected the --out of"):
        read_results(tmp_path)


def test_numbers_are_rounded_except_those_of_the_identity_and_a_line_has_one_entry(tmp_path):
    path = tmp_path / "result.json"
    identity, measured = {"settings": {"learning_rate": 0.0012345678}}, {"losses": [1 / 3, {"deep": 123456.7}], "n": 7}
    write_result(path, identity, measured)
    assert json.loads(path.read_text()) == {**identity, "losses": [0.33333, {"deep": 123460.0}], "n": 7}
    assert path.read_text().splitlines()[2] == '"losses":[0.33333,{"deep":123460.0}],'


@pytest.mark.parametrize("zoo", [LANGUAGES, DIGITS])
def test_result_files_of_large_zoos_are_small(zoo, tmp_path):
    result = synthetic(zoo, Fake("statistics", 0.01))
    folder = write_results([result], tmp_path)
    (path,) = folder.rglob("*.json")
    assert path.stat().st_size < 60_000 and check_result(path) == []
    read = json.loads(path.read_text())
    assert np.allclose(
        read["by_run"]["test"]["total_variation"], result["by_run"]["test"]["total_variation"], rtol=1e-4
    )


def test_scores_are_those_of_the_selected_protocol_predictor_split_and_measure(results):
    result = json.loads((results / INTERACTIVE).read_text())
    for protocol in ("strict", "paper"):
        for predictor in ("linear", "mlp"):
            expected = result["downstream"][protocol][predictor]["accuracy"]["ood"]
            selection = ScoreSelection(protocol, predictor, "ood")
            assert score_of(result, "accuracy", selection) == expected["r_squared"]
            assert score_of(result, "accuracy", selection, "kendall_tau") == expected["kendall_tau"]
        expected = result["end_to_end"][protocol]["step"]["test"]["accuracy"]
        assert score_of(result, "step", ScoreSelection(protocol, predictor="end-to-end")) == expected
    for name in ("control.mean.json", "constant.0.json"):
        other = json.loads((results / name).read_text())
        assert score_of(other, "step", ScoreSelection(predictor="end-to-end")) is None


def test_only_a_control_that_is_named_after_its_predictor_has_another_than_the_selected_one(results):
    boosted = json.loads((results / BOOSTED).read_text())
    assert CONTROLS[BOOSTED_CONTROL].predictors == ("boosting",)
    assert used_predictor(boosted, ScoreSelection(predictor="mlp")) == "boosting"
    table = leaderboard(read_results(results), predictor="mlp")
    note = f"- control: {BOOSTED_CONTROL}: always with its own predictor, `boosting`."
    assert table.count(note) == table.count("its own predictor") == 1
    assert "its own predictor" not in leaderboard(read_results(results), predictor="end-to-end")
    (results / BOOSTED).unlink()
    assert "its own predictor" not in leaderboard(read_results(results), predictor="mlp")


@pytest.mark.parametrize("name", [INTERACTIVE, "control.mean.json", "constant.0.json"])
def test_a_missing_predictor_is_never_replaced_by_another(name, results):
    for protocol in ("strict", "paper"):
        edit(results / name, lambda result, protocol=protocol: result["downstream"][protocol].pop("mlp"))
    message = f"{name.split('.')[-3]} on formal-languages has no predictor 'mlp'; it has linear"
    with pytest.raises(FormatError, match=message.replace("control", "mean")):
        leaderboard(read_results(results), predictor="mlp")
    assert "| interactive |" in leaderboard(read_results(results))


def test_a_control_that_lacks_its_own_predictor_is_reported(results):
    edit(results / BOOSTED, lambda result: result["downstream"]["strict"].update(linear={}))
    result = json.loads((results / BOOSTED).read_text())
    del result["downstream"]["strict"]["boosting"]
    with pytest.raises(FormatError, match="has no predictor 'boosting'; it has linear"):
        used_predictor(result, ScoreSelection())


def test_results_read_are_those_written(tmp_path):
    results = [stored(result) for result in many_results(DIGITS, seeds=1)]
    read = read_results(write_results(results, tmp_path))
    assert len(read) == len(results)
    assert {result.get("encoder") for result in read} == {result.get("encoder") for result in results}
