"""Canonical weights: one representative of all networks that differ only by a signed permutation."""

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
    """Return the canonical weights, and the signed permutation that turns the given weights into them.

    Layer by layer from the input, each unit gets the sign that makes the sum of its candidate's input weights positive,
    and units are sorted by this sum in descending order. All signed permutations of a network have the same canonical
    form, bit for bit. It is not continuous in the weights, and not unique where two sums are equal or one is zero.

    Args:
        architecture: Architecture of the networks.
        weights: Named weights [*shape] or stacked weights [M, *shape].

    Returns:
        The canonical weights, and the `SignedPermutation` whose `apply` gives them.

    Raises:
        FormatError: The weights do not fit the architecture.

    Example:
        >>> from rnn_zoos import Architecture, RecurrentNetwork
        >>> from rnn_zoos.symmetry import canonical_form
        >>> architecture = Architecture("lstm", 2, input_size=6, hidden_size=32, output_size=6)
        >>> canonical, permutation = canonical_form(architecture, RecurrentNetwork(architecture).weights())
    """
    leading = check_weights(architecture, weights)
    chosen = SignedPermutation.identity(architecture, *leading)
    for layer in range(architecture.num_layers):
        weight_ih = chosen.apply(architecture, weights)[f"{architecture.cell}.weight_ih_l{layer}"]
        by_gate = weight_ih.unflatten(-2, (GATES[architecture.cell], -1))
        sums = by_gate[..., CANDIDATE[architecture.cell], :, :].sum(dim=-1)
        order = sums.abs().argsort(dim=-1, descending=True, stable=True)
        signs = torch.where(sums < 0, -1.0, 1.0).gather(-1, order)
        chosen = SignedPermutation(
            (*chosen.orders[:layer], order, *chosen.orders[layer + 1 :]),
            (*chosen.signs[:layer], signs, *chosen.signs[layer + 1 :]),
        )
    return chosen.apply(architecture, weights), chosen
