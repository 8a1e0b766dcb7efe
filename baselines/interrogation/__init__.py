"""The theory of probing, executable: how many queries identify one of finitely many functions.

May import: `rnn_zoos.errors`, `rnn_zoos.format.files`, `rnn_zoos.loaders.views.figures`.

    theory.py    exact searches for the fewest queries, families with known answers, bounds
    figure.py    the figure baselines/results/interrogation.png
"""
