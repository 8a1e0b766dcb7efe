"""Recurrent networks, one or many at once: architecture, cells, weights, batched networks.

May import: `rnn_zoos.errors`, `rnn_zoos.randomness`.
To add a cell, add its gates to `architecture.GATES`, its equations to `cells.CELL_FUNCTIONS` and its torch module to
`model.TORCH_MODULES`.
"""
