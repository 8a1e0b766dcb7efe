"""Measuring this machine: trainers, engines, loading, very large zoos, GPUs. Behind `rnn-zoos speed`.

May import: the rest of `rnn_zoos.generation`, and `rnn_zoos.loaders`.
A new measurement: medians of several repeats, as a ratio to a baseline of the same run; a command in `rnn_zoos/cli`.
"""
