"""Looking at a zoo: summaries, samples of what a network does, figures. Behind `rnn-zoos info`, `sample` and `plot`.

May import: the rest of `rnn_zoos.loaders`, `rnn_zoos.families`.
"""
