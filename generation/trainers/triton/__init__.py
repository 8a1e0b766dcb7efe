"""The trainer for NVIDIA GPUs: one Triton program trains one run, whole updates in one launch.

`trainer.py` launches, `kernel.py` is the update, `cells.py` and `memory.py` its parts, `shape.py` the sizes that it is
specialised on, `compile.py` the report of registers and spills. Needs the package triton.
"""
