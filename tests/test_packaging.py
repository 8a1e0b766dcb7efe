"""The wheel holds every module and data file, and nothing imports against the rules of the layout."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

from rnn_zoos.cli.app import EXTRAS

FOLDERS = {"rnn_zoos": "rnn_zoos", "generation": "rnn_zoos/generation", "loaders": "rnn_zoos/loaders"}
TEST_SCRIPTS = ("tests/run.sh", "tests/faults.sh")
FOLDERS["baselines"] = "rnn_zoos/baselines"


def committed() -> list[str]:
    """Files of the checkout that git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for path in listed if (ROOT / path).is_file()]


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_data_file(tmp_path):
    source = tmp_path / "source"
    for path in committed():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes((ROOT / path).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {
        "/".join([FOLDERS[folder], *rest])
        for folder, *rest in (path.split("/") for path in committed())
        if folder in FOLDERS and Path(rest[-1]).suffix in (".py", ".pyi", ".yaml", ".npz", ".typed")
    }
    compiled = {
        name
        for name in names
        if name.startswith("rnn_zoos/generation/trainers/native/_native.") and name.endswith(".so")
    }
    shared = {name for name in names if ".data/data/" in name}
    assert names - compiled - shared == expected and len(compiled) == (1 if shutil.which("g++") else 0)
    assert {name.partition(".data/data/")[2] for name in shared} == {"share/rnn-zoos/DATASET_CARD.md"}
    assert {"rnn_zoos/py.typed", "rnn_zoos/families/mnist-5000.npz", "rnn_zoos/generation/presets/demo.yaml"} <= names


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("rnn_zoos", ()),
        ("generation", ("rnn_zoos.baselines",)),
        ("baselines", ("rnn_zoos.generation",)),
        ("loaders", ("rnn_zoos.generation", "rnn_zoos.baselines")),
    ],
)
def test_folders_import_only_what_the_layout_allows(folder, forbidden):
    """rnn_zoos imports none of the others when it is imported; its command does inside its functions."""
    if folder == "rnn_zoos":
        forbidden = ("rnn_zoos.generation", "rnn_zoos.loaders", "rnn_zoos.baselines")
    files = sorted((ROOT / folder).glob("*.py"))
    assert files
    for path in files:
        tree = ast.parse(path.read_text())
        for node in tree.body if folder == "rnn_zoos" else ast.walk(tree):
            names = [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name and name.startswith(forbidden)], path


def test_every_package_that_an_extra_brings_is_named_when_it_is_missing():
    always = {"torch", "numpy", "datasets", "huggingface_hub", "safetensors", "pyarrow", "typer", "rich"}
    explained_where_used = {"PIL", "triton"}
    imported = set()
    for path in committed():
        if path.split("/")[0] in FOLDERS and path.endswith(".py"):
            for node in ast.walk(ast.parse((ROOT / path).read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    imported.add(str(node.module).partition(".")[0])
    of_extras = imported - set(sys.stdlib_module_names) - always - explained_where_used - {"rnn_zoos"}
    assert of_extras == set(EXTRAS)


@pytest.mark.slow
def test_run_sh_makes_checks_and_draws_both_zoos(tiny_preset, tmp_path):
    """As a user calls it, in the environment of the tests."""
    command = [ROOT / "generation" / "run.sh", "--preset", tiny_preset(), "--mnist", "embedded", "--out", tmp_path]
    environment = os.environ | {
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    for zoo in ("formal-languages", "sequential-mnist"):
        assert f"{tmp_path}/{zoo}: conforms to format 1." in done.stdout
        assert f"{tmp_path}/{zoo}/figures/accuracy.png" in done.stdout.splitlines()
        assert (tmp_path / zoo / "figures" / "tasks.png").is_file()


def test_scripts_explain_themselves():
    done = subprocess.run([ROOT / "generation" / "run.sh", "--help"], capture_output=True, text=True, check=True)
    assert "generation/run.sh --preset demo" in done.stdout
    for wrong in (["--preset"], ["--out"]):
        assert subprocess.run([ROOT / "generation" / "run.sh", *wrong], capture_output=True).returncode == 2
    for script in (".ci/run", *(f"generation/{n}.sh" for n in ("run", "environment", "slurm")), *TEST_SCRIPTS):
        subprocess.run(["bash", "-n", ROOT / script], check=True)
