"""Encoders of canonical weights: the order and the signs of hidden units are fixed first, then the weights are read.

`rnn_zoos.symmetry.canonical_form` maps all signed permutations of a network to the same weights, so these encoders are
invariant to both and need no augmentation. The canonical weights of a network never change in training: they are
computed once, standardised and kept, 4 P bytes per network.

The canonical form is not continuous: where two units change places, so does what the encoder reads. Where two units
tie (sums of candidate weights of equal absolute value, or a sum of 0) the form depends on the order in which the units
were given, and the invariance ends; that takes weights that are equal bit for bit, as of networks that are all zeros.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Information, Weights
from rnn_zoos.baselines.encoders.feature_encoder import FeatureEncoder
from rnn_zoos.baselines.encoders.layers import StandardiseGates, mlp, split_gates
from rnn_zoos.baselines.encoders.weights.transformer import UnitTransformer
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import unflatten
from rnn_zoos.symmetry.canonical import canonical_form


class _Canonical(FeatureEncoder):
    """Keeps the canonical weights of each network, standardised per tensor and gate, as features [M, P]."""

    information: ClassVar[Information] = "weights"

    def __init__(self, architecture: Architecture, embedding_size: int, head: nn.Module) -> None:
        super().__init__(architecture, embedding_size)
        self.standardise = StandardiseGates(architecture)
        self.head = head

    @torch.no_grad()
    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Compute means and standard deviations of the training networks' canonical weights."""
        self.standardise.fit(canonical_form(self.architecture, weights)[0])

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return standardised canonical weights [M, P]."""
        return self.standardise.flat(canonical_form(self.architecture, weights)[0])


class CanonicalFlatEncoder(_Canonical):
    """`FlatEncoder` on canonical weights: an MLP, P -> 128 -> 128 -> Z by default."""

    def __init__(
        self, architecture: Architecture, embedding_size: int = 16, hidden: int = 128, layers: int = 2
    ) -> None:
        head = mlp(architecture.num_parameters, hidden, layers, embedding_size)
        super().__init__(architecture, embedding_size, head)


class CanonicalTransformerEncoder(_Canonical):
    """`TransformerEncoder` on canonical weights: position embeddings identify units by their canonical order.

    Args:
        architecture: Architecture of the networks.
        embedding_size: Z, the number of entries of an embedding.
        **sizes: As for `UnitTransformer`.
    """

    def __init__(self, architecture: Architecture, embedding_size: int = 16, **sizes: Any) -> None:  # noqa: ANN401
        super().__init__(architecture, embedding_size, UnitTransformer(architecture, embedding_size, **sizes))

    def read(self, features: Tensor) -> Tensor:
        """Return embeddings [M, Z] of features [M, P]."""
        embeddings: Tensor = self.head(split_gates(self.architecture, unflatten(self.architecture, features)))
        return embeddings
