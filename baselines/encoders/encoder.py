"""What an encoder is: a module that maps the weights of M networks to M embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn

from rnn_zoos.errors import EncoderError
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack

Weights: TypeAlias = Mapping[str, Tensor]
"""name -> [M, *shape], as shards hold them."""

Information: TypeAlias = Literal["weights", "queries", "data"]
"""What an encoder may use: weights alone, also answers of the networks, also the data that they were trained on."""


class Encoder(nn.Module, ABC):
    """Maps weights of M networks of one architecture to embeddings [M, Z] of length 1.

    `information` is what it uses beside the weights; unless that is "weights", it is called with a stack of the same
    networks, too. `augmented` asks for a new random signed permutation of every network in every training step. A row
    of the result depends on its network alone.
    """

    information: ClassVar[Information] = "weights"
    augmented: ClassVar[bool] = False

    def __init__(self, architecture: Architecture, embedding_size: int = 16) -> None:
        super().__init__()
        self.architecture = architecture
        self.embedding_size = embedding_size

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Look at the networks that training will see, once, before it: for standardising inputs, say.

        `sequences` [N, T, I] are inputs that these networks have read; None unless `information` is "data".
        """

    @abstractmethod
    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z] of any length."""

    def forward(self, weights: Weights, stack: NetworkStack | None = None) -> Tensor:
        """Return embeddings [M, Z] of length 1. Raises EncoderError if it queries and was given no stack."""
        if self.information != "weights" and stack is None:
            raise EncoderError(f"{type(self).__name__} asks the networks: call it with a stack of them, too.")
        return unit_length(self.embed(weights, stack))

    @property
    def num_queries(self) -> int:
        """Steps that it runs a network for, to embed it."""
        return 0


class FeatureEncoder(Encoder):
    """An MLP on features of a network that training does not change: they are computed once, and kept."""

    head: nn.Module

    @abstractmethod
    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return what is read of M networks: [M, F], without gradients to anything that is trained."""

    def read(self, features: Tensor) -> Tensor:
        """Return embeddings [M, Z] of any length, of features [M, F]."""
        embeddings: Tensor = self.head(features)
        return embeddings

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z] of any length."""
        return self.read(self.features(weights, stack))


def unit_length(embeddings: Tensor) -> Tensor:
    """Scale vectors [..., Z] to length 1; one that is nearly zero stays short, with finite gradients."""
    lengths: Tensor = embeddings.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    return embeddings / lengths


def mlp(inputs: int, hidden: int, layers: int, outputs: int) -> nn.Sequential:
    """Return `layers` hidden layers with ReLU, then a linear one."""
    sizes = [inputs, *[hidden] * layers]
    blocks = [block for size in range(layers) for block in (nn.Linear(sizes[size], sizes[size + 1]), nn.ReLU())]
    return nn.Sequential(*blocks, nn.Linear(sizes[-1], outputs))


class Standardise(nn.Module):
    """Subtracts the mean and divides by the standard deviation that features [N, F] of training rows had.

    Constant features become 0. Before `fit` it changes nothing.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def fit(self, features: Tensor) -> None:
        """Take mean and standard deviation of features [N, F]."""
        deviation = features.std(dim=0, correction=0)
        self.mean.copy_(features.mean(dim=0))
        self.scale.copy_(torch.where(deviation > 0, 1 / deviation, torch.zeros_like(deviation)))

    def forward(self, features: Tensor) -> Tensor:
        """Return features [..., F], standardised."""
        return (features - self.mean) * self.scale
