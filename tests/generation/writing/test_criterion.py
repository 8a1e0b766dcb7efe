"""Provenance of GPUs, and what `verify` asks of zoos that were made with one."""

import shutil
import subprocess

import pytest
import torch
from damage import edit_index, edit_manifest, edit_tensors
from old_zoos import InlinePool, remove_labels

from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.engines.groups import ShardGroup
from rnn_zoos.generation.engines.local import make_job, train_group
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.trainers import gpu
from rnn_zoos.generation.writing import criterion as criteria
from rnn_zoos.generation.writing import relabel as relabelling
from rnn_zoos.generation.writing import verify as verification
from rnn_zoos.generation.writing.criterion import criterion_of
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.provenance import merge_provenance, provenance
from rnn_zoos.generation.writing.relabel import relabel
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.processes import Worker

H100 = {"gpu": "NVIDIA H100 80GB HBM3", "driver": "550.54.15", "cuda": "12.6", "triton": "3.6.0"}
MEASURED = {"measured on": H100["gpu"]}


@pytest.fixture(autouse=True)
def _inline(monkeypatch):
    """Train and measure in the process of the test."""
    monkeypatch.setattr(verification, "WorkerPool", InlinePool)


def made(backend="triton", **versions):
    """Return the provenance of this machine's results, with other properties; None removes one."""
    plain = provenance("loop")
    properties = {**plain["versions"], **versions}
    return {**plain, "backend": backend, "versions": {k: v for k, v in properties.items() if v is not None}}


@pytest.fixture
def fake_gpu(monkeypatch):
    """Let torch and nvidia-smi describe a GPU."""
    answer = subprocess.CompletedProcess((), 0, f"{H100['driver']}\n{H100['driver']}\n", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: H100["gpu"])
    monkeypatch.setattr(torch.version, "cuda", H100["cuda"])
    monkeypatch.setattr(gpu, "version", lambda name: H100[name])
    monkeypatch.setattr(gpu.subprocess, "run", lambda *args, **options: answer)
    gpu.driver_version.cache_clear()
    yield monkeypatch
    gpu.driver_version.cache_clear()


@pytest.mark.parametrize("backend", ["triton", "stacked"])
def test_the_provenance_of_a_gpu_has_its_name_and_all_versions(backend, fake_gpu):
    versions = provenance(backend)["versions"]
    assert versions == {**provenance("loop")["versions"], **H100}
    assert provenance(backend, "cuda:1", measures=True)["versions"] == {**versions, **MEASURED}
    assert provenance(backend, "cpu", measures=True) == made(backend)
    assert "gpu" not in provenance("native")["versions"]


@pytest.mark.parametrize("error", [OSError(), subprocess.TimeoutExpired("nvidia-smi", 30)])
def test_a_driver_that_does_not_tell_its_version_is_unknown(error, fake_gpu):
    def run(*args, **options):
        raise error

    fake_gpu.setattr(gpu.subprocess, "run", run)
    assert provenance("triton")["versions"]["driver"] == "unknown"


def test_a_cpu_has_no_properties_of_gpus():
    assert provenance("stacked", "cpu", measures=True) == made("stacked")
    assert provenance("native")["versions"].keys() == {"rnn-zoos", "torch", "numpy", "python", "instruction set"}


@pytest.mark.parametrize("name", ["gpu", "cuda", "triton", "torch", "numpy"])
def test_another_gpu_or_version_asks_for_no_equal_bits_and_says_why(name):
    criterion = criterion_of(made(**H100), made(**{**H100, name: "other"}))
    assert (criterion.weights, criterion.labels) == (False, False)
    old = made(**H100)["versions"][name]
    assert f"{name} {old} of the zoo, other here" in str(criterion) and "initial weights must be equal" in str(
        criterion
    )


def test_the_driver_does_not_decide_and_triton_only_for_its_own_backend():
    for zoo, here in [
        (made(**H100), made(**{**H100, "driver": "999"})),
        (made("loop", **H100), made("loop", **{**H100, "triton": "0"})),
    ]:
        assert criterion_of(zoo, here).labels
    assert str(criterion_of(made(**H100), made(**H100))) == "same backend and machine: every bit must be equal."


def test_stacks_on_a_gpu_are_reproduced_up_to_rounding():
    """cuBLAS chooses products by the number of networks, and verify trains a few runs."""
    assert not criterion_of(made("stacked", **H100), made("stacked", **H100)).weights
    assert criterion_of(made("stacked"), made("stacked")).labels


