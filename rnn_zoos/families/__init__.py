"""Task families: what networks are trained to do, how tasks are assigned and split, what is measured.

May import: `rnn_zoos.networks`, `rnn_zoos.errors`, `rnn_zoos.randomness`.
A new family: a subclass of `family.TaskFamily` in a file of its own, and one line in `registry.py`.
"""
