"""What has to be seen on an NVIDIA GPU, in ten minutes at most: first whether the trainers are right, then their speed.

    python generation/check_gpu.py --json gpu.json

needs this checkout and a Python with torch, numpy and triton; nothing is installed. The tables come last.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # in place of this script's folder

import rnn_zoos  # noqa: E402

rnn_zoos.__path__.append(str(ROOT))  # where pyproject.toml has pip look for rnn_zoos.generation

from rnn_zoos.generation.measuring.gpu_report import main  # noqa: E402

if __name__ == "__main__":
    main()
