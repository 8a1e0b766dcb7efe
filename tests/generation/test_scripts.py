"""The shell scripts, with stand-ins for the commands that they call: each writes its arguments into a log."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

LOGGED = """\
#!/usr/bin/env bash
echo "${0##*/} $*" >> "$LOG"
"""
SETTINGS = ("pyproject.toml", "constraints.txt", "setup.py")
NATIVE = ("rnn_zoos/networks/native/cells.h", "rnn_zoos/base.inc", "generation/trainers/native/a.cpp", "loaders/a.cpp")


@pytest.fixture
def stand_ins(tmp_path):
    """Return a function: commands with what they do besides being logged -> environment in which they are found."""
    (tmp_path / "bin").mkdir()

    def make(**commands: str) -> dict[str, str]:
        for name, body in commands.items():
            path = tmp_path / "bin" / name.replace("_", "-")
            path.write_text(LOGGED + body)
            path.chmod(0o755)
        own = {"LOG": str(tmp_path / "log"), "VIRTUAL_ENV": str(tmp_path)}
        return {**os.environ, **own, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}

    return make


def logged(folder: Path, command: str) -> list[str]:
    """Return the calls of a command, each as its arguments in one line."""
    lines = (folder / "log").read_text().splitlines() if (folder / "log").exists() else []
    return [line.removeprefix(f"{command} ") for line in lines if line.startswith(f"{command} ")]


@pytest.mark.parametrize(("cores", "expected"), [("64", "64"), (None, "1")])
def test_every_step_of_a_slurm_job_gets_the_cores_of_the_job(cores, expected, stand_ins, tmp_path):
    environment = stand_ins(scontrol="echo one; echo two", srun="echo 10.0.0.1", ray="", rnn_zoos="sleep 0.3")
    environment |= {"SLURM_JOB_NODELIST": "one,two", **({} if cores is None else {"SLURM_CPUS_PER_TASK": cores})}
    arguments = ["formal-languages", "--preset", "paper", "--out", "zoo"]
    subprocess.run([ROOT / "generation" / "slurm.sh", *arguments], cwd=tmp_path, env=environment, check=True)
    steps = logged(tmp_path, "srun")
    assert len(steps) == 3 and sum("ray start" in step for step in steps) == 2
    for step in steps:
        assert f"--cpus-per-task={expected} " in step.partition("ray start")[0] and "--nodes=1 --ntasks=1" in step
    assert all(f"--num-cpus={expected} " in step for step in steps if "ray start" in step)
    (generated,) = logged(tmp_path, "rnn-zoos")
    assert generated == f"generate {' '.join(arguments)} --engine ray --address 10.0.0.1:6379"


def test_the_environment_is_installed_again_if_settings_or_native_sources_change(stand_ins, tmp_path):
    checkout = tmp_path / "checkout"  # without git, as the archive of a release
    for path in (*SETTINGS, *NATIVE, "generation/plan.py"):
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        (checkout / path).write_text("first")
    shutil.copy(ROOT / "generation" / "environment.sh", checkout / "generation")
    command = ["bash", "-euc", ". generation/environment.sh; prepare_environment generation"]
    environment = stand_ins(python="")

    def installations() -> int:
        before = len(logged(tmp_path, "python"))
        subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True)
        return len(logged(tmp_path, "python")) - before

    assert [installations(), installations()] == [1, 0]
    for path in (*SETTINGS, *NATIVE):
        (checkout / path).write_text("second")
        assert [installations(), installations()] == [1, 0], path
    (checkout / "loaders" / "a.cpp").rename(checkout / "loaders" / "b.cpp")
    assert installations() == 1
    (checkout / "generation" / "plan.py").write_text("second")
    assert installations() == 0, "Python files are read where they are"


@pytest.mark.parametrize("options", [["--part", "2/3"], ["--part=2/3"], ["--engine", "ray", "--store", "s3://b/zoo"]])
def test_run_sh_only_generates_what_is_no_whole_zoo_afterwards(options, stand_ins, tmp_path):
    environment = stand_ins(rnn_zoos='[ "$1" = generate ]', python="")
    command = [ROOT / "generation" / "run.sh", "--out", tmp_path / "zoos", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    calls = logged(tmp_path, "rnn-zoos")
    assert [call.split()[:2] for call in calls] == [["generate", "formal-languages"], ["generate", "sequential-mnist"]]
    assert "Neither checked nor plotted, because of --part or --store" in done.stdout


def test_run_sh_checks_and_plots_whole_zoos(stand_ins, tmp_path):
    command = [ROOT / "generation" / "run.sh", "--out", tmp_path / "zoos", "--zoo", "automata", "--runs", "3"]
    subprocess.run(command, env=stand_ins(rnn_zoos="", python=""), capture_output=True, check=True)
    assert [call.split()[0] for call in logged(tmp_path, "rnn-zoos")] == ["generate", "check", "info", "plot"]
    both = [ROOT / "generation" / "run.sh", "--zoo", "automata", "--zoo=sequential-mnist", "--part", "1/2"]
    subprocess.run(both, env=stand_ins(rnn_zoos="", python=""), capture_output=True, check=True)
    calls = [call.split() for call in logged(tmp_path, "rnn-zoos")[-2:]]
    assert [call[1] for call in calls] == ["automata", "sequential-mnist"] and f"{ROOT}/zoos/automata" in calls[0]


def test_both_scripts_write_below_the_repository_unless_they_are_told_otherwise(stand_ins, tmp_path):
    environment = stand_ins(rnn_zoos="", python="")
    for script, words in (("run.sh", ["--part", "1/2"]), ("release.sh", ["--namespace", "me", "--preset", "demo"])):
        subprocess.run([ROOT / "generation" / script, *words], cwd=tmp_path, env=environment, check=True)
        given = logged(tmp_path, "rnn-zoos")[-1].split()
        out = given[given.index("--out") + 1] if "--out" in given else str(ROOT)
        assert out.startswith(str(ROOT)), "not below the folder of the caller"
