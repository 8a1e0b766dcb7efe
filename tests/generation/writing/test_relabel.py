"""`relabel` gives old zoos the labels, and the bytes, of new ones, whenever it is stopped."""

import shutil
import sys
from dataclasses import replace

import pytest
from conftest import ZOOS, contents
from damage import edit_manifest
from old_zoos import InlinePool, LabelledLanguages, remove_labels

from rnn_zoos.errors import BackendError, BusyError, DigitsError, FormatError, IntegrityError, UnknownNameError
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.run_labels import RUN_LABELS
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import RELABELLING, read_manifest
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.writing import relabel as relabelling
from rnn_zoos.generation.writing.added_labels import LabelFolder, ShardLabels
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.relabel import estimate_relabelling, relabel
from rnn_zoos.loaders.zoo import open_zoo

REMOVED = {
    "formal-languages": ("accuracy", "finished", "loss"),
    "sequential-mnist": ("test_accuracy", "train_loss", "generalization_gap"),
}


@pytest.fixture
def inline(monkeypatch):
    """Measure in the process of the test."""
    monkeypatch.setattr(relabelling, "WorkerPool", InlinePool)


@pytest.fixture
def old_zoo(zoo, tmp_path):
    """Return a function: name -> directory of a zoo that lacks some labels."""
    return lambda name: remove_labels(shutil.copytree(zoo(name), tmp_path / name), *REMOVED[name])


def bytes_of_tensors(out):
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("[sr]*/*.safetensors")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOOS)
def test_a_relabelled_zoo_has_the_bytes_of_a_new_one(name, zoo, old_zoo):
    """With real workers."""
    out = old_zoo(name)
    before, tensors = contents(out), bytes_of_tensors(out)
    assert check_zoo(out) == [] and before != contents(zoo(name))
    estimate = estimate_relabelling(out, workers=2)
    assert contents(out) == before and estimate.seconds > 0
    done = relabel(out, workers=2)
    assert done.labels == estimate.labels == REMOVED[name] and done.snapshots == estimate.snapshots
    assert contents(out) == contents(zoo(name)) and check_zoo(out) == []
    assert bytes_of_tensors(out) == tensors, "weights and rollouts are not written again"
    made = read_manifest(out).made
    assert made["versions"] == read_manifest(zoo(name)).made["versions"], "the same machine measured all labels"


def test_chosen_labels_are_added_where_a_new_zoo_has_them(zoo, old_zoo, inline):
    out = old_zoo("formal-languages")
    assert relabel(out, ["loss"]).labels == ("loss",)
    labels = ["count_accuracy", "loss", *FormalLanguages.further_labels, *RUN_LABELS]
    assert [*read_manifest(out).columns][9:] == [*labels, "shard", "row"] and check_zoo(out) == []
    assert relabel(out, ["accuracy", "loss", "finished"]).labels == ("accuracy", "finished")
    assert contents(out) == contents(zoo("formal-languages"))


