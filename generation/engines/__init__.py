"""Engines: what has the shards of a plan made, by processes of this machine or by Ray on many.

May import: `rnn_zoos.generation.trainers`, `.writing`, `.plan`.
A new engine: a class with `make` as in `engine.Engine`, and its name in the command `generate`.
"""
