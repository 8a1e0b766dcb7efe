"""Recurrent layers on CPUs, in C++: forward and backward through time of M networks, with their weights in cache.

`recurrence.py` is the Python side, `module.cpp` the binding. `stack_kernel.h` lists the headers with the code itself,
which are compiled once per instruction set (`*.inc`). Vectors, matrix products and cells are shared with the native
trainer of `rnn_zoos.generation`. Built by setup.py; may be absent: then PyTorch does the work.

May import: `rnn_zoos.errors`.
"""
