"""A pytest plugin of tests/sanitize.sh: puts its extensions in place of the installed ones, in this process."""

import importlib.util
import os
import sys
from pathlib import Path

FOLDERS = {
    "rnn_zoos.networks.native": "rnn_zoos/networks/native",
    "rnn_zoos.generation.trainers.native": "generation/trainers/native",
    "rnn_zoos.loaders.native": "loaders/native",
}

for package, folder in FOLDERS.items():
    path = Path(os.environ["SANITIZED"]) / folder / "_native.so"
    specification = importlib.util.spec_from_file_location(f"{package}._native", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    sys.modules[f"{package}._native"] = module
