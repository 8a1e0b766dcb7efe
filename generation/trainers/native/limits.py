"""The networks that the native trainer supports; this can be asked where it was not built, too."""

from __future__ import annotations

from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.native.recurrence import NATIVE_CELLS, NATIVE_LAYERS

LARGEST_SIZE = 2**24
"""Inputs, hidden units and outputs that the C++ code supports at most (`MAX_SIZE` in architecture.h)."""


def unsupported(architecture: Architecture) -> str | None:
    """Return why the trainer does not support an architecture, as the end of a sentence; None if it does."""
    a = architecture
    if a.cell not in NATIVE_CELLS:
        return f"supports the cells {', '.join(NATIVE_CELLS)}; got {a.cell}"
    if a.num_layers > NATIVE_LAYERS:
        return f"supports up to {NATIVE_LAYERS} layers; got {a.num_layers}"
    largest = max(a.input_size, a.hidden_size, a.output_size)
    if largest > LARGEST_SIZE:
        return f"supports sizes up to {LARGEST_SIZE:,}; got {largest:,}"
    return None
