"""Cells whose pointwise functions are one kernel of a GPU, those of PyTorch's own LSTM and GRU.

`rnn_zoos.networks.cells` is the reference implementation. Their gradients cannot be differentiated again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from rnn_zoos.networks.cells import CELL_FUNCTIONS, CellFunction, LayerState


def cell_function(cell: str, device: torch.device) -> CellFunction:
    """Return the fastest function of a cell on a device."""
    return _FUSED.get(cell, CELL_FUNCTIONS[cell]) if device.type == "cuda" else CELL_FUNCTIONS[cell]


def _fused_lstm_cell(from_input: Tensor, from_hidden: Tensor, state: LayerState) -> LayerState:
    """Return what `lstm_cell` does."""
    gates = (part.flatten(0, -2) for part in (from_input, from_hidden))
    hidden, cell, _ = torch.ops.aten._thnn_fused_lstm_cell(*gates, state[1].flatten(0, -2))
    return hidden.view_as(state[1]), cell.view_as(state[1])


def _fused_gru_cell(from_input: Tensor, from_hidden: Tensor, state: LayerState) -> LayerState:
    """Return what `gru_cell` does."""
    gates = (part.flatten(0, -2) for part in (from_input, from_hidden))
    hidden, _ = torch.ops.aten._thnn_fused_gru_cell(*gates, state[0].flatten(0, -2))
    return (hidden.view_as(state[0]),)


_FUSED: Mapping[str, CellFunction] = MappingProxyType({"lstm": _fused_lstm_cell, "gru": _fused_gru_cell})
