"""Summaries, sampled outputs and figures of a zoo: what `rnn-zoos info`, `sample` and `plot` show.

May import: the rest of `rnn_zoos.loaders`, `rnn_zoos.families`.
"""
