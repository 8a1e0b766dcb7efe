"""`python -m rnn_zoos` is the command `rnn-zoos`."""

from rnn_zoos.cli import main

if __name__ == "__main__":
    main()
