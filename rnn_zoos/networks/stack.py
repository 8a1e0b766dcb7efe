"""M networks of one architecture at once, by batched matrix products; `cells.run_network` is its naive twin."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.cells import UPDATES, LayerState, zero_state
from rnn_zoos.networks.weights import check_weights


class NetworkStack:
    """A callable stack of M networks: `outputs, state = stack(inputs)`.

    `weights` are stacked, [M, *shape] per name; gradients flow to them and to the inputs. Raises FormatError if they
    do not fit the architecture.
    """

    def __init__(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> None:
        leading = check_weights(architecture, weights)
        if len(leading) != 1:
            raise FormatError(f"Weights have leading axes {leading}; expected one, the networks: [M, *shape].")
        self.architecture = architecture
        self.weights = dict(weights)
        self.num_networks = leading[0]

    def __call__(self, inputs: Tensor, state: list[LayerState] | None = None) -> tuple[Tensor, list[LayerState]]:
        """Run all networks over [B, T, I] (the same inputs for all) or [M, B, T, I].

        Returns outputs [M, B, T, O] and, per layer, the last state [M, B, H]. Raises FormatError for other shapes.
        """
        hidden = self._own_inputs(inputs)
        networks, sequences, steps, _ = hidden.shape
        state = state or zero_state(self.architecture, networks, sequences, like=hidden)
        last_state = []
        for layer in range(self.architecture.num_layers):
            hidden, layer_state = self._run_layer(layer, hidden, state[layer])
            last_state.append(layer_state)
        outputs = _linear(hidden.flatten(1, 2), self.weights["linear.weight"], self.weights["linear.bias"])
        return outputs.unflatten(1, (sequences, steps)), last_state

    def _own_inputs(self, inputs: Tensor) -> Tensor:
        """Return inputs as [M, B, T, I]."""
        if inputs.dim() == 3:
            inputs = inputs.expand(self.num_networks, *inputs.shape)
        if inputs.dim() != 4 or (inputs.shape[0], inputs.shape[3]) != (self.num_networks, self.architecture.input_size):
            raise FormatError(
                f"Inputs have shape {tuple(inputs.shape)}; expected [B, T, {self.architecture.input_size}] or "
                f"[{self.num_networks}, B, T, {self.architecture.input_size}]."
            )
        return inputs

    def _run_layer(self, layer: int, inputs: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run one layer over [M, B, T, *]: inputs of all steps in one product, then step by step."""
        weight_ih, weight_hh, bias_ih, bias_hh = (self.weights[name] for name in self.architecture.layer_shapes(layer))
        _, sequences, steps, _ = inputs.shape
        from_inputs = _linear(inputs.flatten(1, 2), weight_ih, bias_ih).unflatten(1, (sequences, steps))
        update, outputs = UPDATES[self.architecture.cell], []
        for from_input in from_inputs.unbind(dim=2):
            state = update(from_input, _linear(state[0], weight_hh, bias_hh), state)
            outputs.append(state[0])
        return torch.stack(outputs, dim=2), state


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """M affine maps at once: inputs [M, N, I], weight [M, R, I], bias [M, R] -> [M, N, R]."""
    return torch.baddbmm(bias.unsqueeze(1), inputs, weight.transpose(1, 2))
