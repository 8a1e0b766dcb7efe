"""DWSNet for recurrent networks: equivariant linear layers over the weight space, then invariant pooling.

Navon et al. (2023, "Equivariant Architectures for Learning in Deep Weight Spaces", section 4), with the symmetry group
of recurrent layers instead of that of an MLP. With these layers it is also an invariant universal neural functional
(Zhou et al., 2024) of the weights; see `equivariant`:

    s_0 = standardised weights as a `WeightSpace`; gates, inputs and outputs are channels
    s_k = ReLU(EquivariantLinear(s_{k-1}))            3 layers of 32 channels by default
    embedding = MLP(invariant means of s_3)           one hidden layer of 4 x 32
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Encoder, Information, Weights
from rnn_zoos.baselines.encoders.layers import StandardiseGates, mlp
from rnn_zoos.baselines.encoders.weights.equivariant import Channels, EquivariantLinear, WeightSpace, pool
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.stack import NetworkStack


class DWSEncoder(Encoder):
    """Equivariant layers that contain all linear maps which commute with permutations of hidden units.

    Its embeddings do not depend on the order of hidden units; they do depend on their signs.
    """

    information: ClassVar[Information] = "weights"

    def __init__(
        self, architecture: Architecture, embedding_size: int = 16, channels: int = 32, layers: int = 3
    ) -> None:
        super().__init__(architecture, embedding_size)
        depth, inner = architecture.num_layers, Channels.equal(architecture.num_layers, channels)
        widths = [self.input_channels(architecture), *[inner] * layers]
        self.standardise = StandardiseGates(architecture)
        self.maps = nn.ModuleList(EquivariantLinear(depth, before, after) for before, after in pairwise(widths))
        self.head = mlp(inner.pooled_scalars, 4 * channels, 1, embedding_size)

    @staticmethod
    def input_channels(architecture: Architecture) -> Channels:
        """Return the numbers of channels of `as_space`."""
        gates, layers = GATES[architecture.cell], architecture.num_layers
        vectors = [2 * gates] * layers
        vectors[0] += gates * architecture.input_size
        vectors[-1] += architecture.output_size
        return Channels(vectors, [gates] * layers, [gates] * (layers - 1), architecture.output_size)

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Compute means and standard deviations of the training networks' weights."""
        self.standardise.fit(weights)

    def as_space(self, weights: Weights) -> WeightSpace:
        """Return standardised weights as features of units, pairs of units, and whole networks."""
        tensors = self.standardise(weights)
        vectors, squares, pairs = [], [], []
        for layer in range(self.architecture.num_layers):
            weight_ih, weight_hh, *biases = (tensors[name] for name in self.architecture.layer_shapes(layer))
            vectors.append(biases)  # two of [M, G, H]
            squares.append(weight_hh)
            if layer == 0:  # [M, G, H, I] -> [M, G I, H]
                vectors[0].append(weight_ih.transpose(2, 3).flatten(1, 2))
            else:
                pairs.append(weight_ih)
        vectors[-1].append(tensors["linear.weight"][:, 0])  # [M, O, H]
        joined = [torch.cat(parts, dim=1) for parts in vectors]
        return WeightSpace(joined, squares, pairs, tensors["linear.bias"][:, 0])

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        space = self.as_space(weights)
        means = space.means()
        for linear in self.maps:
            assert isinstance(linear, EquivariantLinear)
            space, means = linear.with_relu(space, means)
        _, scalars = pool(space, means)
        embeddings: Tensor = self.head(scalars)
        return embeddings
