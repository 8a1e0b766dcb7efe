"""Encoders: modules that map the weights of M networks to embeddings [M, Z]. One file per method.

    encoder        the interface; calling an encoder with checks
    registry       encoders by name
    template       the smallest encoders, to be copied
    own_module     plain modules of users as encoders
    statistics, flat, transformer, dws,
    neural_graph, canonical                     read weights
    probing, probegen, fixed_probes,
    rotation_bank, self_rollout                 run the networks
    layers, queries, strings, stepwise, attention,
    equivariant, matrix_features, graph_layers  building blocks

May import: `rnn_zoos` (networks, symmetry, families).
A new encoder: start from `template.py`; one that is part of the benchmark gets a name in `registry.py`.
"""
