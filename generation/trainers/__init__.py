"""Trainers: what trains runs, from the reference implementation `loop` to C++ (`native/`) and GPU kernels (`triton/`).

May import: `rnn_zoos` (networks, families); torch and numpy alone, so that a GPU machine needs nothing else.
A new trainer: a class with `train` as in `trainer.Trainer`, a name in `backends.py`, a test that compares it with
`loop`.
"""
