"""The trainer for CPUs, in C++: one network per core, forward, backward and AdamW in cache.

`trainer.py` is the Python side, `module.cpp` the binding, `kernel.h` the network, `vector.h` the arithmetic, compiled
once per instruction set (`avx512.cpp`, `avx2.cpp`, `base.cpp`). Built by setup.py; it may be absent.
"""
