"""Format 1, a zoo on disk: the manifest `zoo.json`, the index, the shards, and the check of all three.

May import: `rnn_zoos.networks`, `rnn_zoos.families`, `rnn_zoos.errors`.
A new file or tensor of the format: its name goes into `manifest.py`, its check into `check_tensors.py` or
`check_rows.py`, its specification into docs/.
"""
