"""Checks the trainers on an NVIDIA GPU, in ten minutes at most: first whether they are right, then how fast they are.

    python generation/check_gpu.py --json gpu.json

Needs this checkout and a Python with torch, numpy and triton; nothing is installed. The tables are printed at the end.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # instead of the folder of this script

import rnn_zoos  # noqa: E402

rnn_zoos.__path__.append(str(ROOT))  # so that rnn_zoos.generation is found in generation/, as pyproject.toml maps it

from rnn_zoos.generation.measuring.gpu_report import main  # noqa: E402

if __name__ == "__main__":
    main()
