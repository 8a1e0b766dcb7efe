"""The command `rnn-zoos`: a file per group of commands, `app.py` the entry point that joins them.

May import: everything, but only inside the functions that use it, so that `rnn-zoos --help` stays fast.
A new command: a function with type annotations and an example in its docstring, registered in `app.py`.
"""
