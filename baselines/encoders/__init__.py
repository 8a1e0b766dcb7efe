"""Encoders: modules that map the weights of M networks to embeddings [M, Z].

May import: `rnn_zoos` (networks, symmetry, families).
A new encoder: start from `template.py`; one that is part of the benchmark gets a name in `registry.py`.
"""
