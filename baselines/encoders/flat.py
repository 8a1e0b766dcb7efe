"""Flattened weights: an MLP on the vector of all parameters."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rnn_zoos.baselines.encoders.encoder import Encoder, Weights, mlp
from rnn_zoos.baselines.encoders.gates import StandardiseGates
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack


class FlatEncoder(Encoder):
    """An MLP on standardised flattened weights, trained under random signed permutations."""

    augmented: ClassVar[bool] = True

    def __init__(
        self, architecture: Architecture, embedding_size: int = 16, hidden: int = 128, layers: int = 2
    ) -> None:
        super().__init__(architecture, embedding_size)
        self.standardise = StandardiseGates(architecture)
        self.head = mlp(architecture.num_parameters, hidden, layers, embedding_size)

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Standardise by these networks."""
        self.standardise.fit(weights)

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        flat = torch.cat([tensor.flatten(1) for tensor in self.standardise(weights).values()], dim=1)
        embeddings: Tensor = self.head(flat)
        return embeddings
