"""A run is the same network however it is generated, and a crash loses at most the shards being computed."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import CELLS, ZOOS, contents, generate_in_process
from faults import assert_nothing_runs, descendants, send_signal, stderr_of, wait_for, workers_of

from rnn_zoos.errors import (
    BackendError,
    BusyError,
    DeviceError,
    FormatError,
    IntegrityError,
    PlanMismatchError,
    PresetError,
    StorageError,
    WorkerError,
)
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.engines import local
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.engines.groups import group_shards
from rnn_zoos.generation.engines.local import LocalEngine
from rnn_zoos.generation.engines.progress import Progress
from rnn_zoos.generation.engines.ray_engine import RayEngine
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.reopening import reopen_zoo
from rnn_zoos.generation.writing.shards import make_shard
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.loaders.zoo import open_zoo


def generate_command(zoo: str, preset: str, out: Path, *options: str) -> list[str]:
    command = [sys.executable, "-m", "rnn_zoos", "generate", zoo, "--preset", preset, "--out", str(out)]
    return [*command, "--backend", "loop", "--mnist", "embedded", *options]


@pytest.mark.parametrize("name", ["formal-languages", pytest.param("sequential-mnist", marks=pytest.mark.long)])
def test_one_worker_two_workers_and_no_worker_give_the_same_bytes(name, zoo, tiny_preset, tmp_path):
    for workers in (1, 2):
        manifest = generate(make_plan(name, tiny_preset()), tmp_path / str(workers), LocalEngine(workers))
        assert contents(tmp_path / str(workers)) == contents(zoo(name))
        assert check_zoo(tmp_path / str(workers)) == []
    assert manifest == read_manifest(tmp_path / "2")
    before = contents(tmp_path / "2")
    assert generate(make_plan(name, tiny_preset()), tmp_path / "2") == manifest, "a second call has nothing left to do"
    assert contents(tmp_path / "2") == before


def test_the_native_trainer_gives_the_same_bytes_with_any_number_of_workers(tiny_preset, tmp_path):
    for workers in (1, 2):
        generate(
            make_plan("formal-languages", tiny_preset(), backend="native"),
            tmp_path / str(workers),
            LocalEngine(workers),
        )
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert check_zoo(tmp_path / "1") == []


@pytest.mark.long
@pytest.mark.parametrize("runs_at_once", [1, 3])
def test_a_process_per_device_gives_the_same_bytes_whatever_the_groups(runs_at_once, tiny_preset, tmp_path):
    """Both devices are the CPU."""
    plan = make_plan("formal-languages", tiny_preset(), backend="stacked")
    generate_in_process(tmp_path / "alone", plan)
    devices = LocalEngine(2, ("cpu", "cpu"), runs_at_once)
    generate(make_plan("formal-languages", tiny_preset(), runs=4, backend="stacked"), tmp_path / "zoo", devices)
    generate(plan, tmp_path / "zoo", devices)  # extended: one shard already has a run
    assert contents(tmp_path / "zoo") == contents(tmp_path / "alone")
    assert check_zoo(tmp_path / "zoo") == []


def test_groups_contain_every_shard_once_and_no_more_runs_than_allowed(tiny_preset):
    shards = make_plan("formal-languages", tiny_preset(), runs=40).shards
    for runs_at_once in (1, 3, 8, 99):
        groups = list(group_shards(shards, runs_at_once))
        assert [shard.name for group in groups for shard in group.shards] == [shard.name for shard in shards]
        assert all(group.num_runs <= runs_at_once or len(group.shards) == 1 for group in groups)
    assert len(groups) == 1 and len(list(group_shards(shards, 8))) < len(shards) / 3


def out_of_memory(plan, directory, devices, runs_at_once, measure, group, worker):
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_the_failure_of_a_device_is_reported(tiny_preset, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "train_group", out_of_memory)
    with pytest.raises(WorkerError, match=r"Backend stacked could not train 7 runs at once: CUDA out of memory\. Fini"):
        generate(
            make_plan("formal-languages", tiny_preset(), backend="stacked"),
            tmp_path / "zoo",
            LocalEngine(1, ("cpu",), 99),
        )
    wait_for(lambda: not multiprocessing.active_children(), 10)


def test_a_device_that_does_not_exist_is_reported(tiny_preset, tmp_path):
    with pytest.raises(DeviceError, match="no device 'cuda:7'"):
        generate(make_plan("formal-languages", tiny_preset(), backend="stacked"), tmp_path, LocalEngine(1, ("cuda:7",)))


@pytest.mark.parametrize("device", ["cuda:0", "cpu"])
def test_devices_of_a_backend_for_cpus_are_refused(device, tiny_preset, tmp_path):
    plan = make_plan("formal-languages", tiny_preset(), backend="native")
    with pytest.raises(BackendError, match=f"'native' trains on the CPU and cannot use {device}. Leave out --device"):
        generate(plan, tmp_path / "zoo", LocalEngine(1, (device,)))
    stacked = make_plan("formal-languages", tiny_preset(), backend="stacked")
    with pytest.raises(DeviceError, match="no device 'cuda:7'"):  # not the first one
        generate(stacked, tmp_path / "other", LocalEngine(1, ("cpu", "cuda:7")))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ZOOS)
def test_every_cell_gives_a_zoo_that_conforms(name, cell, zoo):
    assert check_zoo(zoo(name, cell)) == []


@pytest.mark.parametrize("first", range(1, 7))
def test_a_zoo_made_in_two_calls_has_the_same_bytes_and_trains_no_run_twice(
    first, zoo, tiny_preset, tmp_path, monkeypatch
):
    expected = contents(zoo("formal-languages"))  # made before the trained runs are counted
    trained = []
    from rnn_zoos.generation.trainers import loop

    train_run = loop._train_run
    monkeypatch.setattr(loop, "_train_run", lambda *args: trained.append(args[2].run) or train_run(*args))
    generate_in_process(tmp_path / "zoo", make_plan("formal-languages", tiny_preset(), runs=first))
    assert check_zoo(tmp_path / "zoo") == []
    generate_in_process(tmp_path / "zoo", make_plan("formal-languages", tiny_preset()))
    assert contents(tmp_path / "zoo") == expected
    assert check_zoo(tmp_path / "zoo") == []
    assert sorted(trained) == list(range(7))


@pytest.mark.parametrize("name", ["formal-languages", pytest.param("sequential-mnist", marks=pytest.mark.long)])
def test_abandoning_an_extension_restores_the_old_zoo(name, zoo, tiny_preset, tmp_path, monkeypatch):
    """Tried after every possible number of shards of the extension."""
    small, large = make_plan(name, tiny_preset(), runs=3), make_plan(name, tiny_preset())
    generate_in_process(tmp_path / "small", small)
    expected = contents(tmp_path / "small")
    for made in range(len(large.shards)):
        out = shutil.copytree(tmp_path / "small", tmp_path / f"zoo{made}")
        pending = Workspace(out, large).begin_or_resume()
        for shard in pending[:made]:
            make_shard(out, large, shard, lambda updates: None)
        monkeypatch.setattr("rnn_zoos.generation.trainers.loop._train_run", None)  # nothing is trained again
        generate_in_process(out, small)
        monkeypatch.undo()
        assert contents(out) == expected
        generate_in_process(out, large)
        assert contents(out) == contents(zoo(name))


def test_a_lost_or_damaged_plan_loses_nothing(zoo, tiny_preset, tmp_path):
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-2])):
        out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
        unfinish(out, tiny_preset)
        damage(out / "unfinished" / "plan.json")
        with pytest.raises(PlanMismatchError):
            generate_in_process(out, make_plan("formal-languages", tiny_preset(), seed=1))
        generate_in_process(out, make_plan("formal-languages", tiny_preset()))
        assert contents(out) == contents(zoo("formal-languages"))
        shutil.rmtree(out)


def test_a_damaged_file_of_a_finished_zoo_is_reported_by_the_next_generate(zoo, tiny_preset, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    shard = sorted((out / "shards").iterdir())[0]
    os.truncate(shard, 100)
    with pytest.raises(IntegrityError, match=rf"{shard.name} has 100 bytes.*Delete it and run the same command again"):
        generate_in_process(out, make_plan("formal-languages", tiny_preset()))
    shard.unlink()
    generate_in_process(out, make_plan("formal-languages", tiny_preset()))
    assert contents(out) == contents(zoo("formal-languages"))


class Crash(BaseException):
    """Stands for the end of the process; no `except` of the package may catch it."""


def crash_at(monkeypatch: pytest.MonkeyPatch, moment: int, *, after: bool) -> list[int]:
    """Make the moment-th change of the file system the last one; return a list that grows with every change."""
    moments: list[int] = []

    def dying(function):
        def call(*args, **kwargs):
            moments.append(len(moments))
            dies = len(moments) - 1 == moment
            if dies and not after:
                raise Crash
            result = function(*args, **kwargs)
            if dies:
                raise Crash
            return result

        return call

    monkeypatch.setattr(os, "replace", dying(os.replace))
    monkeypatch.setattr(Path, "rename", dying(Path.rename))
    monkeypatch.setattr(Path, "unlink", dying(Path.unlink))
    monkeypatch.setattr(shutil, "rmtree", dying(shutil.rmtree))
    return moments


@pytest.mark.parametrize(
    ("extend", "after"),
    [
        (True, True),
        pytest.param(False, False, marks=pytest.mark.long),
        pytest.param(False, True, marks=pytest.mark.long),
        pytest.param(True, False, marks=pytest.mark.long),
    ],
)
def test_a_crash_at_any_change_of_the_file_system_loses_nothing(extend, after, tiny_preset, tmp_path):
    """After a crash at any moment, the same command gives the bytes of an undisturbed zoo.

    The crash comes before every second change and after the others: between two changes there is only a temporary file.
    """
    plan, shorter = (make_plan("formal-languages", tiny_preset(), runs=runs, backend="native") for runs in (7, 4))
    start, whole = tmp_path / "start", tmp_path / "whole"
    generate_in_process(whole, plan)
    if extend:
        generate_in_process(start, shorter)
    else:
        start.mkdir()
    for moment in range(int(after), 1000, 2):
        out = shutil.copytree(start, tmp_path / "zoo")
        with pytest.MonkeyPatch.context() as patch:
            moments = crash_at(patch, moment, after=after)
            with contextlib.suppress(Crash):
                generate_in_process(out, plan)
        if len(moments) <= moment:
            break
        generate_in_process(out, plan)
        assert contents(out) == contents(whole), f"crash at change {moment}"
        assert check_zoo(out) == []
        shutil.rmtree(out)
    assert moment > 15, "no crash was injected"


def long_preset(tiny_preset, tmp_path: Path) -> str:
    """A preset that takes minutes; tests stop it."""
    path = tmp_path / "long.yaml"
    path.write_text(
        Path(tiny_preset()).read_text().replace("[0, 2, 11]", "[0, 2, 60000]").replace("runs: 7", "runs: 40")
    )
    return str(path)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_stop_at_once_and_tell_how_to_resume(how, tiny_preset, tmp_path):
    """Ctrl-C also reaches the workers; SIGTERM only the parent."""
    out = tmp_path / "zoo"
    command = generate_command("formal-languages", long_preset(tiny_preset, tmp_path), out)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: len(workers_of(process.pid)) == 2)
    time.sleep(4)
    family = descendants(process.pid)
    send_signal(process, how)
    errors = stderr_of(process, 20)
    assert process.returncode == 130
    assert errors.rstrip().endswith("run the same command again to resume.") and "Traceback" not in errors
    assert_nothing_runs(family)
    assert (out / "unfinished" / "plan.json").is_file()


def test_a_second_process_is_refused(tiny_preset, tmp_path):
    out = tmp_path / "zoo"
    first = subprocess.Popen(
        generate_command("formal-languages", long_preset(tiny_preset, tmp_path), out), stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: (out / "unfinished" / "plan.json").is_file())
        with pytest.raises(BusyError, match="being written by another process.*another --out"):
            generate(make_plan("formal-languages", long_preset(tiny_preset, tmp_path)), out)
    finally:
        first.kill()
        first.wait()
    with locked(out):
        pass  # the lock of a dead process is free


def test_another_plan_is_refused_and_nothing_is_overwritten(zoo, tiny_preset, tmp_path):
    for finished in (True, False):
        out = shutil.copytree(zoo("formal-languages"), tmp_path / f"zoo{finished}")
        if not finished:
            unfinish(out, tiny_preset)
        before = contents(out)
        with pytest.raises(PlanMismatchError, match=r"seed: 13 in the directory, 6 requested"):
            generate_in_process(out, make_plan("formal-languages", tiny_preset(), seed=6))
        with pytest.raises(PlanMismatchError, match=r"hidden_size: 7 in the directory, 32 requested") as caught:
            generate_in_process(out, make_plan("formal-languages", "demo"))
        assert "batch_size: 3 in the directory, 32 requested" in str(caught.value)
        with pytest.raises(
            PlanMismatchError, match=r"zoo: 'formal-languages' in the directory, 'sequential-mnist' requested"
        ):
            generate_in_process(out, make_plan("sequential-mnist", tiny_preset()))
        with pytest.raises(
            PlanMismatchError,
            match=r"runs: 7 in the directory, only 6 requested \(a zoo can grow, (not shrink|or go back to 7)\)",
        ):
            generate_in_process(out, make_plan("formal-languages", tiny_preset(), runs=6))
        assert contents(out) == before


def unfinish(out: Path, tiny_preset) -> None:
    """Return a finished zoo of 7 runs to the state before its manifest was written."""
    workspace = Workspace(out, make_plan("formal-languages", tiny_preset()))
    reopen_zoo(workspace.paths, workspace.plan, store_url=None)


def test_a_plan_with_other_digits_is_another_plan(zoo, tiny_preset, tmp_path, monkeypatch):
    out = shutil.copytree(zoo("sequential-mnist"), tmp_path / "zoo")
    monkeypatch.setattr(Plan, "digits", lambda plan: {"origin": "mnist", "sha256": "0" * 64})
    with pytest.raises(PlanMismatchError, match=r"digits: .*sha256"):
        generate_in_process(out, make_plan("sequential-mnist", tiny_preset()))


def test_a_directory_with_other_files_is_refused(tiny_preset, tmp_path):
    for precious in ("thesis.tex", "unfinished/novel.txt"):
        (tmp_path / "home" / precious).parent.mkdir(parents=True)
        (tmp_path / "home" / precious).write_text("precious")
        with pytest.raises(
            FormatError, match="not empty and contains no zoo. Choose a new or empty directory for --out"
        ):
            generate(make_plan("formal-languages", tiny_preset()), tmp_path / "home")
        assert [path.is_file() for path in (tmp_path / "home").rglob("*")].count(True) == 1, (
            "not even a lock was written"
        )
        shutil.rmtree(tmp_path / "home")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        generate_in_process(tmp_path / "file", make_plan("formal-languages", tiny_preset()))


def test_a_damaged_shard_stops_a_resume_until_it_is_deleted_and_is_then_made_again(zoo, tiny_preset, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    unfinish(out, tiny_preset)
    shard = sorted((out / "shards").iterdir())[1]
    data = bytearray(shard.read_bytes())
    for damage in (bytes(data[:-5]), bytes([*data[:-1], data[-1] ^ 1])):
        shard.write_bytes(damage)
        with pytest.raises(IntegrityError, match=rf"{shard.name} has .*Delete it and run the same command again"):
            generate_in_process(out, make_plan("formal-languages", tiny_preset()))
    shard.unlink()
    generate_in_process(out, make_plan("formal-languages", tiny_preset()))
    assert contents(out) == contents(zoo("formal-languages"))


def test_a_missing_shard_of_a_finished_zoo_is_made_again(zoo, tiny_preset, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    sorted((out / "rollouts").iterdir())[0].unlink()
    generate_in_process(out, make_plan("formal-languages", tiny_preset()))
    assert contents(out) == contents(zoo("formal-languages"))


@pytest.mark.long
def test_a_full_disk_is_reported_and_finished_shards_are_kept(zoo, tiny_preset, tmp_path):
    """A limit on the size of files replaces a full disk: it gives an OSError at the same place."""
    out = tmp_path / "zoo"
    smallest = min(path.stat().st_size for path in (zoo("formal-languages") / "shards").iterdir())
    blocks = smallest // 1024  # of 1 KiB: index files fit, shards do not
    command = " ".join(generate_command("formal-languages", tiny_preset(), out, "--workers", "1"))
    limited = subprocess.run(["bash", "-c", f"ulimit -f {blocks}; {command}"], capture_output=True, text=True)
    assert limited.returncode == 1
    assert "could not be written: File too large" in limited.stderr and "run the same command again" in limited.stderr
    assert "Traceback" not in limited.stderr and not list(out.rglob("*.tmp"))
    subprocess.run(command.split(), check=True, capture_output=True)
    assert contents(out) == contents(zoo("formal-languages"))


def test_runs_that_diverge_are_flagged_and_do_not_affect_other_runs(zoo, tiny_preset, tmp_path, monkeypatch):
    """Run 1 has a non-finite loss at its fifth update, run 3 an output that overflows at its last snapshot."""
    from rnn_zoos.families.formal_languages import FormalLanguages
    from rnn_zoos.generation.trainers import loop

    batches, evaluate = loop._batches, FormalLanguages.evaluate

    def poisoned(family, settings, run):
        for number, (inputs, targets) in enumerate(batches(family, settings, run)):
            yield inputs * (torch.inf if (run.run, number) == (1, 4) else 1), targets

    def overflowing(self, network, seed, run, task, step, sizes):
        measured = evaluate(self, network, seed, run, task, step, sizes)
        return (
            type(measured)({**measured.labels, "loss": torch.inf}, measured.rollouts)
            if (run, step) == (3, 11)
            else measured
        )

    monkeypatch.setattr(loop, "_batches", poisoned)
    monkeypatch.setattr(FormalLanguages, "evaluate", overflowing)
    generate_in_process(tmp_path / "zoo", make_plan("formal-languages", tiny_preset()))
    assert check_zoo(tmp_path / "zoo") == []
    rows = open_zoo(tmp_path / "zoo").index().to_pylist()
    assert {row["run"] for row in rows if row["diverged"]} == {1, 3}
    assert (
        [row["step"] for row in rows if row["run"] == 1] == [row["step"] for row in rows if row["run"] == 3] == [0, 2]
    )
    expected, found = open_zoo(zoo("formal-languages")), open_zoo(tmp_path / "zoo")
    for row in rows:
        healthy = expected.row(row["run"], row["step"])
        for name, tensor in found.weights(row).items():
            assert torch.equal(tensor, expected.weights(healthy)[name])


def test_workers_use_less_than_a_gigabyte(tiny_preset, tmp_path):
    """Measures the largest process of a generation with digits."""
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = generate_command("sequential-mnist", tiny_preset(), tmp_path / "zoo")
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 1_000_000  # KiB


OVERFLOWING = """
formal-languages:
  runs: 4
  runs_per_shard: 2
  cell: gru
  num_layers: 2
  hidden_size: 32
  batch_size: 2
  snapshots: [0, 30, 45, 50]
  learning_rate: {0: 1}
  weight_decay: [8, 20]
  evaluation: {strings: 20, rollouts: 2}
