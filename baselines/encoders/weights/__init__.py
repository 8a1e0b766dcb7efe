"""Encoders that read weights.

    statistics     an MLP on statistics of every weight tensor
    flat           an MLP on all weights
    transformer    hidden units as tokens; blocks in attention.py
    canonical      flat and transformer on weights in canonical form
    dws            all linear maps that commute with permutations of units, in equivariant.py and matrix_features.py
    neural_graph   messages along edges of the computation graph, in graph_layers.py; gate_roles.py for several cells

May import: the interface and layers of `rnn_zoos.baselines.encoders`, `rnn_zoos` (networks, symmetry).
"""
