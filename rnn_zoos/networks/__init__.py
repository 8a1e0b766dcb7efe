"""One recurrent network and many of them: architecture, cells, weights, batched networks.

May import: `rnn_zoos.errors`, `rnn_zoos.randomness`.
A new cell: its gates in `architecture.GATES`, its equations in `cells.UPDATES`; the other files follow from these two.
"""
