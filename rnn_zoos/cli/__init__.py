"""The command `rnn-zoos`: one file per group of commands, joined by the entry point `app.py`.

May import: everything, but packages other than `rnn_zoos.errors` and `rnn_zoos.progress` only inside functions, so that
`rnn-zoos --help` stays fast.
A new command: a function in the file of its group, with type annotations, help for every option, and examples in its
docstring; register it in `app.py`.
"""
