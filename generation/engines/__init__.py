"""Engines: they have the shards of a plan computed, by processes of this machine or by Ray on many machines.

May import: `rnn_zoos.generation.trainers`, `.writing`, `.plan`.
To add an engine: write a class with the method `make` of `engine.Engine`, and add its name to the command `generate`.
"""
