"""The .npy files that the paper's authors released: importing them as a zoo, and exporting a zoo as such files.

May import: the rest of `rnn_zoos.loaders`, `rnn_zoos.families`, `rnn_zoos.format`.
"""
