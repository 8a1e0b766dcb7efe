"""The .npy files that the paper's authors released: reading them into a zoo, and writing a zoo in their layout.

May import: the rest of `rnn_zoos.loaders`, `rnn_zoos.families`, `rnn_zoos.format`.
"""
