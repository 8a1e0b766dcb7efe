"""DWSNet for recurrent cells: equivariant layers over the weight space, then invariant pooling."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Encoder, Information, Weights, mlp
from rnn_zoos.baselines.encoders.equivariant import Channels, EquivariantLinear, WeightSpace, pool
from rnn_zoos.baselines.encoders.gates import StandardiseGates
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.stack import NetworkStack


class DWSEncoder(Encoder):
    """Permutation-equivariant layers with all linear maps that the symmetry allows (Navon et al., 2023, section 4)."""

    information: ClassVar[Information] = "weights"

    def __init__(
        self, architecture: Architecture, embedding_size: int = 16, channels: int = 32, layers: int = 3
    ) -> None:
        super().__init__(architecture, embedding_size)
        depth, inner = architecture.num_layers, Channels.equal(architecture.num_layers, channels)
        steps = [self.input_channels(architecture), *[inner] * layers]
        self.standardise = StandardiseGates(architecture)
        self.maps = nn.ModuleList(EquivariantLinear(depth, before, after) for before, after in pairwise(steps))
        self.head = mlp(inner.pooled_scalars, 4 * channels, 1, embedding_size)

    @staticmethod
    def input_channels(architecture: Architecture) -> Channels:
        """Return the channels of `as_space`."""
        gates, layers = GATES[architecture.cell], architecture.num_layers
        vectors = [2 * gates] * layers
        vectors[0] += gates * architecture.input_size
        vectors[-1] += architecture.output_size
        return Channels(vectors, [gates] * layers, [gates] * (layers - 1), architecture.output_size)

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Standardise by these networks."""
        self.standardise.fit(weights)

    def as_space(self, weights: Weights) -> WeightSpace:
        """Return standardised weights as features: gates, inputs and outputs are channels."""
        tensors = self.standardise(weights)
        vectors, squares, pairs = [], [], []
        for layer in range(self.architecture.num_layers):
            weight_ih, weight_hh, *biases = (tensors[name] for name in self.architecture.layer_shapes(layer))
            vectors.append(torch.stack([gate for bias in biases for gate in bias.unbind(1)], dim=-1))
            squares.append(weight_hh.permute(0, 2, 3, 1))
            if layer == 0:  # [M, G, H, I] -> [M, H, G I]
                vectors[0] = torch.cat([vectors[0], weight_ih.transpose(1, 2).flatten(2)], dim=-1)
            else:
                pairs.append(weight_ih.permute(0, 2, 3, 1))
        vectors[-1] = torch.cat([vectors[-1], tensors["linear.weight"][:, 0].transpose(1, 2)], dim=-1)
        return WeightSpace(vectors, squares, pairs, tensors["linear.bias"][:, 0])

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        space = self.as_space(weights)
        for linear in self.maps:
            space = linear(space).map(nn.ReLU())
        embeddings: Tensor = self.head(pool(space)[1])
        return embeddings
