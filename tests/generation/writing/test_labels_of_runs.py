"""Labels of runs are the same however a zoo gets them: by generation, growth, merging or `relabel`; and are checked."""

import shutil
from contextlib import contextmanager

import pytest
from conftest import contents, generate_in_process
from damage import edit_index
from old_zoos import InlinePool, remove_labels

from rnn_zoos.errors import DigitsError, FormatError
from rnn_zoos.families.family import Measurement, TaskFamily
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.run_labels import RUN_LABELS
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.columns import missing_labels
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.trainers.trainer import TrainedRun
from rnn_zoos.generation.writing import relabel as relabelling
from rnn_zoos.generation.writing import verify as verification
from rnn_zoos.generation.writing.criterion import Criterion
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.relabel import Relabelling, estimate_relabelling, relabel
from rnn_zoos.generation.writing.shards import evaluate_run, make_shard
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.networks.model import initial_weights

NAME = "formal-languages"
LABELS = tuple(RUN_LABELS)
STEPS = (0, 2, 11)
RIGHT = {  # of 13 strings, at these steps; networks of tests have not learned anything
    0: (0, 7, 13),
    1: (0, 12, 13),
    2: (1, 5, 9),
    3: (13, 2, 7),
    4: (4, 13, 0),
    5: (0, 6, 13),
    6: (0, 9, 10),
}
EXPECTED = {0: (2, 11), 1: (2, 2), 2: (2, 11), 3: (0, 0), 4: (0, 0), 5: (11, 11), 6: (2, 2)}


@pytest.fixture(autouse=True)
def _learned(monkeypatch):
    """Let the networks of some runs be as accurate as in `RIGHT`."""
    evaluate = FormalLanguages.evaluate

    def evaluate_learned(family, network, seed, run, task, step, evaluation):
        measured = evaluate(family, network, seed, run, task, step, evaluation)
        accuracy = RIGHT[run][STEPS.index(step)] / 13
        return Measurement({**measured.labels, "accuracy": accuracy}, measured.rollouts)

    monkeypatch.setattr(FormalLanguages, "evaluate", evaluate_learned)
    monkeypatch.setattr(relabelling, "WorkerPool", InlinePool)
    monkeypatch.setattr(verification, "WorkerPool", InlinePool)


@pytest.fixture(scope="module")
def made():
    """Return where the zoo of the module is kept once it is made."""
    return {}


@pytest.fixture
def new(made, tiny_preset, tmp_path_factory):
    """Return a zoo of seven runs that has all labels. It must not be written to."""
    if not made:
        out = tmp_path_factory.mktemp("new")
        generate_in_process(out, make_plan(NAME, tiny_preset()))
        made["zoo"] = out
    return made["zoo"]


@pytest.fixture
def old(new, tmp_path):
    """Return a copy of it that lacks the labels of runs."""
    return remove_labels(shutil.copytree(new, tmp_path / "old"), *LABELS)


@contextmanager
def earlier_version(monkeypatch):
    """Let the code be an earlier version, without labels of runs."""
    with monkeypatch.context() as patch:
        patch.setattr(TaskFamily, "run_labels", {})
        yield


def labels_of_runs(out):
    rows = open_zoo(out).index().to_pylist()
    return {row["run"]: tuple(row[name] for name in LABELS) for row in rows}


def test_generated_zoos_have_them(new):
    assert labels_of_runs(new) == EXPECTED
    assert [*read_manifest(new).columns][-4:] == [*LABELS, "shard", "row"]
    assert len({(row["run"], row["steps_to_50"]) for row in open_zoo(new).index().to_pylist()}) == len(EXPECTED)
    assert check_zoo(new) == []


def trained(plan, run, steps, diverged=False):
    """A run with initial weights at some steps."""
    weights = initial_weights(plan.architecture, 0, run.run).items()
    return TrainedRun(run, steps, {name: one.expand(len(steps), *one.shape) for name, one in weights}, diverged)


