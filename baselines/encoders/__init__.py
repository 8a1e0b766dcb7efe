"""Encoders: modules that map the weights of M networks to embeddings [M, Z]. One file per method.

    encoder        the interface; calling an encoder with checks
    registry       encoders by name
    template       the smallest encoders, to be copied
    own_module     plain modules of users as encoders
    layers         building blocks of several encoders
    weights/       encoders that read weights
    probes/        encoders that run the networks

May import: `rnn_zoos` (networks, symmetry, families).
A new encoder: start from `template.py`; one that is part of the benchmark gets a name in `registry.py`.
"""