"""


def test_networks_with_finite_weights_whose_outputs_overflow_do_not_end_a_zoo(tmp_path):
    (tmp_path / "overflowing.yaml").write_text(OVERFLOWING)
    plan = make_plan("formal-languages", str(tmp_path / "overflowing.yaml"), backend="native")
    generate_in_process(tmp_path / "zoo", plan)
    assert check_zoo(tmp_path / "zoo") == []
    assert any(row["diverged"] for row in open_zoo(tmp_path / "zoo").index().to_pylist())


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (-1, 2), (1, 0)])
def test_parts_that_do_not_exist_are_refused(part, tiny_preset, tmp_path):
    with pytest.raises(PresetError, match=r"expected \(k, n\) with k from 1 to n"):
        generate(make_plan("formal-languages", tiny_preset()), tmp_path / "zoo", LocalEngine(1), part)
    assert not (tmp_path / "zoo").exists()


def test_without_devices_runs_at_once_are_refused_instead_of_ignored(tiny_preset, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "training_devices", lambda backend: ())
    with pytest.raises(BackendError, match="Without a GPU, stacked trains the runs of a shard at once, not 3"):
        generate(
            make_plan("formal-languages", tiny_preset(), backend="stacked"), tmp_path / "zoo", LocalEngine(1, None, 3)
        )


def test_updates_that_are_taken_back_leave_no_negative_rate():
    with Progress(runs=3, finished_runs=0, updates=90) as progress:
        progress.advance(5)
        progress.advance(-5)
        assert progress.rate == 0


def test_numbers_with_which_nothing_could_be_made_are_refused():
    for engine in (LocalEngine, RayEngine):
        with pytest.raises(WorkerError, match="The runs at once are -1; expected at least 1"):
            engine(runs_at_once=-1)
        with pytest.raises(WorkerError, match="Workers may be silent for -1 seconds; expected a number above 0"):
            engine(silence_limit=-1)
    with pytest.raises(WorkerError, match="The number of workers is 0; expected at least 1"):
        LocalEngine(workers=0)
