"""M networks of one architecture at once: natively on CPUs, else by batched matrix products.

`rnn_zoos.networks.cells.run_network` is the reference implementation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.cells import CELL_FUNCTIONS, LayerState, zero_state
from rnn_zoos.networks.fused_cells import cell_function
from rnn_zoos.networks.native.recurrence import NativeState, Recurrence, is_usable
from rnn_zoos.networks.weights import check_weights


class NetworkStack:
    """M networks of one architecture that run at once. Gradients flow to the weights and to the inputs.

    Args:
        architecture: Architecture of all networks.
        weights: Stacked weights, name -> [M, *shape]; they are not copied.
        native: Run float32 on a CPU by native code, and the pointwise functions of a step on a GPU as one kernel, which
            gives the same outputs and gradients up to rounding. The gradients cannot be differentiated again. False:
            elementary operations and batched matrix products on every device.

    Attributes:
        architecture: Architecture of all networks.
        weights: Stacked weights.
        num_networks: M.

    Raises:
        FormatError: The weights do not fit the architecture, or are not stacked.

    Example:
        >>> import torch
        >>> from rnn_zoos import Architecture, NetworkStack, RecurrentNetwork, stack_weights
        >>> architecture = Architecture("lstm", 2, input_size=6, hidden_size=32, output_size=6)
        >>> weights = stack_weights([RecurrentNetwork(architecture).weights() for _ in range(3)])
        >>> outputs, state = NetworkStack(architecture, weights)(torch.zeros(5, 41, 6))
        >>> outputs.shape
        torch.Size([3, 5, 41, 6])
    """

    def __init__(self, architecture: Architecture, weights: Mapping[str, Tensor], native: bool = True) -> None:
        leading = check_weights(architecture, weights)
        if len(leading) != 1:
            raise FormatError(
                f"Weights have leading axes {leading}; expected one, the axis of the networks: [M, *shape]."
            )
        self.architecture = architecture
        self.weights = dict(weights)
        self.num_networks = leading[0]
        self.native = native

    @property
    def groups(self) -> list[tuple[Tensor, NetworkStack]]:
        """Positions and stack of the networks of each architecture: of the one that they have.

        Example:
            >>> from rnn_zoos import open_zoo
            >>> zoo = open_zoo("zoos/formal-languages")
            >>> len(zoo.stack(zoo.index("train")).groups)
            1
        """
        return [(torch.arange(self.num_networks), self)]

    def select(self, rows: Tensor) -> NetworkStack:
        """Return some of the networks.

        Args:
            rows: Their positions, int64 [N].

        Returns:
            A stack of copies of their weights, in this order.

        Example:
            >>> import torch
            >>> from rnn_zoos import open_zoo
            >>> zoo = open_zoo("zoos/formal-languages")
            >>> zoo.stack(zoo.index("train")).select(torch.tensor([3, 0])).num_networks
            2
        """
        chosen = {name: tensor[rows] for name, tensor in self.weights.items()}
        return NetworkStack(self.architecture, chosen, self.native)

    def __call__(
        self, inputs: Tensor, state: Sequence[LayerState] | None = None
    ) -> tuple[Tensor, Sequence[LayerState]]:
        """Run all networks.

        Args:
            inputs: [M, B, T, I], or [B, T, I] to give all networks the same inputs.
            state: Initial state as returned by a previous call; by default zeros.

        Returns:
            Outputs [M, B, T, O], and the last state: per layer (h, c) for an LSTM, else (h,), each [M, B, H].

        Raises:
            FormatError: The inputs have another shape or type, or no step, or the state is not one of these networks on
                B sequences.

        Example:
            >>> import torch
            >>> from rnn_zoos import Architecture, NetworkStack, RecurrentNetwork, stack_weights
            >>> architecture = Architecture("gru", 1, input_size=6, hidden_size=32, output_size=6)
            >>> stack = NetworkStack(architecture, stack_weights([RecurrentNetwork(architecture).weights()]))
            >>> outputs, state = stack(torch.zeros(5, 41, 6))
            >>> outputs, state = stack(torch.zeros(5, 10, 6), state)
        """
        hidden = self._inputs_per_network(inputs)
        if state is not None:
            self._check_state(state, hidden.shape[1])
        if self.native and (self._continues(state, hidden) or self._can_run_natively(hidden, state)):
            return self._run_natively(hidden, state)
        return self._run(hidden, state)

    def _can_run_natively(self, inputs: Tensor, state: Sequence[LayerState] | None) -> bool:
        given = [tensor for layer in state or () for tensor in layer]
        tensors = [*self.weights.values(), inputs, *given]
        return is_usable(tensors, self.architecture.cell, self.architecture.num_layers)

    def _continues(self, state: Sequence[LayerState] | None, inputs: Tensor) -> bool:
        """Return whether a state is of these networks, packed with the weights that they have now.

        Networks that were packed without gradients, as for a warm-up, are packed again when gradients are asked for.
        """
        if not isinstance(state, NativeStates) or inputs.dtype != torch.float32:
            return False
        trains = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in self.weights.values())
        same = state.version is not None and state.version == self._version()
        return same and (state.recurrence.trains or not trains)

    def _version(self) -> _Version | None:
        """Return what changes when a weight is replaced or changed in place; None if nothing tells.

        Tensors that were made in inference mode do not count their changes. Replaced `data` is noticed, `data` that is
        changed in place is not.
        """
        if any(tensor.is_inference() for tensor in self.weights.values()):
            return None
        return tuple((id(tensor), tensor._version, tensor.data_ptr()) for tensor in self.weights.values())

    def _run_natively(self, inputs: Tensor, state: Sequence[LayerState] | None) -> tuple[Tensor, NativeStates]:
        if isinstance(state, NativeStates) and self._continues(state, inputs):
            outputs, last = state.recurrence(inputs, state.tensors)
            return outputs, NativeStates(state.recurrence, last, state.version)
        # Packing takes 1 ms for 64 networks. Once per sequence: weights may have changed since the last one.
        names = map(self.architecture.layer_shapes, range(self.architecture.num_layers))
        layers = [[self.weights[name] for name in layer] for layer in names]
        readout = [self.weights["linear.weight"], self.weights["linear.bias"]]
        recurrence = Recurrence(self.architecture.cell, layers, readout)
        outputs, last = recurrence(inputs, None if state is None else stack_states(state))
        return outputs, NativeStates(recurrence, last, self._version())

    def _run(self, hidden: Tensor, state: Sequence[LayerState] | None) -> tuple[Tensor, list[LayerState]]:
        """Run all networks on inputs [M, B, T, I] by batched matrix products."""
        networks, sequences, steps, _ = hidden.shape
        state = state or zero_state(self.architecture, networks, sequences, like=hidden)
        last_state = []
        for layer in range(self.architecture.num_layers):
            hidden, layer_state = self._run_layer(layer, hidden, state[layer])
            last_state.append(layer_state)
        outputs = _linear(hidden.flatten(1, 2), self.weights["linear.weight"], self.weights["linear.bias"])
        return outputs.unflatten(1, (sequences, steps)), last_state

    def _inputs_per_network(self, inputs: Tensor) -> Tensor:
        """Return inputs [B, T, I] or [M, B, T, I] as [M, B, T, I]."""
        if inputs.dim() == 3:
            inputs = inputs.expand(self.num_networks, *inputs.shape)
        if inputs.dim() != 4 or (inputs.shape[0], inputs.shape[3]) != (self.num_networks, self.architecture.input_size):
            raise FormatError(
                f"Inputs have shape {tuple(inputs.shape)}; expected [B, T, {self.architecture.input_size}] or "
                f"[{self.num_networks}, B, T, {self.architecture.input_size}]."
            )
        dtype = self.weights["linear.bias"].dtype
        if inputs.dtype not in (dtype, torch.float16, torch.bfloat16):  # halves: of `torch.autocast`
            raise FormatError(f"Inputs are {inputs.dtype}; expected {dtype}, as the weights are.")
        if inputs.shape[2] == 0:
            raise FormatError(f"Inputs have shape {tuple(inputs.shape)}, with no step; expected T of at least 1.")
        return inputs

    def _check_state(self, state: Sequence[LayerState], sequences: int) -> None:
        """Raise FormatError unless a state is one of these networks on so many sequences."""
        arch = self.architecture
        packed = (self.num_networks, arch.num_layers, sequences, arch.hidden_size)
        if isinstance(state, NativeStates) and (state.recurrence.cell, state.tensors[0].shape) == (arch.cell, packed):
            return  # looking at every layer takes 5% of a step
        given = [[tuple(tensor.shape) for tensor in layer] for layer in state]
        shape = (self.num_networks, sequences, arch.hidden_size)
        expected = [[shape] * (2 if arch.cell == "lstm" else 1)] * arch.num_layers
        if given != expected:
            raise FormatError(f"The state has the shapes {given}; expected, layer by layer, {expected}.")
        types = {tensor.dtype for layer in state for tensor in layer}
        dtype = self.weights["linear.bias"].dtype
        if not types <= {dtype, torch.float16, torch.bfloat16}:  # halves: of `torch.autocast`
            raise FormatError(f"The state is {types}; expected {dtype}, as the weights are.")

    def _run_layer(self, layer: int, inputs: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Run one layer over inputs [M, B, T, I or H]; one matrix product handles the inputs of all steps."""
        weight_ih, weight_hh, bias_ih, bias_hh = (self.weights[name] for name in self.architecture.layer_shapes(layer))
        _, sequences, steps, _ = inputs.shape
        from_inputs = _linear(inputs.flatten(1, 2), weight_ih, bias_ih).unflatten(1, (sequences, steps))
        name = self.architecture.cell
        cell, outputs = cell_function(name, inputs.device) if self.native else CELL_FUNCTIONS[name], []
        for from_input in from_inputs.unbind(dim=2):
            state = cell(from_input, _linear(state[0], weight_hh, bias_hh), state)
            outputs.append(state[0])
        return torch.stack(outputs, dim=2), state


