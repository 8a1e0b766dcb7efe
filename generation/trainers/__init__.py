"""Trainers: from the reference implementation (`loop.py`) to C++ for CPUs (`native/`) and GPU kernels (`triton/`).

`trainer.py` is the interface, `backends.py` the list of implementations, `groups.py` what trainers of many runs share.

May import: `rnn_zoos` (networks, families), torch and numpy only, so that a GPU machine needs nothing else.
A new trainer: a class with the members of `trainer.Trainer`, an entry in `backends.py`, and a test that compares it
with `loop`.
"""
