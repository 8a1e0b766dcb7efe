"""Where version 0.1 had `flatten` and the other views of weights; it goes with version 0.3."""

from rnn_zoos.lazy import moved

__getattr__ = moved(__name__, "rnn_zoos")
