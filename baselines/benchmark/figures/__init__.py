"""The figures of results, PNG files.

    draw         all figures of result files
    studies      the figure of a study
    losses, scores, embeddings, trajectories   single figures; style is what they share
    data         what is stored of an encoder for the figures

May import: `rnn_zoos.baselines.benchmark` (result files, comparison), what that may import.
"""
