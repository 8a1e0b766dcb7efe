"""MLP on flattened weights: the baseline that ignores the structure of the weights.

x = all P parameters, standardised per tensor and gate; embedding = MLP(x), P -> 128 -> 128 -> Z by default.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from rnn_zoos.baselines.encoders.encoder import Encoder, Weights
from rnn_zoos.baselines.encoders.layers import StandardiseGates, mlp
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack


class FlatEncoder(Encoder):
    """An MLP on standardised flattened weights.

    It is not invariant to the order of hidden units, so it is trained with random signed permutations of them.
    """

    augmented: ClassVar[bool] = True

    def __init__(
        self, architecture: Architecture, embedding_size: int = 16, hidden: int = 128, layers: int = 2
    ) -> None:
        super().__init__(architecture, embedding_size)
        self.standardise = StandardiseGates(architecture)
        self.head = mlp(architecture.num_parameters, hidden, layers, embedding_size)

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Compute means and standard deviations of the training networks' weights."""
        self.standardise.fit(weights)

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        embeddings: Tensor = self.head(self.standardise.flat(weights))
        return embeddings
