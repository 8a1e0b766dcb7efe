"""The explorer: a web page in which the networks of a zoo run in the browser, and the server of its files.

May import: the rest of `rnn_zoos.loaders`, `rnn_zoos.families`, `rnn_zoos.format`.
"""
