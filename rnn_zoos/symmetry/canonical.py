"""One representative of every class of networks that signed permutations make equal."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.weights import check_weights
from rnn_zoos.symmetry.signed import CANDIDATE, SignedPermutation


def canonical_form(
    architecture: Architecture, weights: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], SignedPermutation]:
    """Return the canonical weights, and the signed permutation that makes them of the given ones.

    Layer by layer from the input: a unit gets the sign that makes the sum of its candidate's row of weight_ih positive,
    and units are sorted by that sum, the largest first. Equal bit for bit for all signed permutations of a network,
    named [*shape] or stacked [M, *shape]; not continuous, and not defined where two sums are equal or one is zero.
    """
    leading = check_weights(architecture, weights)
    chosen = SignedPermutation.identity(architecture, *leading)
    for layer in range(architecture.num_layers):
        weight_ih = chosen.apply(architecture, weights)[f"{architecture.cell}.weight_ih_l{layer}"]
        rows = weight_ih.unflatten(-2, (GATES[architecture.cell], -1))[..., CANDIDATE[architecture.cell], :, :]
        sums = rows.sum(dim=-1)
        order = sums.abs().argsort(dim=-1, descending=True, stable=True)
        signs = torch.where(sums < 0, -1.0, 1.0).gather(-1, order)
        chosen = SignedPermutation(
            (*chosen.orders[:layer], order, *chosen.orders[layer + 1 :]),
            (*chosen.signs[:layer], signs, *chosen.signs[layer + 1 :]),
        )
    return chosen.apply(architecture, weights), chosen
