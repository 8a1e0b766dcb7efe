"""Signed permutations of hidden units, which are exact symmetries of LSTM, GRU and tanh RNN.

The units of a layer can be reordered, and the state of each unit can be negated: that negates the matrix rows of its
candidate (for a tanh RNN, its only ones) and all matrix columns that read the unit. The matrix rows of the other gates
keep their signs. The function stays the same because tanh is odd and states start at zero.
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
"""Index of the gate, in PyTorch's order, that carries the sign of the state."""


@dataclass(frozen=True)
class SignedPermutation:
    """A signed permutation of the units of every layer, for one network or for each of M networks.

    In each layer, unit k of the result is `signs[k]` times unit `order[k]` of the original.

    Attributes:
        orders: Per layer, a permutation of 0..H-1, int64 [H] or [M, H].
        signs: Per layer, +1 or -1 for every unit of the result, float [H] or [M, H].

    Example:
        >>> import torch
        >>> from rnn_zoos import Architecture, RecurrentNetwork
        >>> from rnn_zoos.symmetry import SignedPermutation
        >>> architecture = Architecture("lstm", 2, input_size=6, hidden_size=32, output_size=6)
        >>> permutation = SignedPermutation.sample(architecture, generator=torch.Generator().manual_seed(0))
        >>> weights = permutation.apply(architecture, RecurrentNetwork(architecture).weights())
    """

    orders: tuple[Tensor, ...]
    signs: tuple[Tensor, ...]

    @classmethod
    def identity(cls, architecture: Architecture, *networks: int) -> SignedPermutation:
        """Return the permutation that changes nothing.

        Args:
            architecture: Architecture of the networks.
            networks: M, for a permutation of M networks; nothing for one network.

        Returns:
            The identity.

        Example:
            >>> from rnn_zoos import Architecture
            >>> from rnn_zoos.symmetry import SignedPermutation
            >>> identity = SignedPermutation.identity(Architecture("lstm", 2, 6, 32, 6))
        """
        units = torch.arange(architecture.hidden_size).expand(*networks, -1)
        ones = torch.ones(*networks, architecture.hidden_size)
        return cls((units,) * architecture.num_layers, (ones,) * architecture.num_layers)

    @classmethod
    def sample(cls, architecture: Architecture, *networks: int, generator: torch.Generator) -> SignedPermutation:
        """Draw a permutation uniformly, independently for every network and layer.

        Args:
            architecture: Architecture of the networks.
            networks: M, for a permutation of each of M networks; nothing for one network.
            generator: Source of the random numbers.

        Returns:
            The permutation.

        Example:
            >>> import torch
            >>> from rnn_zoos import Architecture
            >>> from rnn_zoos.symmetry import SignedPermutation
            >>> generator = torch.Generator().manual_seed(0)
            >>> permutation = SignedPermutation.sample(Architecture("lstm", 2, 6, 32, 6), 10, generator=generator)
            >>> permutation.orders[0].shape
            torch.Size([10, 32])
        """
        shape, layers = (*networks, architecture.hidden_size), range(architecture.num_layers)
        orders = tuple(torch.rand(shape, generator=generator).argsort(dim=-1) for _ in layers)
        signs = tuple(2.0 * torch.randint(2, shape, generator=generator) - 1 for _ in layers)
        return cls(orders, signs)

    def to(self, device: str | torch.device) -> SignedPermutation:
        """Copy the permutation to a device.

        Args:
            device: A torch device.

        Returns:
            The same permutation on this device.

        Example:
            >>> from rnn_zoos import Architecture
            >>> from rnn_zoos.symmetry import SignedPermutation
            >>> identity = SignedPermutation.identity(Architecture("lstm", 2, 6, 32, 6)).to("cpu")
        """
        orders = tuple(order.to(device) for order in self.orders)
        return SignedPermutation(orders, tuple(sign.to(device) for sign in self.signs))

    def inverse(self) -> SignedPermutation:
        """Return the inverse permutation.

        Returns:
            The permutation that undoes this one.

        Example:
            >>> import torch
            >>> from rnn_zoos import Architecture
            >>> from rnn_zoos.symmetry import SignedPermutation
            >>> generator = torch.Generator().manual_seed(0)
            >>> permutation = SignedPermutation.sample(Architecture("rnn", 1, 6, 32, 6), generator=generator)
            >>> unchanged = permutation.then(permutation.inverse())
        """
        orders = tuple(order.argsort(dim=-1) for order in self.orders)
        signs = tuple(sign.gather(-1, order) for sign, order in zip(self.signs, orders, strict=True))
        return SignedPermutation(orders, signs)

    def then(self, after: SignedPermutation) -> SignedPermutation:
        """Compose two permutations.

        Args:
            after: The permutation to apply after this one.

        Returns:
            The permutation that has the effect of this one followed by `after`.

        Example:
            >>> from rnn_zoos import Architecture
            >>> from rnn_zoos.symmetry import SignedPermutation
            >>> identity = SignedPermutation.identity(Architecture("rnn", 1, 6, 32, 6))
            >>> both = identity.then(identity)
        """
        pairs = list(zip(self.orders, self.signs, after.orders, after.signs, strict=True))
        orders = tuple(order.gather(-1, later) for order, _, later, _ in pairs)
        signs = tuple(later_sign * sign.gather(-1, later) for _, sign, later, later_sign in pairs)
        return SignedPermutation(orders, signs)

    def apply(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the permuted weights. Gradients flow through.

        Args:
            architecture: Architecture of the networks.
            weights: Named weights [*shape] for a permutation of one network, stacked weights [M, *shape] for one of M.

        Returns:
            The weights of networks with the same functions.

        Raises:
            FormatError: The weights or the permutation do not fit the architecture, or they differ in the number of
                networks.

        Example:
            >>> from rnn_zoos import Architecture, RecurrentNetwork
            >>> from rnn_zoos.symmetry import SignedPermutation
            >>> architecture = Architecture("rnn", 1, 6, 32, 6)
            >>> weights = RecurrentNetwork(architecture).weights()
            >>> same = SignedPermutation.identity(architecture).apply(architecture, weights)
        """
        leading = check_weights(architecture, weights)
        expected = (*leading, architecture.hidden_size)
        if [tuple(order.shape) for order in self.orders] != [expected] * architecture.num_layers:
            found = [tuple(order.shape) for order in self.orders]
            raise FormatError(
                f"The permutation has the shapes {found}; expected {architecture.num_layers} times {expected}."
            )
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
        """Return the permuted weight_ih, weight_hh, bias_ih and bias_hh of a layer."""
        weight_ih, weight_hh, *biases = (weights[name] for name in architecture.layer_shapes(layer))
        if layer > 0:
            weight_ih = self.move_columns(weight_ih, layer - 1)
        weight_hh = self.move_columns(weight_hh, layer)
        matrices = [self.move_rows(architecture.cell, matrix, layer) for matrix in (weight_ih, weight_hh)]
        vectors = [self.move_rows(architecture.cell, bias.unsqueeze(-1), layer).squeeze(-1) for bias in biases]
        return [*matrices, *vectors]

    def move_columns(self, matrix: Tensor, layer: int) -> Tensor:
        """Permute and sign the columns of a matrix that reads the units of a layer.

        Args:
            matrix: [..., R, H], with a column per unit.
            layer: Number of the layer.

        Returns:
            The permuted matrix.

        Example:
            >>> import torch
            >>> from rnn_zoos import Architecture
            >>> from rnn_zoos.symmetry import SignedPermutation
            >>> identity = SignedPermutation.identity(Architecture("rnn", 1, 6, 32, 6))
            >>> readout = identity.move_columns(torch.zeros(6, 32), layer=0)
        """
        order, sign = (part[layer].to(matrix.device).unsqueeze(-2) for part in (self.orders, self.signs))
        return matrix.gather(-1, order.expand_as(matrix)).mul_(sign)

    def move_rows(self, cell: str, matrix: Tensor, layer: int) -> Tensor:
        """Permute the rows of a matrix that produces the units of a layer, and sign those of the candidate.

        Args:
            cell: Cell of the networks.
            matrix: [..., GH, C], with a row per gate and unit.
            layer: Number of the layer.

        Returns:
            The permuted matrix.

        Example:
            >>> import torch
            >>> from rnn_zoos import Architecture
            >>> from rnn_zoos.symmetry import SignedPermutation
            >>> identity = SignedPermutation.identity(Architecture("lstm", 1, 6, 32, 6))
            >>> weight_ih = identity.move_rows("lstm", torch.zeros(128, 6), layer=0)
        """
        order, sign = (part[layer].to(matrix.device) for part in (self.orders, self.signs))
        rows = _select_rows(matrix, order, GATES[cell])
        rows.unflatten(-2, (GATES[cell], -1))[..., CANDIDATE[cell], :, :].mul_(sign.unsqueeze(-1))
        return rows


def _select_rows(matrix: Tensor, order: Tensor, gates: int) -> Tensor:
    """Return the rows of a matrix [..., GH, C] in the order [..., H] of units, for each gate.

    Whole rows are copied, at a tenth of the time that `gather` takes to copy their entries.
    """
    rows, columns = matrix.shape[-2:]
    size = order.shape[-1]
    networks = order.numel() // size
    first = torch.arange(networks * gates, device=order.device).mul_(size).view(networks, gates, 1)
    places = (order.reshape(networks, 1, size) + first).flatten()
    return matrix.reshape(-1, columns).index_select(0, places).view(*matrix.shape[:-2], rows, columns)
