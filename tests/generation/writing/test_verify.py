"""`verify` reproduces sound zoos, and finds weights and labels that are not those of their runs."""

import shutil
from dataclasses import replace

import pytest
from conftest import ZOOS
from damage import edit_index, replace_file

from rnn_zoos.errors import DigitsError, FormatError, PresetError
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.format.tensors import map_tensors, tensor_bytes
from rnn_zoos.generation.plan import Plan, plan_of_zoo
from rnn_zoos.generation.writing.comparison import RetrainedRun, StoredRun, compare_bits, max_changed
from rnn_zoos.generation.writing.verify import choose_runs, verify
from rnn_zoos.loaders.zoo import open_zoo


@pytest.mark.parametrize("name", ZOOS)
def test_a_sound_zoo_is_reproduced_bit_for_bit(name, zoo):
    report = verify(zoo(name), runs=3, seed=1)
    assert report.exact and report.findings == [] and len(report.runs) == 3
    assert len(report.rows) == 9 and {row["weights"] for row in report.rows} == {"equal"}


def test_at_most_all_runs_are_chosen_and_the_choice_depends_on_the_seed():
    assert choose_runs(7, 99, 0) == list(range(7)) and choose_runs(7, 0, 0) == []
    assert all(choose_runs(70, 5, seed) == choose_runs(70, 5, seed) for seed in range(4))
    assert len({tuple(choose_runs(70, 5, seed)) for seed in [0, 1, 2, None, None]}) == 5


def change_weights(out, step_row):
    """Change one weight of a snapshot of the first test run."""
    file = next(path.name for path in (out / "shards").iterdir() if path.name.startswith("test-00000"))
    tensors = {name: array.copy() for name, array in map_tensors(out / "shards" / file).items()}
    tensors["linear.weight"][step_row, 1, 2] += 0.5
    replace_file(out, f"shards/{file}", tensor_bytes(tensors, {})[0])


@pytest.mark.parametrize(
    ("place", "step", "backend"), [(0, 0, None), pytest.param(2, 11, "stacked", marks=pytest.mark.long)]
)
def test_weights_of_another_run_are_found(place, step, backend, zoo, tmp_path):
    """With the backend of the zoo every change; with another one initial weights, and weights without their labels."""
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    change_weights(out, place)
    report = verify(out, runs=7, backend=backend)
    assert report.exact == (backend is None)
    assert len(report.findings) == 1 and f"step {step}:" in report.findings[0]


def change_rollouts(out, strings):
    """Change the last symbol of some strings of the first snapshot of the first test run."""
    file = next(path.name for path in (out / "rollouts").iterdir() if path.name.startswith("test-00000"))
    tensors = {name: array.copy() for name, array in map_tensors(out / "rollouts" / file).items()}
    last = tensors["sequences"][0, :strings, -1]
    last[...] = (last + 1) % 6
    replace_file(out, f"rollouts/{file}", tensor_bytes(tensors, {})[0])


@pytest.mark.parametrize(("strings", "findings"), [pytest.param(0, 0, marks=pytest.mark.long), (1, 0), (2, 1)])
def test_more_than_a_few_strings_that_are_not_those_of_the_weights_are_found(strings, findings, zoo, tmp_path):
    """One of four may be due to rounding."""
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    change_rollouts(out, strings)
    report = verify(out, runs=7, backend="stacked")
    assert len(report.findings) == findings and all("rollouts are not" in line for line in report.findings)


@pytest.mark.long
def test_the_first_stored_step_of_a_zoo_without_step_0_has_no_initial_weights(edited_zoo):
    out = edited_zoo("formal-languages", {"runs: 7": "runs: 2", "[0, 2, 11]": "[150, 200]"})
    assert verify(out, runs=2, backend="loop").findings == []


def test_snapshots_that_the_zoo_lacks_are_found(zoo):
    opened = open_zoo(zoo("formal-languages"))
    run, _ = next(iter(plan_of_zoo(opened.manifest).runs()))
    stored = StoredRun.read(opened, run)
    again = RetrainedRun(stored.rows, {"shards": stored.weights, "rollouts": stored.rollouts}, [], {})
    assert [problem for _, problem in compare_bits(stored, again)] == [None] * 3
    cut = replace(stored, rows=stored.rows[:2])
    problems = [(row["step"], problem) for row, problem in compare_bits(cut, again)]
    assert problems[-1] == (11, "the zoo lacks it, though training does not diverge before")


@pytest.mark.parametrize("runs", [0, -1])
def test_a_verification_of_nothing_is_refused(runs, zoo):
    with pytest.raises(PresetError, match=f"is {runs}; expected at least 1"):
        verify(zoo("formal-languages"), runs=runs)


def test_few_is_derived_from_the_count():
    assert [max_changed(count) for count in (4, 13, 100, 1000, 10_000, 12_000)] == [1, 1, 2, 7, 26, 30]


@pytest.mark.parametrize("backend", [None, pytest.param("stacked", marks=pytest.mark.long)])
def test_labels_that_do_not_belong_to_the_weights_are_found(backend, zoo, tmp_path):
    out = shutil.copytree(zoo("sequential-mnist"), tmp_path / "zoo")
    edit_index(out, "train", lambda rows: rows[1].update(eval_loss=rows[1]["eval_loss"] + 0.1))
    (finding,) = verify(out, runs=5, backend=backend).findings
    assert "labels" in finding and "step 3" in finding


def test_another_backend_reports_how_close_early_weights_are(zoo):
    report = verify(zoo("formal-languages"), runs=7, backend="stacked")
    assert not report.exact and "backend loop of the zoo, stacked here" in report.criterion and report.findings == []
    assert "labels and rollouts must be those of the stored weights, up to rounding" in report.criterion
    apart = [float(row["weights"].split()[0]) for row in report.rows if row["weights"] != "equal"]
    assert 0 < max(apart) < 1e-3, "eleven updates of tiny networks"


def test_zoos_with_other_digits_and_imported_zoos_are_refused(zoo, monkeypatch, tmp_path):
    digits, languages = zoo("sequential-mnist"), zoo("formal-languages")  # made before plans get other digits
    monkeypatch.setattr(Plan, "digits", lambda plan: {"origin": "mnist", "sha256": "0" * 64})
    with pytest.raises(DigitsError, match="Give their --mnist"):
        verify(digits)
    manifest = read_manifest(languages)
    from dataclasses import replace

    out = shutil.copytree(languages, tmp_path / "zoo")
    replace(manifest, imported={"layout": "elsewhere"}).write(out)
    with pytest.raises(FormatError, match="was imported, not generated"):
        verify(out)


@pytest.mark.parametrize("backend", ["loop", "stacked"])
def test_runs_that_diverged_before_their_first_snapshot_are_verified(backend, edited_zoo):
    """There is nothing to compare of such runs."""
    changes = {"snapshots: [0, 2, 11]": "snapshots: [5, 11]", "{0: 0.01, 5: 0.003}": "{0: 1.0e+38}"}
    out = edited_zoo("formal-languages", changes)
    report = verify(out, runs=2, seed=0, workers=1, backend=backend)
    assert report.rows == [] and report.findings == [] and len(report.runs) == 2
