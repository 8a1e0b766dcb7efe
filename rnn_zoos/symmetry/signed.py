"""Signed permutations of hidden units: the exact symmetries of LSTM, GRU and tanh RNN that act on a unit as a whole.

Units of a layer may change places, and each may change its sign: negate the rows of its candidate (for a tanh RNN its
only rows) and every column that reads it. The other gates' rows keep their sign. The function stays the same because
tanh is odd and states start at zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.weights import check_weights

CANDIDATE: Mapping[str, int] = MappingProxyType({"lstm": 2, "gru": 2, "rnn": 0})
"""Which of a cell's gates, in PyTorch's order, carries the sign of the state."""


@dataclass(frozen=True)
class SignedPermutation:
    """For each layer: unit k of the result is `signs[k]` times unit `order[k]` of what it is applied to.

    orders int64 and signs float, one tensor a layer, [H] for one network or [M, H] for M networks, each its own.
    """

    orders: tuple[Tensor, ...]
    signs: tuple[Tensor, ...]

    @classmethod
    def identity(cls, architecture: Architecture, *networks: int) -> SignedPermutation:
        """Return what changes nothing, for one network or (with M as `networks`) for M."""
        units = torch.arange(architecture.hidden_size).expand(*networks, -1)
        ones = torch.ones(*networks, architecture.hidden_size)
        return cls((units,) * architecture.num_layers, (ones,) * architecture.num_layers)

    @classmethod
    def sample(cls, architecture: Architecture, *networks: int, generator: torch.Generator) -> SignedPermutation:
        """Draw uniformly, for every network and layer anew."""
        shape, layers = (*networks, architecture.hidden_size), range(architecture.num_layers)
        orders = tuple(torch.rand(shape, generator=generator).argsort(dim=-1) for _ in layers)
        signs = tuple(2.0 * torch.randint(2, shape, generator=generator) - 1 for _ in layers)
        return cls(orders, signs)

    def to(self, device: str | torch.device) -> SignedPermutation:
        """Return the same on another device."""
        orders = tuple(order.to(device) for order in self.orders)
        return SignedPermutation(orders, tuple(sign.to(device) for sign in self.signs))

    def inverse(self) -> SignedPermutation:
        """Return what undoes this one."""
        orders = tuple(order.argsort(dim=-1) for order in self.orders)
        signs = tuple(sign.gather(-1, order) for sign, order in zip(self.signs, orders, strict=True))
        return SignedPermutation(orders, signs)

    def then(self, after: SignedPermutation) -> SignedPermutation:
        """Return the one that does what this one and then `after` do."""
        pairs = list(zip(self.orders, self.signs, after.orders, after.signs, strict=True))
        orders = tuple(order.gather(-1, later) for order, _, later, _ in pairs)
        signs = tuple(later_sign * sign.gather(-1, later) for _, sign, later, later_sign in pairs)
        return SignedPermutation(orders, signs)

    def apply(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the changed weights: named [*shape] or stacked [M, *shape], like the permutation. Gradients pass.

        Raises FormatError if weights and permutation are not of this architecture, or not of as many networks.
        """
        leading = check_weights(architecture, weights)
        expected = (*leading, architecture.hidden_size)
        if [tuple(order.shape) for order in self.orders] != [expected] * architecture.num_layers:
            found = [tuple(order.shape) for order in self.orders]
            raise FormatError(f"The permutation has the shapes {found}; expected {architecture.num_layers} {expected}.")
        changed = {}
        for layer in range(architecture.num_layers):
            for name, tensor in zip(
                architecture.layer_shapes(layer), self._layer(architecture, weights, layer), strict=True
            ):
                changed[name] = tensor
        changed["linear.weight"] = self.move_columns(weights["linear.weight"], architecture.num_layers - 1)
        changed["linear.bias"] = weights["linear.bias"]
        return changed

    def _layer(self, architecture: Architecture, weights: Mapping[str, Tensor], layer: int) -> Sequence[Tensor]:
        """Return weight_ih, weight_hh, bias_ih and bias_hh of a layer."""
        weight_ih, weight_hh, *biases = (weights[name] for name in architecture.layer_shapes(layer))
        if layer > 0:
            weight_ih = self.move_columns(weight_ih, layer - 1)
        weight_hh = self.move_columns(weight_hh, layer)
        matrices = [self.move_rows(architecture.cell, matrix, layer) for matrix in (weight_ih, weight_hh)]
        vectors = [self.move_rows(architecture.cell, bias.unsqueeze(-1), layer).squeeze(-1) for bias in biases]
        return [*matrices, *vectors]

    def move_columns(self, matrix: Tensor, layer: int) -> Tensor:
        """Move and sign the columns [..., R, H] that read a layer's units."""
        order, sign = (part[layer].to(matrix.device).unsqueeze(-2) for part in (self.orders, self.signs))
        return matrix.gather(-1, order.expand_as(matrix)) * sign

    def move_rows(self, cell: str, matrix: Tensor, layer: int) -> Tensor:
        """Move the rows [..., GH, C] that make a layer's units, and sign those of the candidate."""
        by_gate = matrix.unflatten(-2, (GATES[cell], -1))
        order, sign = (part[layer].to(matrix.device) for part in (self.orders, self.signs))
        moved = by_gate.gather(-2, order[..., None, :, None].expand_as(by_gate))
        signs = torch.ones(moved.shape[:-1], device=matrix.device)
        signs[..., CANDIDATE[cell], :] = sign
        rows: Tensor = (moved * signs.unsqueeze(-1)).flatten(-3, -2)
        return rows
