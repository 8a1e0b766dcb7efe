"""M networks of several architectures that run at once, one stack of each architecture after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.networks.stack import NetworkStack


class MixedStack(NetworkStack):
    """M networks of several architectures with the same inputs and outputs, to be run like a `NetworkStack`.

    Args:
        groups: For each architecture the positions of its networks among all, int64 [N], and their stack. Together the
            positions are 0 to M - 1.

    Attributes:
        groups: See above.
        architecture: Architecture of the first group: inputs and outputs are the same for all.
        weights: The parameters whose shape does not depend on the architecture, name -> [M, *shape]: the readout's
            bias.
        num_networks: M.

    Raises:
        FormatError: There are no groups, or they have different numbers of inputs or outputs.

    Example:
        >>> import torch
        >>> from rnn_zoos import Architecture, NetworkStack, RecurrentNetwork, stack_weights
        >>> from rnn_zoos.networks.mixed_stack import MixedStack
        >>> groups = []
        >>> for position, cell in enumerate(["lstm", "gru"]):
        ...     architecture = Architecture(cell, 1, input_size=6, hidden_size=8 + position, output_size=6)
        ...     weights = stack_weights([RecurrentNetwork(architecture).weights()])
        ...     groups.append((torch.tensor([position]), NetworkStack(architecture, weights)))
        >>> outputs, states = MixedStack(groups)(torch.zeros(5, 41, 6))
        >>> outputs.shape
        torch.Size([2, 5, 41, 6])
    """

    def __init__(self, groups: Sequence[tuple[Tensor, NetworkStack]]) -> None:
        ends = {(stack.architecture.input_size, stack.architecture.output_size) for _, stack in groups}
        if len(ends) != 1:
            raise FormatError(f"Networks of one stack have inputs and outputs {sorted(ends)}; expected one pair.")
        self._groups = list(groups)
        self.architecture = groups[0][1].architecture
        self.num_networks = sum(len(positions) for positions, _ in groups)
        self.weights = {"linear.bias": self._in_order([stack.weights["linear.bias"] for _, stack in groups])}
        self.native = all(stack.native for _, stack in groups)

    @property
    def groups(self) -> list[tuple[Tensor, NetworkStack]]:
        """Positions and stack of the networks of each architecture."""
        return self._groups

    def select(self, rows: Tensor) -> MixedStack:
        """Return the networks at some positions [N], in this order."""
        group_of, place = torch.empty(2, self.num_networks, dtype=torch.int64)
        for number, (positions, _) in enumerate(self._groups):
            group_of[positions], place[positions] = number, torch.arange(len(positions))
        chosen = []
        for number, (_, stack) in enumerate(self._groups):
            (wanted,) = torch.nonzero(group_of[rows] == number, as_tuple=True)
            if len(wanted):
                chosen.append((wanted, stack.select(place[rows[wanted]])))
        return MixedStack(chosen)

    def __call__(self, inputs: Tensor, state: Sequence[Any] | None = None) -> tuple[Tensor, Sequence[Any]]:
        """Run all networks; inputs and outputs as for `NetworkStack`, the state is a list with one per group.

        Raises FormatError if the inputs have another shape.
        """
        inputs = self._inputs_per_network(inputs)
        outputs, states = [], []
        for number, (positions, stack) in enumerate(self._groups):
            of_group, last = stack(inputs[positions], None if state is None else state[number])
            outputs.append(of_group)
            states.append(last)
        return self._in_order(outputs), states

    def _in_order(self, parts: Sequence[Tensor]) -> Tensor:
        """Return tensors of the groups, [N, ...] each, as one tensor in the order of all networks."""
        order = torch.argsort(torch.cat([positions for positions, _ in self._groups]))
        return torch.cat(list(parts))[order.to(parts[0].device)]