@pytest.mark.parametrize(
    ("steps", "expected"), [((0, 2, 11), (0, 0)), ((0, 2), (2, 2)), ((0,), (0, 0)), ((11,), (11, 11)), ((), None)]
)
def test_runs_that_diverged_have_those_of_their_last_snapshot(steps, expected, tiny_preset):
    plan = make_plan(NAME, tiny_preset())
    run = next(run for run, _ in plan.runs() if run.run == 4)
    rows, _ = evaluate_run(plan, "train", trained(plan, run, steps, diverged=True))
    assert [(row["step"], *(row[name] for name in LABELS)) for row in rows] == [(step, *expected) for step in steps]


def test_snapshots_that_cannot_be_measured_do_not_count(tiny_preset, monkeypatch):
    plan, evaluate = make_plan(NAME, tiny_preset()), FormalLanguages.evaluate

    def diverge(family, network, seed, run, task, step, evaluation):
        measured = evaluate(family, network, seed, run, task, step, evaluation)
        labels = {**measured.labels, "loss": float("nan")} if step == 11 else measured.labels
        return Measurement(labels, measured.rollouts)

    monkeypatch.setattr(FormalLanguages, "evaluate", diverge)
    run = next(run for run, _ in plan.runs() if run.run == 0)
    rows, _ = evaluate_run(plan, "train", trained(plan, run, STEPS))
    assert [(row["step"], row["diverged"], row["steps_to_50"], row["steps_to_90"]) for row in rows] == [
        (0, True, 2, 2),
        (2, True, 2, 2),
    ]


def test_relabel_adds_them_without_shards_digits_or_workers(new, old, zoo, tmp_path, monkeypatch):
    digits = remove_labels(shutil.copytree(zoo("sequential-mnist"), tmp_path / "digits"), *LABELS, "test_accuracy")
    assert check_zoo(old) == [] and missing_labels(read_manifest(old), FormalLanguages()) == [*LABELS]
    shutil.rmtree(old / "shards")
    monkeypatch.setattr(relabelling, "WorkerPool", None)
    monkeypatch.setattr(Plan, "digits", None)
    made = read_manifest(old).made
    assert estimate_relabelling(old) == Relabelling(LABELS, 0, 0, 0.0)
    assert relabel(old) == Relabelling(LABELS, 0, 0)
    shutil.copytree(new / "shards", old / "shards")
    assert contents(old) == contents(new) and read_manifest(old).made == made
    assert relabel(digits, ["steps_to_90"]).labels == ("steps_to_90",)
    assert relabel(digits, ["steps_to_50"]).labels == ("steps_to_50",)
    monkeypatch.setattr(Plan, "digits", lambda plan: {"origin": "mnist", "sha256": "0" * 64})
    with pytest.raises(DigitsError):
        relabel(digits)


def test_relabel_adds_them_with_an_accuracy_that_it_measures(new, old):
    remove_labels(old, "accuracy", "weight_norm")
    assert check_zoo(old) == []
    for labels in (["steps_to_50"], ["steps_to_90", "steps_to_50", "weight_norm"]):
        with pytest.raises(FormatError, match="steps_to_50.* follow from accuracy, which this zoo lacks. Add it"):
            relabel(old, labels)
    assert relabel(old, ["weight_norm"]).labels == ("weight_norm",)
    done = relabel(old)
    assert done.labels == ("accuracy", *LABELS) and done.snapshots == 21
    assert contents(old) == contents(new) and check_zoo(old) == []


def edit_run_0(out, step, **values):
    """Replace values in one row of run 0."""
    (split,) = {row["split"] for row in open_zoo(out).index(where=[("run", "==", 0)]).to_pylist()}
    edit_index(
        out, split, lambda rows: next(row for row in rows if (row["run"], row["step"]) == (0, step)).update(values)
    )


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"steps_to_50": 0}, ["Run 0, step 2: steps_to_50 is 0; expected 2, by the accuracies of the run."]),
        ({"steps_to_90": 12}, ["Run 0, step 2: steps_to_90 is 12; expected 11, by the accuracies of the run."]),
        (
            {"accuracy": 12 / 13},
            [f"Run 0, step {step}: steps_to_90 is 11; expected 2, by the accuracies of the run." for step in STEPS],
        ),
    ],
)
def test_check_finds_labels_that_do_not_follow_from_the_accuracies(edit, expected, new, tmp_path):
    out = shutil.copytree(new, tmp_path / "zoo")
    edit_run_0(out, 2, **edit)
    assert check_zoo(out) == expected
    if "accuracy" not in edit:
        assert check_zoo(remove_labels(out, "accuracy")) == [], "there is nothing to compare with"


