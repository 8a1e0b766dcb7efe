"""Devices that train many runs at once hand them over in files, measured or not, which survive a kill."""

import numpy as np
import pytest
import torch
from conftest import ZOOS, contents, generate_in_process
from old_zoos import LabelledLanguages
from synthetic import Synthetic

from rnn_zoos.errors import IntegrityError
from rnn_zoos.families.labels import is_fraction, rounding
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.index import read_index
from rnn_zoos.format.tensors import map_tensors
from rnn_zoos.generation.engines import local
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.engines.groups import ShardArrays, ShardGroup, train_together
from rnn_zoos.generation.engines.local import LocalEngine, train_group
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.trainers.stacked import StackedTrainer
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.handover import has_trained, read_trained, remove_trained, write_trained
from rnn_zoos.generation.writing.measured import measures_stacks
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.processes import Worker


def ignore(updates):
    """A `report`."""


def rows_of(directory, split):
    return read_index(directory / f"index/{split}.parquet").to_pylist()


def assert_close_rollouts(found, expected):
    """Equal strings or digits but for one, name -> [rows, N, ...], and close numbers wherever they are equal."""
    assert found.keys() == expected.keys()
    whole = [name for name, array in expected.items() if array.dtype.kind != "f"]
    count, rollouts = expected[whole[0]].shape[:2]
    same = np.ones((count, rollouts), bool)
    for name in whole:
        same &= (found[name] == expected[name]).reshape(count, rollouts, -1).all(axis=-1)
    assert (~same).sum() <= 1
    for name in expected.keys() - set(whole):
        numbers = (arrays[name][same].astype(np.float32) for arrays in (found, expected))
        np.testing.assert_allclose(*numbers, rtol=2e-3, atol=1e-3)


def assert_equal_up_to_rounding(directory, expected, name):
    """Equal weights; labels and rollouts up to a string or a digit, and rounding."""
    assert contents(directory).keys() == contents(expected).keys()
    for path, data in contents(expected).items():
        if path.startswith("shards/"):
            assert (directory / path).read_bytes() == data
        if path.startswith("rollouts/"):
            assert_close_rollouts(map_tensors(directory / path), map_tensors(expected / path))
    family = task_family(name)
    further = {label for label, own in family.further_labels.items() if own.measure_stack}
    labels = {*family.label_columns, *further}
    for split in ("train", "validation", "test", "ood"):
        if not (expected / f"index/{split}.parquet").is_file():
            continue
        for row, other in zip(rows_of(directory, split), rows_of(expected, split), strict=True):
            assert {k: v for k, v in row.items() if k not in labels} == {
                k: v for k, v in other.items() if k not in labels
            }
            for label in labels:
                allowed = rounding(family, label) if label in further else 1e-5
                if (label not in further and "a" in label) or is_fraction(family, label):
                    allowed = 1.1 / 13
                assert row[label] == pytest.approx(other[label], rel=allowed, abs=allowed)


@pytest.mark.parametrize("cell", ["lstm", *(pytest.param(cell, marks=pytest.mark.long) for cell in ("gru", "rnn"))])
@pytest.mark.parametrize("name", ZOOS)
def test_devices_that_measure_give_the_zoo_of_workers_that_measure_up_to_rounding(name, cell, tiny_preset, tmp_path):
    plan = make_plan(name, tiny_preset(cell), backend="stacked")
    generate_in_process(tmp_path / "alone", plan)
    make_all(tmp_path / "zoo", make_plan(name, tiny_preset(cell), runs=3, backend="stacked"), measure=True)
    make_all(tmp_path / "zoo", plan, measure=True)  # extended: one shard already has a run
    assert check_zoo(tmp_path / "zoo") == []
    assert_equal_up_to_rounding(tmp_path / "zoo", tmp_path / "alone", name)


@pytest.mark.slow
def test_the_engine_lets_devices_measure(tiny_preset, tmp_path):
    """Both devices are the CPU."""
    plan = make_plan("formal-languages", tiny_preset(), backend="stacked")
    make_all(tmp_path / "alone", plan, measure=True)
    generate(plan, tmp_path / "zoo", LocalEngine(2, ("cpu", "cpu"), 3, measure_on_devices=True))
    assert_equal_up_to_rounding(tmp_path / "zoo", tmp_path / "alone", "formal-languages")


def test_only_gpus_measure_and_only_for_families_that_can(monkeypatch):
    languages, cpu, gpu = task_family("formal-languages"), torch.device("cpu"), torch.device("cuda:0")
    assert measures_stacks(languages, gpu) and not measures_stacks(languages, cpu)
    assert not measures_stacks(Synthetic(), gpu)

    class OwnEvaluation(type(languages)):
        def evaluate(self, network, seed, run, task, step, evaluation):
            """Measure something else than the inherited `evaluate_stack` would."""

    assert not measures_stacks(OwnEvaluation(), gpu)


def test_further_labels_of_measured_runs_are_measured_by_their_own_functions(tiny_preset, tmp_path, monkeypatch):
    plan = make_plan("formal-languages", tiny_preset(), backend="stacked")
    monkeypatch.setattr(Plan, "family", LabelledLanguages())
    generate_in_process(tmp_path / "alone", plan)
    make_all(tmp_path / "zoo", plan, measure=True)
    for split in ("train", "ood"):
        for row, other in zip(rows_of(tmp_path / "zoo", split), rows_of(tmp_path / "alone", split), strict=True):
            assert row["square_sum"] == other["square_sum"] > 0


