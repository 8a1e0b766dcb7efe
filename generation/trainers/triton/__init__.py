"""The trainer for NVIDIA GPUs: one Triton program trains one run, many updates per launch.

`trainer.py` launches `kernel.py`, the update, whose parts are in `layers.py`, `cells.py` and `memory.py`. `shape.py`
holds the sizes it is specialised on; `compile.py` reports registers and spills. Needs the package triton.

May import: what `rnn_zoos.generation.trainers` may, and triton.
"""
