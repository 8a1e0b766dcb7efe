"""Copying rows between blocks of memory, in C++: what `rnn_zoos.loaders.gathering` uses for batches.

`module.cpp` is all of it; `_native.pyi` declares it. Built by setup.py; may be absent: then numpy does the work.

May import: nothing of this project.
"""
