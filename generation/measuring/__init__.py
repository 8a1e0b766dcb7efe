"""Measuring this machine: trainers, engines, loading, the bookkeeping of large zoos, GPUs. Used by `rnn-zoos speed`.

May import: the rest of `rnn_zoos.generation`, and `rnn_zoos.loaders`.
To add a measurement: report medians of several repeats, and ratios to a baseline measured in the same repeat; add a
command in `rnn_zoos/cli`.
"""
