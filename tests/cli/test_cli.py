"""The command `rnn-zoos`: help, exit status, output, and messages instead of tracebacks."""

import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from conftest import ZOOS, contents, generate_in_process
from damage import edit_index
from old_zoos import InlinePool, remove_labels

from rnn_zoos.cli import app as cli
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.writing import relabel as relabelling

COMMANDS = {command.name or command.callback.__name__: command.callback for command in cli.app.registered_commands}
COMMANDS = {name.rstrip("_"): function for name, function in COMMANDS.items()}
STEPS_TO = ("steps_to_50", "steps_to_90")  # labels that are made of the accuracy
COMMANDS |= {f"speed {command.name}": command.callback for command in cli.speed.registered_commands}


@pytest.fixture
def rnn_zoos(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs the command in this process: arguments -> exit status, stdout, stderr.

    A new process would take seconds to import torch.
    """

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rnn-zoos", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        out, err = capsys.readouterr()
        return exited.value.code or 0, out, err

    return run


def examples_in(docstring: str) -> list[str]:
    """Return the command lines below "Examples:" in the help of a command."""
    lines = docstring.partition("Examples:\n")[2].replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.startswith((" " * 6, "  rnn-zoos"))]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_is_one_sentence_and_examples_that_parse(command, rnn_zoos):
    status, out, _ = rnn_zoos(*command.split(), "--help")
    assert status == 0 and f"rnn-zoos {command} " in out and "Examples:" in out
    docstring = COMMANDS[command].__doc__
    assert re.fullmatch(r"[A-Z][^\n]{,80}\.", docstring.splitlines()[0])
    examples = examples_in(docstring)
    assert any(example.startswith(f"rnn-zoos {command}") for example in examples)
    for example in examples:
        assert_parses(shlex.split(example))


def assert_parses(words: list[str]) -> None:
    """Assert that a command line has valid options and arguments, without running it."""
    command, context = typer.main.get_command(cli.app), None
    name, *arguments = words
    while hasattr(command, "commands"):
        context = command.make_context(name, arguments, parent=context)
        name, command, arguments = command.resolve_command(context, arguments)
    command.make_context(name, arguments, parent=context)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help(command):
    for parameter in inspect.signature(COMMANDS[command], eval_str=True).parameters.values():
        assert re.fullmatch(r"[A-Z].*\.", parameter.annotation.__metadata__[0].help), parameter.name


@pytest.mark.parametrize("name", ZOOS)
def test_the_commands_work_on_a_zoo(name, zoo, tmp_path, rnn_zoos):
    status, out, _ = rnn_zoos("check", zoo(name))
    assert status == 0 and "conforms to format 1" in out
    status, out, _ = rnn_zoos("info", zoo(name))
    assert status == 0 and name in out and "accuracy" in out
    status, out, _ = rnn_zoos("info", zoo(name), "--json")
    assert status == 0 and json.loads(out)["zoo"]["zoo"] == name
    status, out, _ = rnn_zoos("sample", zoo(name), "--run", 1, "--step", 0, "--count", 3)
    assert status == 0 and "run 1, step 0" in out and re.search("right|wrong", out)
    status, out, _ = rnn_zoos("sample", zoo(name), "--run", 1, "--json")
    assert status == 0 and len(json.loads(out)) == 10
    status, out, _ = rnn_zoos("plot", zoo(name), "--out", tmp_path)
    assert status == 0 and out.split() == [str(tmp_path / "accuracy.png"), str(tmp_path / "tasks.png")]


def test_the_figures_of_a_zoo_are_drawn_beside_it_even_if_it_is_in_a_quoted_home(zoo, tmp_path, monkeypatch, rnn_zoos):
    shutil.copytree(zoo("formal-languages"), tmp_path / "home" / "zoo")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    status, out, _ = rnn_zoos("plot", "~/zoo")
    assert status == 0 and out.splitlines()[0] == str(tmp_path / "home" / "zoo" / "figures" / "accuracy.png")
    status, out, _ = rnn_zoos("plot", "~/zoo", "--out=~/drawn")  # shells leave such a ~ as it is
    assert status == 0 and (tmp_path / "home" / "drawn" / "accuracy.png").is_file()
    assert rnn_zoos("check", "~/zoo")[0] == 0
    assert not [*(tmp_path / "here").iterdir()]


def test_a_network_of_a_zoo_without_the_label_accuracy_can_be_sampled(zoo, tmp_path, rnn_zoos):
    out = remove_labels(shutil.copytree(zoo("formal-languages"), tmp_path / "zoo"), "accuracy", *STEPS_TO)
    assert rnn_zoos("check", out)[0] == 0
    status, shown, _ = rnn_zoos("sample", out, "--run", 1, "--count", 3)
    assert status == 0 and "run 1, step 11, task" in shown and "accuracy" not in shown
    assert re.search("right|wrong", shown)


def test_parts_can_be_merged_and_the_zoo_verified(zoo, tiny_preset, tmp_path, rnn_zoos):
    generate = ["generate", "formal-languages", "--preset", tiny_preset(), "--backend", "loop", "--workers", 1]
    for part in ("1/2", "2/2"):
        directory = tmp_path / part[0]
        status, out, _ = rnn_zoos(*generate, "--out", directory, "--part", part)
        assert status == 0 and f"part {part} of the zoo is complete. Join all parts with: rnn-zoos merge" in out
    status, out, _ = rnn_zoos("merge", tmp_path / "1", "--out", tmp_path / "half")
    assert status == 0 and "is unfinished" in out
    parts = tmp_path / "1", tmp_path / "2"
    status, out, _ = rnn_zoos("merge", *parts, "--out", tmp_path / "zoo")
    assert status == 0 and "7 runs, 21 snapshots, merged from 2 directories" in out
    assert contents(tmp_path / "zoo") == contents(zoo("formal-languages"))
    status, out, _ = rnn_zoos("verify", tmp_path / "zoo", "--runs", 2)
    assert status == 0 and "every bit must be equal" in out and out.endswith("Reproduced bit for bit.\n")
    status, out, _ = rnn_zoos("verify", tmp_path / "zoo", "--runs", 2, "--backend", "stacked")
    assert status == 0 and out.endswith("Consistent, as far as this machine can verify.\n")
    edit_index(tmp_path / "zoo", "train", lambda rows: [row.update(loss=9.0) for row in rows])
    status, out, _ = rnn_zoos("verify", tmp_path / "zoo", "--runs", 7)
    assert status == 1 and "labels differ" in out and "Reproduced" not in out


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--part", "3/2"], 2, "is not a part; expected K/N"),
        (["--part", "half"], 2, "is not a part; expected K/N"),
        (["--address", "head:6379"], 2, "only valid with --engine ray"),
        (["--store", "s3://zoo"], 2, "only valid with --engine ray"),
        (["--engine", "rey"], 1, "Did you mean 'ray'?"),
        (["--timeout", "-1"], 1, "may be silent for -1 seconds; expected a number above 0"),
        (["--engine", "ray", "--device", "cuda:0"], 2, "Ray assigns GPUs to its workers itself"),
        (["--backend", "loop", "--at-once", "3"], 2, "only valid with --backend"),
    ],
)
def test_invalid_combinations_of_options_are_rejected(options, status, message, tmp_path, rnn_zoos):
    command = ["generate", "formal-languages", "--preset", "demo", "--out", tmp_path / "zoo", *options]
    found, _, errors = rnn_zoos(*command)
    unwrapped = re.sub(r"[\s│]+", " ", errors)
    assert found == status and message in unwrapped and not (tmp_path / "zoo").exists()


def test_check_repair_removes_the_temporary_files_of_a_killed_process(zoo, tmp_path, rnn_zoos):
    directory = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    left_over = directory / "shards" / ".train-00000-of-00002.safetensors.123.tmp"
    left_over.write_bytes(b"half")
    status, out, _ = rnn_zoos("check", directory)
    assert status == 1 and left_over.name in out
    status, _, errors = rnn_zoos("check", directory, "--repair")
    assert status == 0 and f"Removed {left_over}." in errors and not left_over.exists()


def test_a_plan_of_a_million_runs_takes_less_than_a_gigabyte():
    from rnn_zoos.generation.measuring.scale import measure_plan

    assert measure_plan(1_000_000)["MB"] < 1000


def test_a_long_plan_is_truncated_in_tables_but_not_in_json(rnn_zoos):
    plan = ["plan", "formal-languages", "--preset", "paper", "--runs", 1200]
    status, out, _ = rnn_zoos(*plan)
    assert status == 0 and "1200 runs in" in out and "(the first 1000;" in out
    status, out, _ = rnn_zoos(*plan, "--json")
    assert [row["run"] for row in json.loads(out)["runs"]] == list(range(1200))


def test_plan_prints_a_table_or_json(rnn_zoos):
    status, out, _ = rnn_zoos("plan", "formal-languages", "--preset", "demo", "--runs", 3)
    assert status == 0 and "3 runs" in out and "train-00000" in out
    status, out, _ = rnn_zoos("plan", "sequential-mnist", "--preset", "demo", "--json")
    data = json.loads(out)
    assert status == 0 and len(data["runs"]) == data["settings"]["runs"] and "angle" in data["runs"][0]


def test_a_zoo_whose_runs_all_diverged_before_their_first_snapshot_can_be_inspected(tiny_preset, tmp_path, rnn_zoos):
    path = tmp_path / "wild.yaml"
    path.write_text(Path(tiny_preset()).read_text().replace("0: 0.01", "0: 1.0e+38").replace("[0, 2, 11]", "[11]"))
    generate_in_process(tmp_path / "zoo", make_plan("formal-languages", str(path)))
    for command in (["check"], ["info"], ["plot"]):
        assert rnn_zoos(*command, tmp_path / "zoo")[0] == 0
    for command, message in (
        (["sample", "--run", 1], "diverged before step 11"),
        (["speed", "loading"], "has no snapshots in the split train"),
    ):
        status, _, err = rnn_zoos(*command, tmp_path / "zoo")
        assert status == 1 and message in err


def test_check_prints_one_line_per_finding_and_has_exit_status_one(zoo, tmp_path, rnn_zoos):
    directory = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    (directory / "index" / "train.parquet").unlink()
    (directory / "junk").write_text("")
    status, out, _ = rnn_zoos("check", directory)
    assert status == 1 and len(out.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "formal", "--preset", "demo"], "Unknown zoo 'formal'; known: formal-languages, sequential-mnist"),
        (
            ["plan", "formal-languages", "--preset", "tiny"],
            "Unknown preset 'tiny'; known: demo, diverse, medium, mixed, paper, small",
        ),
        (
            ["generate", "formal-languages", "--preset", "demo", "--out", "x", "--backend", "cuda"],
            "Unknown backend 'cuda'",
        ),
        (["generate", "sequential-mnist", "--preset", "demo", "--out", "x", "--mnist", "x"], "has no train-images"),
        (["generate", "sequential-mnist", "--preset", "demo", "--out", "x", "--mnist", "hub"], "Check the network"),
        (["check", "."], "is not a zoo"),
        (["info", "nowhere"], "is neither a directory nor the name of a zoo"),
        (["plot", "."], "is not a zoo"),
        (["sample", ".", "--run", "0"], "is not a zoo"),
        (["import", "nowhere", "--out", "x"], "nowhere is not a directory"),
        (["export", ".", "--to", "paper", "--out", "x"], "is not a zoo"),
        (["export", ".", "--to", "papers", "--out", "x"], "Unknown layout 'papers'; known: parquet, paper"),
    ],
)
def test_errors_that_a_user_can_fix_are_one_message_with_exit_status_one(
    arguments, message, tmp_path, monkeypatch, rnn_zoos
):
    monkeypatch.chdir(tmp_path)
    status, out, err = rnn_zoos(*arguments)
    assert status == 1 and err.startswith("Error: ") and message in err and "Traceback" not in err and out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan"],
        ["plan", "formal-languages"],
        ["fly"],
        ["info", ".", "--runs", "3"],
        ["speed", "scale", "--scratch", "nowhere"],
        ["publish", ".", "--repo", "me/zoo", "--networks", "3"],
        ["publish", ".", "--repo", "me/zoo", "--embeddings", "e.safetensors"],
    ],
)
def test_invalid_usage_has_exit_status_two(arguments, rnn_zoos):
    assert rnn_zoos(*arguments)[0] == 2


def test_the_error_about_a_missing_package_names_the_extra_to_install(monkeypatch, rnn_zoos):
    monkeypatch.setitem(sys.modules, "rnn_zoos.generation.plan", None)
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "rnn_zoos.generation.presets", raising=False)
    monkeypatch.delitem(sys.modules, "rnn_zoos.generation.plan")
    status, _, err = rnn_zoos("plan", "formal-languages", "--preset", "demo")
    assert status == 1 and "'yaml' is not installed. Install it with: pip install 'rnn-zoos[generation]'" in err


def test_the_command_is_installed_and_fails_without_a_traceback():
    command = [sys.executable, "-m", "rnn_zoos", "info", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(
        "Error: nowhere is neither a directory nor the name of a zoo"
    )


@pytest.fixture
def old_zoo(zoo, tmp_path, monkeypatch):
    """Return a zoo that lacks two labels; they are measured in the process of the test."""
    monkeypatch.setattr(relabelling, "WorkerPool", InlinePool)
    return remove_labels(shutil.copytree(zoo("formal-languages"), tmp_path / "zoo"), "finished", "loss")


def test_relabel_says_what_is_missing_adds_it_and_has_nothing_to_do_then(old_zoo, zoo, rnn_zoos):
    before = contents(old_zoo)
    status, out, _ = rnn_zoos("relabel", old_zoo, "--dry-run", "--workers", 2)
    assert status == 0 and "lacks finished, loss. Measuring 21 snapshots with 2 processes would take about" in out
    status, out, _ = rnn_zoos("relabel", old_zoo, "--dry-run", "--labels", "loss", "--json")
    found = json.loads(out)
    assert status == 0 and found["labels"] == ["loss"] and found["snapshots"] == 21 and found["seconds"] > 0
    assert contents(old_zoo) == before
    status, out, _ = rnn_zoos("relabel", old_zoo, "--labels", "loss")
    assert status == 0 and out == f"{old_zoo}: added loss, measured on 21 snapshots.\n"
    status, out, _ = rnn_zoos("relabel", old_zoo, "--json")
    assert status == 0 and json.loads(out)["labels"] == ["finished"]
    assert contents(old_zoo) == contents(zoo("formal-languages"))
    for options in ([], ["--dry-run"], ["--labels", "loss, finished"]):
        status, out, _ = rnn_zoos("relabel", old_zoo, *options)
        assert status == 0 and "nothing to add" in out
    status, _, err = rnn_zoos("relabel", old_zoo, "--labels", "los")
    assert status == 1 and "Unknown label 'los'" in err


def test_relabel_says_when_nothing_has_to_be_measured(zoo, tmp_path, rnn_zoos):
    out = remove_labels(shutil.copytree(zoo("formal-languages"), tmp_path / "zoo"), "steps_to_90")
    for options, does in ((["--dry-run"], "lacks"), ([], "added")):
        status, text, _ = rnn_zoos("relabel", out, *options)
        assert status == 0 and text == f"{out}: {does} steps_to_90; no network has to be measured for that.\n"


def test_check_points_to_relabel(old_zoo, zoo, rnn_zoos):
    status, out, _ = rnn_zoos("check", old_zoo)
    assert status == 0 and "conforms to format 1" in out
    assert f"It lacks the labels finished, loss. Add them with: rnn-zoos relabel {old_zoo}" in out
    assert "relabel" not in rnn_zoos("check", zoo("formal-languages"))[1]


def test_relabel_that_is_interrupted_says_how_to_resume(old_zoo, monkeypatch, rnn_zoos):
    before = contents(old_zoo)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(relabelling, "measure_shard", interrupt)
    status, _, err = rnn_zoos("relabel", old_zoo)
    assert status == 130 and "run the same command again to resume" in err and contents(old_zoo) == before
