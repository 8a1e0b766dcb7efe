"""Writing a zoo: the output directory while it is made, shards, records, the manifest; merging and verifying zoos.

May import: `rnn_zoos.format`, `rnn_zoos.generation.trainers`, `.plan`, and `rnn_zoos.loaders` to read what is there.
"""
