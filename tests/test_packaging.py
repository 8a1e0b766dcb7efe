"""The wheel contains every module and data file, and packages import each other only as pyproject.toml allows."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from checkout import copy_tracked_files, tracked_files
from conftest import ROOT

from rnn_zoos.cli.app import EXTRAS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest depends on it

FOLDERS = {
    "rnn_zoos": "rnn_zoos",
    "generation": "rnn_zoos/generation",
    "loaders": "rnn_zoos/loaders",
    "baselines": "rnn_zoos/baselines",
}
"""Folder at the top of the checkout -> folder in the wheel."""
DATA = (".py", ".pyi", ".yaml", ".npz", ".typed")
"""Endings of the files of the wheel; of the explorer's page, below `static`, all are in it."""
SCRIPTS = (
    ".ci/run",
    "generation/environment.sh",
    "generation/release.sh",
    "generation/run.sh",
    "generation/slurm.sh",
    "tests/faults.sh",
    "tests/run.sh",
)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = PYPROJECT["tool"]["importlinter"]["contracts"]


@cache
def module_paths() -> tuple[str, ...]:
    """Return the paths of all modules of the package."""
    return tuple(path for path in tracked_files() if path.split("/")[0] in FOLDERS and path.endswith(".py"))


@cache
def syntax_tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def module_name(path: str) -> str:
    """Return the import name of a module: rnn_zoos.loaders.zoo of loaders/zoo.py."""
    folder, _, rest = path.partition("/")
    return f"{FOLDERS[folder]}/{rest}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def type_checking_only(tree: ast.Module) -> set[ast.AST]:
    """Return the statements below `if TYPE_CHECKING:`."""
    blocks = (node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {child for block in blocks for statement in block.body for child in ast.walk(statement)}


def imports_of(nodes: Iterable[ast.AST], ignored: set[ast.AST]) -> Iterator[str]:
    """Yield the modules, and `module.name` for the names, that import statements among these nodes import."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node not in ignored:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import) and node not in ignored:
            yield from (alias.name for alias in node.names)


def layers_of(contract: dict) -> list[list[str]]:
    """Return the layers of an import-linter contract, highest first, each a list of independent modules."""
    containers = [f"{name}." for name in contract.get("containers", [])] or [""]
    return [[f"{c}{name}" for name in layer.split(" | ")] for c in containers for layer in contract["layers"]]


def forbidden_imports(module: str, layers: list[list[str]]) -> list[str]:
    """Return what a module must not import: the members of higher layers, and the other members of its own layer."""
    for height, layer in enumerate(layers):
        for member in layer:
            if is_within(module, member):
                higher = [name for other in layers[:height] for name in other]
                return [*higher, *(name for name in layer if name != member)]
    return []


@pytest.mark.slow
def test_the_wheel_contains_every_module_and_data_file(tmp_path):
    source = copy_tracked_files(tmp_path / "source")
    setup = (source / "setup.py").read_text()
    assert '"-O3"' in setup
    (source / "setup.py").write_text(setup.replace('"-O3"', '"-O0"'))  # which files there are does not depend on it
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {
        "/".join([FOLDERS[folder], *rest])
        for folder, *rest in (path.split("/") for path in tracked_files())
        if folder in FOLDERS and (Path(rest[-1]).suffix in DATA or "static" in rest)
    }
    compiled = {name for name in names if "/native/_native." in name and name.endswith(".so")}
    shared = {name for name in names if ".data/data/" in name}
    assert names - compiled - shared == expected and len(compiled) == (3 if shutil.which("g++") else 0)
    assert {name.partition(".data/data/")[2] for name in shared} == {"share/rnn-zoos/DATASET_CARD.md"}
    assert {"rnn_zoos/py.typed", "rnn_zoos/families/mnist-5000.npz", "rnn_zoos/generation/presets/demo.yaml"} <= names


def test_every_folder_with_modules_is_a_listed_package():
    listed = PYPROJECT["tool"]["setuptools"]["packages"]
    found = [module_name(path) for path in module_paths() if path.endswith("/__init__.py")]
    assert sorted(listed) == sorted(found)
    assert all((ROOT / path).with_name("__init__.py").is_file() for path in module_paths())


def test_every_package_documents_what_it_may_import():
    for path in module_paths():
        if path.endswith("/__init__.py") and path != "rnn_zoos/__init__.py":
            assert "May import" in (ast.get_docstring(syntax_tree(path)) or ""), path


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["name"])
def test_no_module_imports_from_a_higher_layer_or_from_a_sibling_in_its_layer(contract):
    """The same contracts as `lint-imports`, without an installed copy, but direct imports only."""
    layers = layers_of(contract)
    for path in module_paths():
        forbidden = forbidden_imports(module_name(path), layers)
        imported = imports_of(ast.walk(syntax_tree(path)), type_checking_only(syntax_tree(path)))
        assert not [name for name in imported if any(is_within(name, other) for other in forbidden)], path


def test_the_command_imports_what_it_runs_only_inside_functions():
    allowed = ("rnn_zoos.cli", "rnn_zoos.errors", "rnn_zoos.progress", "rnn_zoos.loaders.explorer.defaults")
    for path in (path for path in module_paths() if path.startswith("rnn_zoos/cli/")):
        imported = [name for name in imports_of(syntax_tree(path).body, set()) if is_within(name, "rnn_zoos")]
        assert all(any(is_within(name, other) for other in allowed) for name in imported), path
    script = "import sys, rnn_zoos.cli.app; print({'torch', 'numpy', 'pyarrow', 'datasets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_error_about_a_missing_package_names_the_extra_that_installs_it():
    required = {"torch", "numpy", "datasets", "huggingface_hub", "safetensors", "pyarrow", "typer", "rich"}
    explained_where_used = {"PIL", "triton"}
    imported = {
        name.partition(".")[0] for path in module_paths() for name in imports_of(ast.walk(syntax_tree(path)), set())
    }
    optional = imported - set(sys.stdlib_module_names) - required - explained_where_used - {"rnn_zoos"}
    carried = {"plotly"}  # whose JavaScript is read as a file of its package
    assert optional | carried == set(EXTRAS)


@pytest.mark.slow
def test_run_sh_generates_checks_and_draws_both_zoos(tiny_preset, tmp_path):
    """Run in the environment of the tests, so that nothing is installed."""
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


def test_scripts_have_help_and_valid_syntax():
    done = subprocess.run([ROOT / "generation" / "run.sh", "--help"], capture_output=True, text=True, check=True)
    assert "generation/run.sh --preset demo" in done.stdout
    for wrong in (["--preset"], ["--out"]):
        assert subprocess.run([ROOT / "generation" / "run.sh", *wrong], capture_output=True).returncode == 2
    for script in SCRIPTS:
        subprocess.run(["bash", "-n", ROOT / script], check=True)
