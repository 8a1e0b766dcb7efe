"""A tiny preset of several architectures."""

MIXED = """\
formal-languages:
  seed: 13
  runs: {runs}
  runs_per_shard: 2
  architectures:
    - {{cell: lstm, num_layers: 2, hidden_size: 7, weight: 2}}
    - {{cell: gru, num_layers: 1, hidden_size: 5}}
    - {{cell: rnn, num_layers: 3, hidden_size: 4}}
  batch_size: 3
  snapshots: [0, 2, 11]
  learning_rate: {{0: 0.01, 5: 0.003}}
  weight_decay: [0.0001, 0.1]
  evaluation: {{strings: 13, rollouts: 4}}
"""
