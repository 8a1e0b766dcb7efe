"""All linear maps between weights of recurrent networks that commute with permutations of hidden units.

Gates, inputs and outputs are channels C: they are not permuted. The axes H are permuted, each layer by its own
permutation. The weights of L layers, as features:

    vectors   [M, H, C]      biases; first layer: also weight_ih; last layer: also the readout's weight
    squares   [M, H, H, C]   weight_hh: both axes by the same permutation
    pairs     [M, H, H', C]  weight_ih of the other layers: H of the layer itself, H' of the layer below
    scalars   [M, C]         the readout's bias

An equivariant linear map between two of these either keeps an entry (a square also its transpose), or it is a pooling
followed by a broadcast, through a vector over the units of a layer or through a scalar. For squares these are the 15
maps of Maron et al. (2019, "Invariant and Equivariant Graph Networks"), for pairs the 4 of Hartford et al. (2018, "Deep
Models of Interactions Across Sets"); together the layers of DWSNets (Navon et al., 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class WeightSpace:
    """Features of M networks of L layers: L vectors, L squares, L - 1 pairs, and scalars; shapes above."""

    vectors: list[Tensor]
    squares: list[Tensor]
    pairs: list[Tensor]
    scalars: Tensor

    def map(self, function: nn.Module) -> WeightSpace:
        """Apply an elementwise function to all features."""
        vectors, squares, pairs = ([function(t) for t in part] for part in (self.vectors, self.squares, self.pairs))
        return WeightSpace(vectors, squares, pairs, function(self.scalars))


@dataclass(frozen=True)
class Channels:
    """Numbers of channels C of a `WeightSpace`, one per tensor, in its order."""

    vectors: Sequence[int]
    squares: Sequence[int]
    pairs: Sequence[int]
    scalars: int

    @classmethod
    def equal(cls, layers: int, channels: int) -> Channels:
        """Return the same number of channels for all tensors."""
        return cls([channels] * layers, [channels] * layers, [channels] * (layers - 1), channels)

    def pooled_vectors(self, layer: int) -> int:
        """Return the channels of the vector over a layer's units that `pool` returns."""
        below = self.pairs[layer - 1] if layer > 0 else 0
        above = self.pairs[layer] if layer < len(self.pairs) else 0
        return self.vectors[layer] + 3 * self.squares[layer] + below + above

    @property
    def pooled_scalars(self) -> int:
        """Channels of the scalars that `pool` returns."""
        return self.scalars + sum(self.vectors) + 2 * sum(self.squares) + sum(self.pairs)


def pool(space: WeightSpace) -> tuple[list[Tensor], Tensor]:
    """Return a vector [M, H, *] over the units of each layer, and scalars [M, *]: all equivariant means.

    Vector: the layer's vector; row mean, column mean and diagonal of its square; row mean of the pair with the layer
    below; column mean of the pair with the layer above. Scalars: the scalars; means of all vectors, squares, diagonals
    and pairs.
    """
    vectors, scalars = [], [space.scalars]
    for layer, (vector, square) in enumerate(zip(space.vectors, space.squares, strict=True)):
        diagonal = square.diagonal(dim1=1, dim2=2).transpose(1, 2)
        parts = [vector, square.mean(dim=2), square.mean(dim=1), diagonal]
        if layer > 0:
            parts.append(space.pairs[layer - 1].mean(dim=2))
        if layer < len(space.pairs):
            parts.append(space.pairs[layer].mean(dim=1))
        vectors.append(torch.cat(parts, dim=-1))
        scalars += [vector.mean(dim=1), square.mean(dim=(1, 2)), diagonal.mean(dim=1)]
    scalars += [pair.mean(dim=(1, 2)) for pair in space.pairs]
    return vectors, torch.cat(scalars, dim=-1)


class EquivariantLinear(nn.Module):
    """A linear map of weight spaces that commutes with permutations, with all biases that the symmetry allows."""

    def __init__(self, layers: int, inputs: Channels, outputs: Channels) -> None:
        super().__init__()
        pooled = [inputs.pooled_vectors(layer) for layer in range(layers)]

        def linear(size: int, channels: int) -> nn.Linear:
            return nn.Linear(size, channels, bias=False)

        self.to_vectors = nn.ModuleList(map(linear, pooled, outputs.vectors))
        # A vector is broadcast into a square in three ways: along rows, along columns, onto the diagonal. A scalar in
        # two: to all entries, onto the diagonal.
        self.square_entries = nn.ModuleList(map(linear, [2 * size for size in inputs.squares], outputs.squares))
        self.vector_to_square = nn.ModuleList(map(linear, pooled, [3 * size for size in outputs.squares]))
        self.pair_entries = nn.ModuleList(map(linear, inputs.pairs, outputs.pairs))
        self.vector_to_rows = nn.ModuleList(map(linear, pooled[1:], outputs.pairs))
        self.vector_to_columns = nn.ModuleList(map(linear, pooled[:-1], outputs.pairs))
        self.sizes = [*outputs.vectors, *[size for size in outputs.squares for _ in range(2)], *outputs.pairs]
        # From the scalars to everything; its bias serves as the bias of all outputs.
        self.to_all = nn.Linear(inputs.pooled_scalars, sum(self.sizes) + outputs.scalars)

    def forward(self, space: WeightSpace) -> WeightSpace:
        """Return the mapped features."""
        pooled, scalars = pool(space)
        layers, num_scalars = len(pooled), self.to_all.out_features - sum(self.sizes)
        *constants, scalars = self.to_all(scalars).split([*self.sizes, num_scalars], -1)
        vectors = [
            linear(vector) + constant[:, None]
            for linear, vector, constant in zip(self.to_vectors, pooled, constants[:layers], strict=True)
        ]
        of_squares = constants[layers : 3 * layers]
        squares = [self._square(layer, space, pooled[layer], *of_squares[2 * layer :][:2]) for layer in range(layers)]
        pairs = [
            self.pair_entries[lower](pair)
            + self.vector_to_rows[lower](pooled[lower + 1])[:, :, None]
            + self.vector_to_columns[lower](pooled[lower])[:, None]
            + constant[:, None, None]
            for lower, (pair, constant) in enumerate(zip(space.pairs, constants[3 * layers :], strict=True))
        ]
        return WeightSpace(vectors, squares, pairs, scalars)

    def _square(self, layer: int, space: WeightSpace, pooled: Tensor, constant: Tensor, on_diagonal: Tensor) -> Tensor:
        """Return the square of a layer [M, H, H, C], from its square, the pooled vector [M, H, *] and two constants."""
        square = space.squares[layer]
        both = torch.cat([square, square.transpose(1, 2)], dim=-1)
        rows, columns, diagonal = self.vector_to_square[layer](pooled).chunk(3, dim=-1)
        entries: Tensor = (
            self.square_entries[layer](both) + rows[:, :, None] + columns[:, None] + constant[:, None, None]
        )
        return entries + torch.diag_embed((diagonal + on_diagonal[:, None]).transpose(1, 2)).permute(0, 2, 3, 1)
