"""The operations on rows, once more with the oldest version of `datasets` that pyproject.toml allows."""

import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

TESTS = ["tests/loaders/test_operations.py", "tests/loaders/test_features.py"]


@pytest.mark.long
@pytest.mark.slow
def test_operations_work_with_the_oldest_supported_version_of_datasets(tmp_path):
    (oldest,) = re.findall(r'^    "datasets>=([\d.]+)",', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tmp_path / "packages")]
    subprocess.run([*install, "--no-deps", f"datasets~={oldest}.0"], check=True)
    subprocess.run([*install, "httpx"], check=True)  # which that version imports; newer ones and their clients do not
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "packages")}
    ask = [sys.executable, "-c", "import datasets; print(datasets.__version__)"]
    found = subprocess.run(ask, check=True, env=environment, capture_output=True, text=True).stdout
    assert found.startswith(oldest)
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not long", *TESTS]
    done = subprocess.run(test, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
