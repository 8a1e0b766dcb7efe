"""All linear maps between weights of recurrent networks that commute with permutations of hidden units.

Gates, inputs and outputs are channels C: they are not permuted. The axes H are permuted, each layer by its own
permutation. The weights of L layers, as features:

    vectors   [M, C, H]      biases; first layer: also weight_ih; last layer: also the readout's weight
    squares   [M, C, H, H]   weight_hh: both axes by the same permutation
    pairs     [M, C, H, H']  weight_ih of the other layers: H of the layer itself, H' of the layer below
    scalars   [M, C]         the readout's bias

An equivariant linear map between two of these either keeps an entry (a square also its transpose), or it is a pooling
followed by a broadcast, through a vector over the units of a layer or through a scalar. For squares these are the 15
maps of Maron et al. (2019, "Invariant and Equivariant Graph Networks"), for pairs the 4 of Hartford et al. (2018, "Deep
Models of Interactions Across Sets"); together the layers of DWSNets (Navon et al., 2023).

They are the layers of universal neural functionals (Zhou et al., 2024, "Universal Neural Functionals"), too. These
construct, for any set of tensors whose axes are permuted by given groups, a basis of the equivariant maps between any
two of them: one map per valid partition of the axes of both. For the axes above that is the same space: for one channel
each, 15 maps from a square to itself, 5 between a square and the vector of its layer, 4 from a pair to itself, and so
on. So it needs no layer of its own; the tests count the orbits of pairs of weights to show that nothing is missing.
DWSNets derive the layers for feed-forward networks, whose weights have no squares. What else differs between the two
methods lies outside the layer: `dws` standardises weights, and reads an invariant pooling of the last layer by an MLP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.weights.matrix_features import MatrixMap, Means, map_relu_mean


@dataclass(frozen=True)
class WeightSpace:
    """Features of M networks of L layers: L vectors, L squares, L - 1 pairs, and scalars; shapes above."""

    vectors: list[Tensor]
    squares: list[Tensor]
    pairs: list[Tensor]
    scalars: Tensor

    def means(self) -> list[Means]:
        """Return the means of all squares, then of all pairs."""
        return [Means.of(t, diagonal=True) for t in self.squares] + [Means.of(t, diagonal=False) for t in self.pairs]


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


def pool(space: WeightSpace, means: Sequence[Means]) -> tuple[list[Tensor], Tensor]:
    """Return a vector [M, *, H] over the units of each layer, and scalars [M, *]: all equivariant means.

    Vector: the layer's vector; row mean, column mean and diagonal of its square; row mean of the pair with the layer
    below; column mean of the pair with the layer above. Scalars: the scalars; means of all vectors, squares, diagonals
    and pairs. `means` are those of the space.
    """
    of_squares, of_pairs = means[: len(space.squares)], means[len(space.squares) :]
    vectors, scalars = [], [space.scalars]
    for layer, (vector, square) in enumerate(zip(space.vectors, of_squares, strict=True)):
        assert square.diagonal is not None, "it is the mean of a square"
        parts = [vector, square.rows, square.columns, square.diagonal]
        if layer > 0:
            parts.append(of_pairs[layer - 1].rows)
        if layer < len(of_pairs):
            parts.append(of_pairs[layer].columns)
        vectors.append(torch.cat(parts, dim=1))
        scalars += [part.mean(dim=2) for part in (vector, square.rows, square.diagonal)]
    scalars += [pair.rows.mean(dim=2) for pair in of_pairs]
    return vectors, torch.cat(scalars, dim=-1)


class EquivariantLinear(nn.Module):
    """A linear map of weight spaces that commutes with permutations, with all biases that the symmetry allows.

    Attributes:
        square_entries: Per square, the map of entries and of transposed entries, [C', 2 C].
        pair_entries: Per pair, the map of entries, [C', C].
        from_units: Per layer, the map of the pooled vector over its units to: the vector; rows, columns and diagonal of
            the square; rows of the pair with the layer below; columns of the pair with the layer above.
        to_all: The map of pooled scalars to: vectors; per square, all entries and the diagonal; pairs; scalars. Its
            bias serves as the bias of all of these.
    """

    def __init__(self, layers: int, inputs: Channels, outputs: Channels) -> None:
        super().__init__()
        self.layers, self.outputs = layers, outputs

        def linear(size: int, channels: int) -> nn.Linear:
            return nn.Linear(size, channels, bias=False)

        self.square_entries = nn.ModuleList(map(linear, [2 * size for size in inputs.squares], outputs.squares))
        self.pair_entries = nn.ModuleList(map(linear, inputs.pairs, outputs.pairs))
        self.from_units = nn.ModuleList(
            linear(inputs.pooled_vectors(layer), sum(self._sizes_of(layer))) for layer in range(layers)
        )
        self.sizes = [*outputs.vectors, *[size for size in outputs.squares for _ in range(2)], *outputs.pairs]
        self.to_all = nn.Linear(inputs.pooled_scalars, sum(self.sizes) + outputs.scalars)

    def _sizes_of(self, layer: int) -> list[int]:
        """Return the channels of the results of `from_units` for a layer."""
        square, pairs = self.outputs.squares[layer], self.outputs.pairs
        below, above = pairs[layer - 1 : layer] if layer > 0 else [], pairs[layer : layer + 1]
        return [self.outputs.vectors[layer], square, square, square, *below, *above]

    def forward(self, space: WeightSpace) -> WeightSpace:
        """Return the mapped features."""
        vectors, squares, pairs, scalars = self._maps(space, space.means())
        mapped = [by(tensor) for by, tensor in zip(squares + pairs, space.squares + space.pairs, strict=True)]
        return WeightSpace(vectors, mapped[: self.layers], mapped[self.layers :], scalars)

    def with_relu(self, space: WeightSpace, means: Sequence[Means]) -> tuple[WeightSpace, list[Means]]:
        """Return ReLU(forward(space)) and its means; `means` are those of `space`. `forward` is the reference."""
        vectors, squares, pairs, scalars = self._maps(space, means)
        results = [
            map_relu_mean(tensor, by) for by, tensor in zip(squares + pairs, space.squares + space.pairs, strict=True)
        ]
        mapped = [matrices for matrices, _ in results]
        activated = WeightSpace(
            [vector.relu() for vector in vectors], mapped[: self.layers], mapped[self.layers :], scalars.relu()
        )
        return activated, [of_result for _, of_result in results]

    def _maps(
        self, space: WeightSpace, means: Sequence[Means]
    ) -> tuple[list[Tensor], list[MatrixMap], list[MatrixMap], Tensor]:
        """Return the mapped vectors, the maps of squares and of pairs, and the mapped scalars."""
        pooled, scalars = pool(space, means)
        *constants, scalars = self.to_all(scalars).split([*self.sizes, self.outputs.scalars], dim=-1)
        vectors, squares, rows_of_pairs, columns_of_pairs = [], [], [], []
        for layer, of_units in enumerate(pooled):
            vector, rows, columns, diagonal, *rest = self._from_units(layer, of_units, constants)
            straight, transposed = self._weight(self.square_entries, layer).chunk(2, dim=1)
            vectors.append(vector)
            squares.append(MatrixMap(straight, rows, columns, transposed, diagonal))
            rows_of_pairs += rest[:1] if layer > 0 else []
            columns_of_pairs += rest[-1:] if layer < self.layers - 1 else []
        pairs = [
            MatrixMap(self._weight(self.pair_entries, lower), rows, columns)
            for lower, (rows, columns) in enumerate(zip(rows_of_pairs, columns_of_pairs, strict=True))
        ]
        return vectors, squares, pairs, scalars

    def _from_units(self, layer: int, of_units: Tensor, constants: Sequence[Tensor]) -> list[Tensor]:
        """Return the results [M, *, H] of `from_units`; the constants of squares and pairs are added to their rows."""
        everywhere, on_diagonal = constants[self.layers + 2 * layer : self.layers + 2 * layer + 2]
        biases = [constants[layer], everywhere, torch.zeros_like(everywhere), on_diagonal]
        biases += [constants[3 * self.layers + layer - 1]] if layer > 0 else []
        biases += [torch.zeros_like(constants[3 * self.layers + layer])] if layer < self.layers - 1 else []
        results = self.from_units[layer](of_units.transpose(1, 2)) + torch.cat(biases, dim=-1).unsqueeze(1)
        return list(results.transpose(1, 2).contiguous().split(self._sizes_of(layer), dim=1))

    @staticmethod
    def _weight(linears: nn.ModuleList, number: int) -> Tensor:
        linear = linears[number]
        assert isinstance(linear, nn.Linear)
        return linear.weight
