"""How much an encoder's embedding changes when a network's function does not."""

from __future__ import annotations

import torch

from rnn_zoos.baselines.encoders.encoder import Encoder, Weights
from rnn_zoos.baselines.encoders.registry import embeddings_of
from rnn_zoos.errors import EncoderError
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.symmetry.biases import merge_biases
from rnn_zoos.symmetry.signed import SignedPermutation

SYMMETRIES = ("permutations", "signs", "biases")


@torch.no_grad()
def invariance_error(encoder: Encoder, weights: Weights, symmetry: str, generator: torch.Generator) -> float:
    """Return the largest distance between embeddings of M networks before and after a random symmetry of each.

    `symmetry` is permutations (of hidden units), signs (of hidden units) or biases (the two vectors of a layer merged).
    Embeddings have length 1: 0 is invariant, 2 the other side of the sphere. Raises EncoderError for another name.
    """
    architecture, networks = encoder.architecture, len(next(iter(weights.values())))
    drawn = SignedPermutation.sample(architecture, networks, generator=generator)
    same = SignedPermutation.identity(architecture, networks)
    if symmetry == "permutations":
        changed = SignedPermutation(drawn.orders, same.signs).apply(architecture, weights)
    elif symmetry == "signs":
        changed = SignedPermutation(same.orders, drawn.signs).apply(architecture, weights)
    elif symmetry == "biases":
        changed = merge_biases(architecture, weights)
    else:
        raise EncoderError(f"There is no symmetry {symmetry!r}; known: {', '.join(SYMMETRIES)}.")
    before, after = (embeddings_of(encoder, each, NetworkStack(architecture, each)) for each in (weights, changed))
    return float((before - after).norm(dim=-1).max())
