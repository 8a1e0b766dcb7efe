"""Emulation: training an encoder without labels, by an LSTM that imitates each network given its embedding.

May import: `rnn_zoos.baselines.encoders`, `rnn_zoos.loaders`.
"""