def make_all(directory, plan, measure):
    """Do what the engine does, in this process."""
    from rnn_zoos.generation.writing.finishing import finish

    with locked(directory):
        workspace = Workspace(directory, plan)
        shards = workspace.begin_or_resume()
        train_group(plan, directory, ("cpu",), 99, measure, ShardGroup(tuple(shards)), Worker(0, ignore))
        for shard in shards:
            assert has_trained(workspace, shard)
            local.make_job(plan, directory, shard, Worker(0, ignore))
            assert not has_trained(workspace, shard)
        finish(workspace)


@pytest.fixture
def trained(tiny_preset, tmp_path):
    """A directory whose devices were killed when they had trained all runs; its workspace and its shards."""
    plan = make_plan("formal-languages", tiny_preset(), backend="stacked")
    workspace = Workspace(tmp_path / "zoo", plan)
    with locked(workspace.directory):
        shards = workspace.begin_or_resume()
        train_group(plan, workspace.directory, ("cpu",), 99, None, ShardGroup(tuple(shards)), Worker(0, ignore))
    return workspace, shards


@pytest.mark.slow
@pytest.mark.parametrize("devices", [("cpu",), None])
def test_runs_that_were_trained_before_a_kill_are_not_trained_again(devices, trained, tmp_path, monkeypatch):
    """By a device or, where there is none, by workers."""
    workspace, _ = trained
    generate_in_process(tmp_path / "alone", workspace.plan)
    monkeypatch.setattr(local, "train_group", None)
    monkeypatch.setattr(StackedTrainer, "train", None)
    monkeypatch.setenv("PYTHONPATH", str(poison(tmp_path)))
    generate(workspace.plan, workspace.directory, LocalEngine(1, devices))
    assert contents(workspace.directory) == contents(tmp_path / "alone")


def poison(folder):
    """Return a folder for PYTHONPATH which lets the training of any run fail in worker processes."""
    code = "import rnn_zoos.generation.trainers.stacked as module\nmodule.StackedTrainer.train = None\n"
    (folder / "poison").mkdir()
    (folder / "poison" / "sitecustomize.py").write_text(code)
    return folder / "poison"


def test_runs_of_another_plan_or_of_fewer_runs_are_trained_again(trained, tiny_preset, tmp_path):
    workspace, shards = trained
    larger = make_plan("formal-languages", tiny_preset(), runs=40, backend="stacked")
    grown = {shard.name: shard for shard in larger.shards}
    again = Workspace(workspace.directory, larger)
    same = [shard for shard in shards if grown[shard.name].run_numbers == shard.run_numbers]
    assert 0 < len(same) < len(shards)
    for shard in shards:
        assert has_trained(again, grown[shard.name]) == (shard in same)
    settings = larger.settings.model_copy(update={"snapshots": (0, 2)})
    other = Workspace(workspace.directory, Plan("formal-languages", "x", settings, "stacked", "embedded"))
    assert not any(has_trained(other, grown[shard.name]) for shard in shards)


@pytest.mark.parametrize("kind", ["safetensors", "json"])
def test_a_damaged_file_is_reported_and_its_runs_are_trained_again_when_it_is_deleted(kind, trained):
    workspace, shards = trained
    path = workspace.directory / f"unfinished/trained/{shards[1].name}.{kind}"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=f"{path.name} .*Delete it"):
        read_trained(workspace, shards[1])
    path.unlink()
    assert [has_trained(workspace, shard) for shard in shards] == [shard is not shards[1] for shard in shards]
    assert read_trained(workspace, shards[1]) is None


@pytest.mark.parametrize("measure", [True, False])
@pytest.mark.parametrize("name", ZOOS)
def test_files_and_arrays_give_back_trained_runs_bit_for_bit(name, measure, tiny_preset, tmp_path):
    plan = make_plan(name, tiny_preset(), backend="stacked")
    settings = plan.settings.model_copy(update={"learning_rate": {0: 1e38}})  # some diverge
    plan = Plan(plan.zoo, plan.preset, settings, plan.backend, plan.mnist)
    workspace = Workspace(tmp_path, plan)
    for shard, trained in zip(
        plan.shards, train_together(plan, [s.runs for s in plan.shards], ignore, "cpu", 3, measure), strict=True
    ):
        write_trained(workspace, shard, trained)
        for found in (read_trained(workspace, shard), ShardArrays.of(trained).as_trained_shard()):
            assert found.made == trained.made and found.seconds == trained.seconds > 0
            for run, other in zip(found.runs, trained.runs, strict=True):
                assert (run.run, run.steps, run.diverged) == (other.run, other.steps, other.diverged)
                assert all(torch.equal(run.weights[key], tensor) for key, tensor in other.weights.items())
                assert (run.measurements is None) == (other.measurements is None) == (not measure)
                for one, two in zip(run.measurements or (), other.measurements or (), strict=True):
                    assert list(one.labels.items()) == list(two.labels.items())
                    assert all(torch.equal(one.rollouts[key], tensor) for key, tensor in two.rollouts.items())
        remove_trained(workspace, shard)
        assert read_trained(workspace, shard) is None
    assert not any((tmp_path / "unfinished/trained").iterdir())