def test_what_a_gpu_measured_may_differ_by_rounding_and_weights_may_not():
    criterion = criterion_of(made(**H100, **MEASURED), made(**H100))
    assert (criterion.weights, criterion.labels) == (True, False)
    assert "measured by stacks of networks on NVIDIA H100" in str(criterion)
    assert "every bit of the weights must be equal; labels" in str(criterion)


def test_zoos_that_are_older_than_these_properties():
    assert criterion_of(made("native"), made("native")).labels
    old = criterion_of(made(), made(**H100))
    assert not old.weights and "gpu unknown of the zoo, NVIDIA H100 80GB HBM3 here" in str(old)
    assert "gpu NVIDIA H100 80GB HBM3 of the zoo, none here" in str(criterion_of(made(**H100), made()))


def test_parts_of_two_gpus_ask_for_no_equal_bits():
    both = merge_provenance([made(**H100), made(**{**H100, "gpu": "NVIDIA H200"})])
    assert not criterion_of(both, made(**H100)).weights and "H100 80GB HBM3 / NVIDIA H200" in both["versions"]["gpu"]


def pretend_same_gpu(monkeypatch):
    """Let this machine have the GPU of `measured_zoo`, and let stacks keep all bits there, as they do on a CPU."""
    monkeypatch.setattr(verification, "provenance", lambda backend: made(backend, **H100))
    monkeypatch.setattr(criteria, "WITHOUT_BITS", ())


@pytest.fixture(scope="module")
def measured_zoo(tiny_preset, tmp_path_factory):
    """Return a function: name -> zoo whose snapshots were measured as stacks; its provenance claims a GPU."""
    zoos = {}

    def make(name):
        if name not in zoos:
            directory = zoos[name] = tmp_path_factory.mktemp(name)
            plan = make_plan(name, tiny_preset(), backend="stacked")
            with locked(directory):
                workspace = Workspace(directory, plan)
                shards, worker = workspace.begin_or_resume(), Worker(0, lambda updates: None)
                train_group(plan, directory, ("cpu",), 99, True, ShardGroup(tuple(shards)), worker)
                for shard in shards:
                    make_job(plan, directory, shard, worker)
                finish(workspace)
            edit_manifest(directory / "zoo.json", lambda data: data["made"]["versions"].update({**H100, **MEASURED}))
        return zoos[name]

    return make


@pytest.mark.parametrize("same_gpu", [True, False])
@pytest.mark.parametrize("name", ["formal-languages", pytest.param("sequential-mnist", marks=pytest.mark.long)])
def test_a_zoo_from_a_gpu_is_verified(name, same_gpu, measured_zoo, monkeypatch):
    if same_gpu:
        pretend_same_gpu(monkeypatch)
    report = verification.verify(measured_zoo(name), runs=3, seed=1)
    assert report.findings == [] and not report.exact
    assert ("every bit of the weights" in report.criterion) == same_gpu
    assert (
        {row["labels"] for row in report.rows} == {row["rollouts"] for row in report.rows} == {"those of the weights"}
    )


@pytest.mark.parametrize("same_gpu", [pytest.param(True, marks=pytest.mark.long), False])
def test_wrong_labels_and_wrong_bits_of_weights_of_a_zoo_from_a_gpu_are_found(
    same_gpu, measured_zoo, monkeypatch, tmp_path
):
    if same_gpu:
        pretend_same_gpu(monkeypatch)
    out = shutil.copytree(measured_zoo("sequential-mnist"), tmp_path / "zoo")
    edit_index(out, "train", lambda rows: rows[1].update(accuracy=rows[1]["accuracy"] + 3 / 23))
    shard = next(path for path in (out / "shards").iterdir() if path.name.startswith("train-00000"))

    def change(tensors):
        tensors["linear.bias"][2, 3] += 1e-6

    edit_tensors(out, f"shards/{shard.name}", change)
    findings = verification.verify(out, runs=5).findings
    assert "step 3: its labels are not those of its weights" in findings[0]
    assert [line.partition(", ")[2] for line in findings[1:]] == ["step 8: weights differ."] * same_gpu


def test_labels_are_added_to_a_zoo_from_a_gpu_on_a_cpu(measured_zoo, fake_gpu, tmp_path):
    """This machine seems to have another GPU, which measures nothing here."""
    fake_gpu.setattr(torch.cuda, "get_device_name", lambda device: "another")
    fake_gpu.setattr(relabelling, "WorkerPool", InlinePool)
    original = measured_zoo("formal-languages")
    out = remove_labels(shutil.copytree(original, tmp_path / "zoo"), "finished", "loss")
    assert relabel(out).labels == ("finished", "loss")
    assert check_zoo(out) == []
    assert read_manifest(out).made["versions"] == read_manifest(original).made["versions"]