_Version: TypeAlias = tuple[tuple[int, int, int], ...]
"""Identity, version and address of every weight tensor."""


class NativeStates(Sequence[LayerState]):
    """States as `NetworkStack` returns them, per layer (h, c) or (h,), with the packed networks they belong to."""

    def __init__(self, recurrence: Recurrence, tensors: NativeState, version: _Version | None) -> None:
        self.recurrence, self.tensors, self.version = recurrence, tensors, version

    def __len__(self) -> int:
        return self.recurrence.num_layers

    def __getitem__(self, layer: int) -> LayerState:  # type: ignore[override]
        """Return the state of a layer, tensors [M, B, H]."""
        return tuple(tensor[:, range(len(self))[layer]] for tensor in self.tensors if tensor is not None)

    def __iter__(self) -> Iterator[LayerState]:
        return (self[layer] for layer in range(len(self)))


def stack_states(state: Sequence[LayerState]) -> NativeState:
    """Return hidden states and cells of all layers, each [M, L, B, H]; None for the cells if there are none."""
    hidden, *cell = (torch.stack(tensors, dim=1) for tensors in zip(*state, strict=True))
    return hidden, cell[0] if cell else None


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply M affine maps at once: inputs [M, N, I], weight [M, R, I], bias [M, R] -> [M, N, R]."""
    return torch.baddbmm(bias.unsqueeze(1), inputs, weight.transpose(1, 2))