def test_a_zoo_that_lacks_nothing_stays_as_it_is(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    (out / RELABELLING).mkdir()
    files = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert relabel(out).labels == estimate_relabelling(out).labels == relabel(out, ["loss"]).labels == ()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == files
    assert not (out / RELABELLING).exists(), "what an earlier call left is removed"


class Killed(BaseException):
    """Stands for the end of the process."""


def test_finished_shards_are_not_measured_again(zoo, old_zoo, inline, monkeypatch):
    out, measured = old_zoo("sequential-mnist"), []
    measure_shard = relabelling.measure_shard

    def measure_at_most(count, *arguments):
        if len(measured) == count:
            raise Killed
        measured.append(str(arguments[-2]))
        measure_shard(*arguments)

    monkeypatch.setattr(relabelling, "measure_shard", lambda *arguments: measure_at_most(2, *arguments))
    before = contents(out)
    with pytest.raises(Killed):
        relabel(out)
    kept = {path: data for path, data in contents(out).items() if not path.startswith(RELABELLING)}
    assert kept == before and check_zoo(out) == [], "readers are not disturbed"
    monkeypatch.setattr(relabelling, "measure_shard", lambda *arguments: measure_at_most(99, *arguments))
    relabel(out)
    assert len(measured) == len(set(measured)) == 4 and contents(out) == contents(zoo("sequential-mnist"))


def test_labels_that_belong_to_another_state_of_the_zoo_are_measured_again(zoo, old_zoo, inline):
    out = old_zoo("formal-languages")
    for path in sorted((out / "shards").iterdir()):
        shard = path.name.partition("-of-")[0]
        labels = {name: [0.125] * 6 for name in REMOVED["formal-languages"]}
        LabelFolder(out).write(shard, ShardLabels("0" * 64, labels, {}, 1.0))
    assert estimate_relabelling(out).snapshots == 21
    relabel(out)
    assert contents(out) == contents(zoo("formal-languages"))


def states_on_disk(out, folder, work):
    """Do `work` and return copies of the directory `out` as a kill would leave it before every file operation."""
    states, recording = [], True

    def record(event, arguments):
        nonlocal recording
        operations = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")
        if recording and event in operations and str(arguments[0]).startswith(str(out)):
            recording = False
            states.append(shutil.copytree(out, folder / str(len(states))))
            recording = True

    sys.addaudithook(record)
    try:
        work()
    finally:
        recording = False
    return states


def as_readers_see_it(out):
    """Return the labels of a zoo, or the message that it cannot be read now."""
    try:
        return open_zoo(out).index().to_pydict()
    except IntegrityError as error:
        return str(error)


@pytest.mark.slow
def test_wherever_relabel_is_killed_a_zoo_is_old_or_new_or_says_how_to_complete_it(zoo, old_zoo, inline, tmp_path):
    out = old_zoo("formal-languages")
    old, new = open_zoo(out).index().to_pydict(), open_zoo(zoo("formal-languages")).index().to_pydict()
    states = states_on_disk(out, tmp_path / "states", lambda: relabel(out))
    assert contents(out) == contents(zoo("formal-languages"))
    seen = []
    for state in {repr(sorted(contents(state).items())): state for state in states}.values():
        read = as_readers_see_it(state)
        if isinstance(read, str):
            seen.append("refused")
            assert f"rnn-zoos relabel {state}" in read
            with pytest.raises(IntegrityError, match="is being replaced"):
                check_zoo(state)
            with pytest.raises(IntegrityError, match="is being replaced"):
                generate(make_plan("formal-languages", "demo"), state)
        else:
            seen.append("new" if read == new else "old")
            assert read in (old, new)
            assert check_zoo(state) == []
        relabel(state)
        assert contents(state) == contents(zoo("formal-languages")) and check_zoo(state) == []
    assert sorted(set(seen)) == ["new", "old", "refused"] and len(seen) > 20
    assert seen == sorted(seen, key=["old", "refused", "new"].index)


@pytest.mark.parametrize("damaged", ["index/train.parquet", "zoo.json"])
def test_a_damaged_new_index_is_not_copied(damaged, old_zoo, inline, monkeypatch):
    out = old_zoo("formal-languages")
    with monkeypatch.context() as patch:
        patch.setattr(LabelFolder, "replace_index", lambda folder: None)
        relabel(out)
    path = out / RELABELLING / damaged
    path.write_bytes(path.read_bytes().replace(b"accuracy", b"accurate"))
    before = (out / "zoo.json").read_bytes(), (out / "index" / "train.parquet").read_bytes()
    with pytest.raises((IntegrityError, FormatError), match="sha256"):
        relabel(out)
    assert before == ((out / "zoo.json").read_bytes(), (out / "index" / "train.parquet").read_bytes())


def test_what_cannot_be_relabelled_is_refused(zoo, old_zoo, inline, monkeypatch, tmp_path):
    out = old_zoo("formal-languages")
    with pytest.raises(UnknownNameError, match="Unknown label 'los'.*Did you mean 'loss'"):
        relabel(out, ["los"])
    with pytest.raises(FormatError, match="is not a zoo"):
        relabel(tmp_path)
    assert not (tmp_path / ".lock").exists()
    with locked(out), pytest.raises(BusyError):
        relabel(out)
    shard = sorted((out / "shards").iterdir())[0]
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="has sha256"):
        relabel(out)
    (out / "unfinished").mkdir()
    with pytest.raises(FormatError, match="is being made or extended"):
        relabel(out)
    digits = old_zoo("sequential-mnist")  # made before its plan gets other digits
    monkeypatch.setattr(Plan, "digits", lambda plan: {"origin": "mnist", "sha256": "0" * 64})
    with pytest.raises(DigitsError, match="Give their --mnist"):
        relabel(digits)


def test_labels_of_an_imported_zoo_come_from_its_source(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    replace(read_manifest(out), imported={"layout": "elsewhere"}).write(out)
    with pytest.raises(FormatError, match="original_accuracy cannot be measured on its weights"):
        relabel(out, ["original_accuracy"])
    assert relabel(out, ["loss"]).labels == ()


def test_a_label_that_is_not_finite_is_named(zoo, tmp_path, inline, monkeypatch):
    label = replace(
        LabelledLanguages.further_labels["square_sum"],
        measure=lambda family, snapshot: 1e39 if snapshot.step == 11 else 1.0,  # beyond float32
    )
    monkeypatch.setattr(FormalLanguages, "further_labels", {**LabelledLanguages.further_labels, "square_sum": label})
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    with pytest.raises(FormatError, match=r"square_sum of run \d, step 11 is 1e\+39; a zoo has finite"):
        relabel(out)


def test_a_machine_without_the_backend_measures_with_torch_and_says_so(zoo, old_zoo, inline, monkeypatch):
    """The bits of digits may then differ, so the zoo is not verified bit by bit any more."""
    out = old_zoo("sequential-mnist")
    made = {"backend": "native", "versions": {"torch": "2.0", "instruction set": "avx512"}, "machine": "elsewhere"}
    edit_manifest(out / "zoo.json", lambda data: data["made"].update(made))

    def refuse(backend):
        raise BackendError(backend)

    monkeypatch.setattr(relabelling, "make_trainer", refuse)
    relabel(out)
    found = read_manifest(out).made
    assert found["backend"] == "native" and found["versions"]["instruction set"] == "avx512 / torch"
    assert found["versions"]["torch"].startswith("2.0 / ") and found["machine"].startswith("elsewhere / ")
    assert check_zoo(out) == []
