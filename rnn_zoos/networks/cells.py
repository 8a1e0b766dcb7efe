"""The equations of the cells, in plain torch: the reference implementation for every faster one.

The equations are those of torch.nn.LSTM, GRU and RNN (with tanh): two bias vectors per layer, states start at zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from rnn_zoos.networks.architecture import Architecture

LayerState = tuple[Tensor, ...]
"""(h, c) of an LSTM layer, (h,) of a GRU or RNN layer; each [..., B, H]."""


def lstm_cell(from_input: Tensor, from_hidden: Tensor, state: LayerState) -> LayerState:
    """Return the next (h, c) from the two gate pre-activations [..., B, 4H] and the previous state."""
    input_gate, forget_gate, candidate, output_gate = (from_input + from_hidden).chunk(4, dim=-1)
    cell = forget_gate.sigmoid() * state[1] + input_gate.sigmoid() * candidate.tanh()
    return output_gate.sigmoid() * cell.tanh(), cell


def gru_cell(from_input: Tensor, from_hidden: Tensor, state: LayerState) -> LayerState:
    """Return the next (h,) from the two gate pre-activations [..., B, 3H] and the previous state."""
    input_reset, input_update, input_candidate = from_input.chunk(3, dim=-1)
    hidden_reset, hidden_update, hidden_candidate = from_hidden.chunk(3, dim=-1)
    update = (input_update + hidden_update).sigmoid()
    candidate = (input_candidate + (input_reset + hidden_reset).sigmoid() * hidden_candidate).tanh()
    return ((1 - update) * candidate + update * state[0],)


def rnn_cell(from_input: Tensor, from_hidden: Tensor, state: LayerState) -> LayerState:
    """Return the next (h,) of the tanh RNN from the two pre-activations [..., B, H]; `state` is not needed."""
    return ((from_input + from_hidden).tanh(),)


CellFunction = Callable[[Tensor, Tensor, LayerState], LayerState]
"""(pre-activations from the input, from the hidden state, previous state) -> next state."""
CELL_FUNCTIONS: Mapping[str, CellFunction] = MappingProxyType({"lstm": lstm_cell, "gru": gru_cell, "rnn": rnn_cell})


def zero_state(architecture: Architecture, *axes: int, like: Tensor) -> list[LayerState]:
    """Return the state before the first step: per layer, tensors of zeros [*axes, H], where axes are B, or M and B."""
    tensors = 2 if architecture.cell == "lstm" else 1
    zeros = torch.zeros(*axes, architecture.hidden_size, dtype=like.dtype, device=like.device)
    return [(zeros,) * tensors for _ in range(architecture.num_layers)]


def network_step(
    architecture: Architecture, weights: Mapping[str, Tensor], inputs: Tensor, state: list[LayerState]
) -> tuple[Tensor, list[LayerState]]:
    """Run one network for one step: from inputs [B, I] and a state, return outputs [B, O] and the next state."""
    hidden, next_state = inputs, []
    for layer, layer_state in enumerate(state):
        weight_ih, weight_hh, bias_ih, bias_hh = (weights[name] for name in architecture.layer_shapes(layer))
        from_input = hidden @ weight_ih.T + bias_ih
        from_hidden = layer_state[0] @ weight_hh.T + bias_hh
        next_state.append(CELL_FUNCTIONS[architecture.cell](from_input, from_hidden, layer_state))
        hidden = next_state[-1][0]
    return hidden @ weights["linear.weight"].T + weights["linear.bias"], next_state


def run_network(
    architecture: Architecture,
    weights: Mapping[str, Tensor],
    inputs: Tensor,
    state: list[LayerState] | None = None,
) -> tuple[Tensor, list[LayerState]]:
    """Run one network over inputs [B, T, I]; return outputs [B, T, O] and the state after the last step."""
    state = state or zero_state(architecture, inputs.shape[0], like=inputs)
    outputs = []
    for step_inputs in inputs.unbind(dim=1):
        step_outputs, state = network_step(architecture, weights, step_inputs, state)
        outputs.append(step_outputs)
    return torch.stack(outputs, dim=1), state
