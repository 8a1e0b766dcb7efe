"""Format 1, a zoo on disk: the manifest `zoo.json`, the index, the shards, and the check of all of them.

May import: `rnn_zoos.networks`, `rnn_zoos.families`, `rnn_zoos.errors`.
A new file or tensor of the format: its name in `manifest.py`, its check in `check.py`, its specification in docs/.
"""
