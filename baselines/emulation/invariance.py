"""Invariance: how much an embedding changes when a symmetry changes the weights but not the network's function."""

from __future__ import annotations

import torch

from rnn_zoos.baselines.encoders.encoder import Encoder, embeddings_of
from rnn_zoos.errors import EncoderError
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.symmetry.biases import merge_biases
from rnn_zoos.symmetry.signed import SignedPermutation

SYMMETRIES = ("permutations", "signs", "biases")
"""Random orders of hidden units; random signs of hidden units; merging the two bias vectors of each layer."""


@torch.no_grad()
def invariance_error(encoder: Encoder, networks: NetworkStack, symmetry: str, generator: torch.Generator) -> float:
    """Return the largest distance between the embeddings of M networks before and after a symmetry is applied.

    Embeddings have length 1, so it is between 0 (invariant) and 2. Raises EncoderError for an unknown symmetry.

    Args:
        encoder: The encoder.
        networks: The networks, of one architecture.
        symmetry: One of `SYMMETRIES`.
        generator: Source of the random orders and signs, drawn per network.
    """
    architecture, weights = networks.architecture, networks.weights
    drawn = SignedPermutation.sample(architecture, networks.num_networks, generator=generator)
    identity = SignedPermutation.identity(architecture, networks.num_networks)
    if symmetry == "permutations":
        changed = SignedPermutation(drawn.orders, identity.signs).apply(architecture, weights)
    elif symmetry == "signs":
        changed = SignedPermutation(identity.orders, drawn.signs).apply(architecture, weights)
    elif symmetry == "biases":
        changed = merge_biases(architecture, weights)
    else:
        raise EncoderError(f"Unknown symmetry {symmetry!r}; known: {', '.join(SYMMETRIES)}.")
    before, after = (embeddings_of(encoder, each, NetworkStack(architecture, each)) for each in (weights, changed))
    return float((before - after).norm(dim=-1).max())