def begin(out, plan, count):
    """Make the first shards of a zoo, and leave it unfinished."""
    with locked(out):
        for shard in Workspace(out, plan).begin_or_resume()[:count]:
            make_shard(out, plan, shard, lambda updates: None)


def test_a_zoo_that_an_earlier_version_began_gets_them_by_relabel(old, new, tiny_preset, tmp_path, monkeypatch):
    out = tmp_path / "zoo"
    with earlier_version(monkeypatch):
        begin(out, make_plan(NAME, tiny_preset()), 2)
    generate_in_process(out, make_plan(NAME, tiny_preset()))
    assert contents(out) == contents(old)
    relabel(out)
    assert contents(out) == contents(new)


def test_runs_of_a_shard_that_grows_get_them(tiny_preset, tmp_path, monkeypatch):
    """With this seed, the only shard of the earlier version gets a second run, and then a shard follows."""
    out, plan = tmp_path / "zoo", make_plan(NAME, tiny_preset(), runs=3, seed=0)
    assert [shard.run_numbers for shard in plan.shards] == [[0, 1], [2]]
    with earlier_version(monkeypatch):
        generate_in_process(out, make_plan(NAME, tiny_preset(), runs=1, seed=0))
    assert not {*LABELS} & read_manifest(out).columns.keys()
    generate_in_process(out, plan)
    assert labels_of_runs(out) == {run: EXPECTED[run] for run in range(3)} and check_zoo(out) == []
    generate_in_process(tmp_path / "at once", plan)
    assert contents(out) == contents(tmp_path / "at once")


@pytest.mark.parametrize("first", [1, 4])
def test_a_zoo_lacks_them_if_a_shard_that_does_not_grow_lacks_them(first, old, new, tiny_preset, tmp_path, monkeypatch):
    out = tmp_path / "zoo"
    with earlier_version(monkeypatch):
        generate_in_process(out, make_plan(NAME, tiny_preset(), runs=first))
    generate_in_process(out, make_plan(NAME, tiny_preset()))
    assert contents(out) == contents(old)
    relabel(out)
    assert contents(out) == contents(new)


@pytest.fixture
def verify(monkeypatch):
    """Return a function: directory of a zoo -> report on its runs 0 and 1."""
    monkeypatch.setattr(verification, "choose_runs", lambda total, runs, seed: [0, 1])
    return verification.verify


def test_verify_compares_them(new, old, tmp_path, verify):
    assert verify(old).findings == [], "an older zoo has no such labels"
    out = shutil.copytree(new, tmp_path / "zoo")
    edit_run_0(out, 0, steps_to_90=5)
    report = verify(out)
    assert report.exact and report.findings == ["Run 0, step 0: labels differ."]


@pytest.mark.slow
def test_where_bits_may_differ_they_follow_from_the_stored_accuracies(new, tmp_path, monkeypatch, verify):
    """One string more or less that is right can move the label of a run by thousands of steps."""
    monkeypatch.setattr(verification, "criterion_of", lambda *made: Criterion(weights=False, labels=False, reason=""))
    monkeypatch.setitem(RIGHT, 0, (0, 6, 13))
    monkeypatch.setitem(RIGHT, 1, (0, 11, 13))
    assert verify(new).findings == []
    out = shutil.copytree(new, tmp_path / "zoo")
    edit_run_0(out, 11, steps_to_90=12)
    assert verify(out).findings == ["Run 0, step 11: its labels are not those of its weights."]
