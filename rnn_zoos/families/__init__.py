"""Task families: what networks are trained to do, how tasks are assigned and split, what is measured.

May import: `rnn_zoos.networks`, `rnn_zoos.errors`, `rnn_zoos.randomness`.
To add a family, subclass `family.TaskFamily` in a new file and add a line to `registry.py`.
"""
