"""The family that docs/extending.md writes down, in a package of its own: all commands know it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from other_package import FAMILY, PAGE, PRESET, install

from rnn_zoos.errors import FamilyError, UnknownNameError
from rnn_zoos.families.registry import task_family


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    (folder / "counting.py").write_text(FAMILY)
    (folder / "counting.yaml").write_text(PRESET)
    install(folder, "counting", "counting:Counting")
    return folder


@pytest.fixture(scope="module")
def rnn_zoos(package):
    """Return a function that runs the command `rnn-zoos` where the package is installed, and returns its output."""

    def run(*arguments: object) -> str:
        command = [sys.executable, "-m", "rnn_zoos", *map(str, arguments)]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(package)}, cwd=package, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def zoo(package, rnn_zoos) -> Path:
    rnn_zoos("generate", "counting", "--preset", "counting.yaml", "--workers", 2, "--out", "zoo")
    return package / "zoo"


@pytest.mark.slow
def test_a_zoo_of_another_package_is_generated_checked_verified_and_shown(zoo, rnn_zoos):
    assert "conforms to format 1" in rnn_zoos("check", zoo)
    assert "Reproduced bit for bit" in rnn_zoos("verify", zoo, "--runs", 1)
    assert "ones are counted modulo this number" in rnn_zoos("info", zoo)
    assert "tasks.png" in rnn_zoos("plot", zoo, "--out", "figures")
    assert "this family shows no samples" in rnn_zoos("sample", zoo, "--run", 3)
    assert "index.html: open it in a browser" in rnn_zoos("explore", zoo, "--out", "page")
    assert "README.md" in rnn_zoos("publish", zoo, "--repo", "me/counting", "--dry-run")


@pytest.mark.slow
def test_it_is_loaded_as_the_others_are(zoo, package):
    script = (
        "from rnn_zoos import load_dataset\n"
        "row = load_dataset('zoo', split='train', rollouts=True)[0]\n"
        "print(row['modulus'], tuple(row['rollouts']['bits'].shape), tuple(row['weights']['linear.bias'].shape))"
    )
    environment = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=package, text=True, capture_output=True)
    assert done.stdout.endswith("(4, 20) (29,)\n") and int(done.stdout.split()[0]) < 24, done.stderr


def test_the_page_says_how_many_lines_it_takes():
    assert f"Save these {len(FAMILY.splitlines())} lines as `counting.py`" in PAGE


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("other", "no_such_module:Other", "'other' cannot be imported from no_such_module:Other: No module named"),
        ("other", "rnn_zoos.families.automata:Other", "cannot be imported from rnn_zoos.families.automata:Other"),
        ("other", "rnn_zoos.families.automata:Automata", "has not the name of its entry point. .* name = 'other'"),
        ("other", "rnn_zoos.families.automata:AutomataSampler", "is not a subclass of TaskFamily"),
        ("other", "rnn_zoos.families.family:TaskFamily", "has not the name of its entry point"),
        ("other", "own_family:Unfinished", "lacks the methods assign_tasks, .*task_values of a TaskFamily"),
        ("other", "own_family:Stepping", "has task columns of a name that has another meaning: accuracy, step"),
        ("other", "own_family:Placing", "has labels of a name that has another meaning: row"),
        ("other", "own_broken:Family", "'other' cannot be imported from own_broken:Family: .*own_broken.py, line 1"),
    ],
)
def test_packages_without_a_usable_family_are_named(name, value, problem, tmp_path, monkeypatch):
    install(tmp_path, name, value)
    unfinished = "from rnn_zoos.families.family import TaskFamily\nclass Unfinished(TaskFamily):\n    name = 'other'\n"
    named = "class {}(Automata):\n    name = 'other'\n    {} = {{**Automata.{}, {}}}\n"
    stepping = named.format("Stepping", "task_columns", "task_columns", "'step': None, 'accuracy': None")
    placing = named.format("Placing", "label_columns", "label_columns", "'row': None")
    automata = "from rnn_zoos.families.automata import Automata\n"
    (tmp_path / "own_family.py").write_text(unfinished + automata + stepping + placing)
    (tmp_path / "own_broken.py").write_text("class Family(\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FamilyError, match=problem):
        task_family(name)
    with pytest.raises(UnknownNameError, match="formal-languages, sequential-mnist, automata, other"):
        task_family("othre")
