"""Everything for the day a GPU is there, from a checkout, without installing it: `check_gpu.py --help`."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # instead of the folder of this script

import rnn_zoos  # noqa: E402

rnn_zoos.__path__.append(str(ROOT))  # rnn_zoos.generation is in generation/, and so on, as pyproject.toml maps them

if __name__ == "__main__":
    runpy.run_module("rnn_zoos.cli.gpu", run_name="__main__", alter_sys=False)
