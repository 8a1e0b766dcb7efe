"""The trainer for CPUs, in C++: one network per core, with forward, backward and AdamW in cache.

`trainer.py` is the Python side, `module.cpp` the binding. `kernel.h` lists the headers with the network itself, which
are compiled once per instruction set (`avx512.cpp`, `avx2.cpp`, `base.cpp`). Built by setup.py; may be absent.

May import: what `rnn_zoos.generation.trainers` may.
"""
