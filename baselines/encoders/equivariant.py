"""All linear maps between recurrent weights that commute with permutations of hidden units.

Gates, inputs and outputs are not permuted: they are channels. What is permuted, layer by layer:

vectors   [M, H, C]     biases; for the first layer also weight_ih, for the last also the readout
squares   [M, H, H, C]  weight_hh: both axes by the same permutation
pairs     [M, H, H', C] weight_ih of layers after the first: rows by their layer's, columns by the layer's below
scalars   [M, C]        the readout's bias

A map between two of these spaces either keeps the entry (squares also its transpose), or goes through what survives
pooling: a vector over a layer's units that both know, or a scalar. For a square that is the basis of 15 maps of Maron
et al. (2019), for pairs the 4 of Hartford et al. (2018); together the layers of DWSNets (Navon et al., 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class WeightSpace:
    """Features of M networks of L layers: vectors and squares one a layer, pairs one a layer after the first."""

    vectors: list[Tensor]
    squares: list[Tensor]
    pairs: list[Tensor]
    scalars: Tensor

    def map(self, function: nn.Module) -> WeightSpace:
        """Apply a function of single entries to all of them."""
        vectors, squares, pairs = ([function(t) for t in part] for part in (self.vectors, self.squares, self.pairs))
        return WeightSpace(vectors, squares, pairs, function(self.scalars))


@dataclass(frozen=True)
class Channels:
    """Numbers of channels of a weight space, in its order."""

    vectors: Sequence[int]
    squares: Sequence[int]
    pairs: Sequence[int]
    scalars: int

    @classmethod
    def equal(cls, layers: int, channels: int) -> Channels:
        """Return the same number everywhere."""
        return cls([channels] * layers, [channels] * layers, [channels] * (layers - 1), channels)

    def pooled_vectors(self, layer: int) -> int:
        """Channels of all that is known of a layer's units: see `pool`."""
        below = self.pairs[layer - 1] if layer > 0 else 0
        above = self.pairs[layer] if layer < len(self.pairs) else 0
        return self.vectors[layer] + 3 * self.squares[layer] + below + above

    @property
    def pooled_scalars(self) -> int:
        """Channels of all that is known of a network without naming a unit."""
        return self.scalars + sum(self.vectors) + 2 * sum(self.squares) + sum(self.pairs)


def pool(space: WeightSpace) -> tuple[list[Tensor], Tensor]:
    """Return vectors [M, H, *] over each layer's units, and scalars [M, *]: all that pooling leaves, as means."""
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
    """A linear map of weight spaces that commutes with permutations, with a bias wherever one may be."""

    def __init__(self, layers: int, inputs: Channels, outputs: Channels) -> None:
        super().__init__()
        known, scalars = [inputs.pooled_vectors(layer) for layer in range(layers)], inputs.pooled_scalars

        def linear(size: int, channels: int) -> nn.Linear:
            return nn.Linear(size, channels, bias=False)

        self.to_vectors = nn.ModuleList(map(linear, known, outputs.vectors))
        # Three places in a square that a vector can go to: rows, columns, diagonal; two for a scalar.
        self.square_entries = nn.ModuleList(map(linear, [2 * size for size in inputs.squares], outputs.squares))
        self.vector_to_square = nn.ModuleList(map(linear, known, [3 * size for size in outputs.squares]))
        self.pair_entries = nn.ModuleList(map(linear, inputs.pairs, outputs.pairs))
        self.vector_to_rows = nn.ModuleList(map(linear, known[1:], outputs.pairs))
        self.vector_to_columns = nn.ModuleList(map(linear, known[:-1], outputs.pairs))
        self.sizes = [*outputs.vectors, *[size for size in outputs.squares for _ in range(2)], *outputs.pairs]
        self.to_all = nn.Linear(scalars, sum(self.sizes) + outputs.scalars)  # its bias is the bias of all places

    def forward(self, space: WeightSpace) -> WeightSpace:
        """Map features to features."""
        known, scalars = pool(space)
        count, to_scalars = len(known), self.to_all.out_features - sum(self.sizes)
        *everywhere, scalars = self.to_all(scalars).split([*self.sizes, to_scalars], -1)
        of_vectors, of_squares, of_pairs = everywhere[:count], everywhere[count : 3 * count], everywhere[3 * count :]
        vectors = [
            linear(vector) + scalar[:, None]
            for linear, vector, scalar in zip(self.to_vectors, known, of_vectors, strict=True)
        ]
        squares = [self._square(layer, space, known[layer], *of_squares[2 * layer :][:2]) for layer in range(count)]
        pairs = [
            self.pair_entries[lower](pair)
            + self.vector_to_rows[lower](known[lower + 1])[:, :, None]
            + self.vector_to_columns[lower](known[lower])[:, None]
            + scalar[:, None, None]
            for lower, (pair, scalar) in enumerate(zip(space.pairs, of_pairs, strict=True))
        ]
        return WeightSpace(vectors, squares, pairs, scalars)

    def _square(self, layer: int, space: WeightSpace, known: Tensor, everywhere: Tensor, on_diagonal: Tensor) -> Tensor:
        """Return the features of a layer's square: 15 maps from itself, 5 from each other vector, 2 a scalar."""
        square = space.squares[layer]
        both = torch.cat([square, square.transpose(1, 2)], dim=-1)
        rows, columns, diagonal = self.vector_to_square[layer](known).chunk(3, dim=-1)
        entries: Tensor = (
            self.square_entries[layer](both) + rows[:, :, None] + columns[:, None] + everywhere[:, None, None]
        )
        return entries + torch.diag_embed((diagonal + on_diagonal[:, None]).transpose(1, 2)).permute(0, 2, 3, 1)
