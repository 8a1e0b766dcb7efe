"""Downstream tasks: what can be predicted from embeddings, and the controls that an encoder has to beat.

May import: `rnn_zoos.baselines.encoders`, `.emulation`.
A new target: an entry in `targets.py`. A new control: an entry in `controls.py`.
"""
