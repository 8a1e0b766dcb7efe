"""The theory of interrogation, executable: how many queries tell finitely many functions apart.

May import: `rnn_zoos.errors`, `rnn_zoos.format.files`.
"""
