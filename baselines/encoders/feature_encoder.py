"""Encoders that read fixed features of a network, and encoders that are fitted to stacks of training networks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Encoder, Weights
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack


class FeatureEncoder(Encoder):
    """An encoder that reads features of a network which training does not change.

    The features are computed once per network and kept, so that an update costs no more than the head: a subclass
    defines `features` and assigns `head`, a module from features [M, F] to embeddings [M, Z].

    Attributes:
        head: Maps features [M, F] to embeddings [M, Z].

    Args:
        architecture: Architecture of the networks.
        embedding_size: Z, the number of entries of an embedding.

    Example:
        An encoder that reads the norms of all weight tensors:

        >>> import torch
        >>> from rnn_zoos import open_zoo
        >>> from rnn_zoos.baselines import FeatureEncoder, embeddings_of
        >>> class NormEncoder(FeatureEncoder):
        ...     def __init__(self, architecture, embedding_size=16):
        ...         super().__init__(architecture, embedding_size)
        ...         self.head = torch.nn.Linear(len(architecture.parameter_shapes), embedding_size)
        ...
        ...     def features(self, weights, stack):
        ...         return torch.stack([tensor.flatten(1).norm(dim=1) for tensor in weights.values()], dim=1)
        >>> zoo = open_zoo("zoos/formal-languages")
        >>> stack = zoo.stack(zoo.index("train"))
        >>> embeddings = embeddings_of(NormEncoder(stack.architecture), stack.weights)
    """

    head: nn.Module

    @abstractmethod
    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return the features of M networks.

        Args:
            weights: Stacked weights, name -> [M, *shape].
            stack: The same networks, ready to run. None if `information` is "weights".

        Returns:
            Features [M, F]. They must not depend on trained parameters.

        Example:
            See the class.
        """

    def read(self, features: Tensor) -> Tensor:
        """Return the embeddings of M networks, of any length, from their features. The default applies `head`.

        Args:
            features: Features [M, F], as `features` returns them.

        Returns:
            Embeddings [M, Z].

        Example:
            >>> from rnn_zoos import open_zoo
            >>> from rnn_zoos.baselines import make_encoder
            >>> zoo = open_zoo("zoos/formal-languages")
            >>> stack = zoo.stack(zoo.index("train"))
            >>> encoder = make_encoder("statistics", stack.architecture)
            >>> embeddings = encoder.read(encoder.features(stack.weights, None))
        """
        embeddings: Tensor = self.head(features)
        return embeddings

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return the embeddings of M networks, of any length: `read(features(weights, stack))`.

        Args:
            weights: Stacked weights, name -> [M, *shape].
            stack: The same networks, ready to run; None if `information` is "weights".

        Returns:
            Embeddings [M, Z].
        """
        return self.read(self.features(weights, stack))


class FittedToNetworks(Encoder):
    """An encoder that is fitted to stacks of training networks, not to their weights: it defines `fit_networks`."""

    mixed = True

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Adapt to training networks of the encoder's architecture."""
        self.fit_networks(NetworkStack(self.architecture, weights), sequences)


def map_architectures(networks: NetworkStack, features: Callable[[Architecture, Weights], Tensor]) -> Tensor:
    """Return features [M, F] of networks of several architectures, computed for one after the other."""
    parts = [(positions, features(stack.architecture, stack.weights)) for positions, stack in networks.groups]
    order = torch.argsort(torch.cat([positions for positions, _ in parts]))
    return torch.cat([part for _, part in parts])[order.to(parts[0][1].device)]
