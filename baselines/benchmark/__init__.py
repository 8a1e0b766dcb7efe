"""The benchmark: presets, the schedule of results, their JSON, the leaderboard and its figures, speed of encoders.

May import: the rest of `rnn_zoos.baselines`.
"""
