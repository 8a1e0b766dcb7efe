"""The command, as a user calls it: exit status, messages, no tracebacks."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ZOOS, contents, make_in_process
from damage import rewrite_index

from rnn_zoos.cli import app as cli
from rnn_zoos.generation.plan import make_plan

COMMANDS = ("plan", "generate", "merge", "verify", "check", "info", "sample", "plot", "import", "export")


def run(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rnn_zoos", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env)


def in_process(monkeypatch, capsys, *arguments: object) -> tuple[int, str, str]:
    """The same without the seconds that a new Python takes to import torch."""
    monkeypatch.setattr(sys, "argv", ["rnn-zoos", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, monkeypatch, capsys):
    status, out, _ = in_process(monkeypatch, capsys, command, "--help")
    assert status == 0 and f"rnn-zoos {command} " in out and "Example" in out


@pytest.mark.parametrize("name", ZOOS)
def test_the_commands_work_on_a_zoo(name, zoo, tmp_path, monkeypatch, capsys):
    status, out, _ = in_process(monkeypatch, capsys, "check", zoo(name))
    assert status == 0 and "conforms to format 1" in out
    status, out, _ = in_process(monkeypatch, capsys, "info", zoo(name))
    assert status == 0 and name in out and "accuracy" in out
    status, out, _ = in_process(monkeypatch, capsys, "info", zoo(name), "--json")
    assert status == 0 and json.loads(out)["zoo"]["zoo"] == name
    status, out, _ = in_process(monkeypatch, capsys, "sample", zoo(name), "--run", 1, "--step", 0, "--count", 3)
    assert status == 0 and "run 1, step 0" in out and re.search("right|wrong", out)
    status, out, _ = in_process(monkeypatch, capsys, "sample", zoo(name), "--run", 1, "--json")
    assert status == 0 and len(json.loads(out)) == 10
    status, out, _ = in_process(monkeypatch, capsys, "plot", zoo(name), "--out", tmp_path)
    assert status == 0 and out.split() == [str(tmp_path / "accuracy.png"), str(tmp_path / "tasks.png")]


def test_parts_merge_and_the_whole_verifies(zoo, tiny_preset, tmp_path, monkeypatch, capsys):
    generate = ["generate", "formal-languages", "--preset", tiny_preset(), "--backend", "loop", "--workers", 1]
    for part in ("1/2", "2/2"):
        out = tmp_path / part[0]
        status, told, _ = in_process(monkeypatch, capsys, *generate, "--out", out, "--part", part)
        assert status == 0 and f"part {part} of the zoo is there. When all are: rnn-zoos merge" in told
    status, told, _ = in_process(monkeypatch, capsys, "merge", tmp_path / "1", "--out", tmp_path / "half")
    assert status == 0 and "is unfinished" in told
    parts = tmp_path / "1", tmp_path / "2"
    status, told, _ = in_process(monkeypatch, capsys, "merge", *parts, "--out", tmp_path / "zoo")
    assert status == 0 and "7 runs, 21 snapshots of 2 directories" in told
    assert contents(tmp_path / "zoo") == contents(zoo("formal-languages"))
    status, told, _ = in_process(monkeypatch, capsys, "verify", tmp_path / "zoo", "--runs", 2)
    assert status == 0 and "every bit has to be equal" in told and told.endswith("Reproduced, bit for bit.\n")
    status, told, _ = in_process(monkeypatch, capsys, "verify", tmp_path / "zoo", "--runs", 2, "--backend", "stacked")
    assert status == 0 and told.endswith("Sound, as far as can be told here.\n")
    rewrite_index(tmp_path / "zoo", "train", lambda rows: [row.update(loss=9.0) for row in rows])
    status, told, _ = in_process(monkeypatch, capsys, "verify", tmp_path / "zoo", "--runs", 7)
    assert status == 1 and "labels differ" in told and "Reproduced" not in told


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--part", "3/2"], 2, "no part; expected K/N"),
        (["--part", "half"], 2, "no part; expected K/N"),
        (["--address", "head:6379"], 2, "for --engine ray alone"),
        (["--store", "s3://zoo"], 2, "for --engine ray alone"),
        (["--engine", "rey"], 1, "Did you mean 'ray'?"),
        (["--engine", "ray", "--device", "cuda:0"], 2, "Ray deals its GPUs itself"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, status, message, tmp_path, monkeypatch, capsys):
    command = ["generate", "formal-languages", "--preset", "demo", "--out", tmp_path / "zoo", *options]
    found, _, errors = in_process(monkeypatch, capsys, *command)
    told = re.sub(r"[\s│]+", " ", errors)
    assert found == status and message in told and not (tmp_path / "zoo").exists()


def test_check_repair_removes_what_a_killed_process_left(zoo, tmp_path, monkeypatch, capsys):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    left_over = out / "shards" / ".train-00000-of-00002.safetensors.123.tmp"
    left_over.write_bytes(b"half")
    status, told, _ = in_process(monkeypatch, capsys, "check", out)
    assert status == 1 and left_over.name in told
    status, told, errors = in_process(monkeypatch, capsys, "check", out, "--repair")
    assert status == 0 and f"Removed {left_over}." in errors and not left_over.exists()


def test_a_plan_of_a_million_runs_takes_less_than_a_gigabyte():
    from rnn_zoos.generation.measuring.scale import measure_plan

    assert measure_plan(1_000_000)["MB"] < 1000


def test_a_long_plan_is_cut_for_people_only(monkeypatch, capsys):
    plan = ["plan", "formal-languages", "--preset", "paper", "--runs", 1200]
    status, out, _ = in_process(monkeypatch, capsys, *plan)
    assert status == 0 and "1200 runs in" in out and "(the first 1000;" in out
    status, out, _ = in_process(monkeypatch, capsys, *plan, "--json")
    assert [row["run"] for row in json.loads(out)["runs"]] == list(range(1200))


def test_plan_is_readable_by_people_and_programs(monkeypatch, capsys):
    status, out, _ = in_process(monkeypatch, capsys, "plan", "formal-languages", "--preset", "demo", "--runs", 3)
    assert status == 0 and "3 runs" in out and "train-00000" in out
    status, out, _ = in_process(monkeypatch, capsys, "plan", "sequential-mnist", "--preset", "demo", "--json")
    data = json.loads(out)
    assert status == 0 and len(data["runs"]) == data["settings"]["runs"] and "angle" in data["runs"][0]


def test_a_zoo_whose_runs_all_diverged_at_once_can_be_looked_at(tiny_preset, tmp_path, monkeypatch, capsys):
    path = tmp_path / "wild.yaml"
    path.write_text(Path(tiny_preset()).read_text().replace("0: 0.01", "0: 1.0e+38").replace("[0, 2, 11]", "[11]"))
    make_in_process(tmp_path / "zoo", make_plan("formal-languages", str(path)))
    for command in (["check"], ["info"], ["plot"]):
        assert in_process(monkeypatch, capsys, *command, tmp_path / "zoo")[0] == 0
    for command, message in (
        (["sample", "--run", 1], "diverged before step 11"),
        (["speed", "loading"], "no snapshots to read"),
    ):
        status, _, err = in_process(monkeypatch, capsys, *command, tmp_path / "zoo")
        assert status == 1 and message in err


def test_findings_are_lines_and_exit_status_one(zoo, tmp_path, monkeypatch, capsys):
    import shutil

    out_dir = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    (out_dir / "index" / "train.parquet").unlink()
    (out_dir / "junk").write_text("")
    status, out, _ = in_process(monkeypatch, capsys, "check", out_dir)
    assert status == 1 and len(out.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "formal", "--preset", "demo"], "Unknown zoo 'formal'; known: formal-languages, sequential-mnist"),
        (["plan", "formal-languages", "--preset", "tiny"], "Unknown preset 'tiny'; known: demo, medium, paper, small"),
        (
            ["generate", "formal-languages", "--preset", "demo", "--out", "x", "--backend", "cuda"],
            "Unknown backend 'cuda'",
        ),
        (["generate", "sequential-mnist", "--preset", "demo", "--out", "x", "--mnist", "x"], "has no train-images"),
        (["generate", "sequential-mnist", "--preset", "demo", "--out", "x", "--mnist", "hub"], "Check the network"),
        (["check", "."], "is not a zoo"),
        (["info", "nowhere"], "is not a directory"),
        (["plot", "."], "is not a zoo"),
        (["sample", ".", "--run", "0"], "is not a zoo"),
        (["import", "nowhere", "--out", "x"], "nowhere is not a directory"),
        (["export", ".", "--to", "paper", "--out", "x"], "is not a zoo"),
        (["export", ".", "--to", "papers", "--out", "x"], "Unknown layout 'papers'; known: parquet, paper"),
    ],
)
def test_what_a_user_can_mend_is_one_message_and_exit_status_one(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, out, err = in_process(monkeypatch, capsys, *arguments)
    assert status == 1 and err.startswith("Error: ") and message in err and "Traceback" not in err and out == ""


@pytest.mark.parametrize("arguments", [["plan"], ["plan", "formal-languages"], ["fly"], ["info", ".", "--runs", "3"]])
def test_wrong_usage_has_exit_status_two(arguments, monkeypatch, capsys):
    assert in_process(monkeypatch, capsys, *arguments)[0] == 2


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rnn_zoos.generation.plan", None)
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "rnn_zoos.generation.presets", raising=False)
    monkeypatch.delitem(sys.modules, "rnn_zoos.generation.plan")
    status, _, err = in_process(monkeypatch, capsys, "plan", "formal-languages", "--preset", "demo")
    assert status == 1 and "'yaml' is not installed. Install it with: pip install 'rnn-zoos[generation]'" in err


def test_the_command_is_installed_and_fails_without_a_traceback():
    done = run("info", "nowhere")
    assert done.returncode == 1 and done.stderr.startswith("Error: nowhere is not a directory")


def test_importing_the_package_imports_none_of_its_readers_or_makers():
    script = "import sys, rnn_zoos; print([m for m in sys.modules if m.startswith(('rnn_zoos.', 'torch', 'datasets'))])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['rnn_zoos.errors']"
