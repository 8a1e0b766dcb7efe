"""Writing zoos: the output directory, its shards and their records, the manifest; merging and verifying zoos.

May import: `rnn_zoos.format`, `rnn_zoos.generation.trainers`, `.plan`, and `rnn_zoos.loaders` to read finished zoos.
"""
