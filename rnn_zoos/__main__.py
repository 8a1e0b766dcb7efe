"""Runs the command line: `python -m rnn_zoos` is the same as `rnn-zoos`."""

from rnn_zoos.cli.app import main

if __name__ == "__main__":
    main()
