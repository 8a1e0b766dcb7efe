"""Deprecated: `flatten` and the other functions of this module are in `rnn_zoos`. Removed in version 0.3."""

from rnn_zoos.lazy import moved

__getattr__ = moved(__name__, "rnn_zoos")
