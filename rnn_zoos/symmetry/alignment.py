"""Alignment: the signed permutation that brings the units of one network closest to those of another."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.weights import check_weights, flatten
from rnn_zoos.symmetry.signed import CANDIDATE, SignedPermutation

_MAX_SWEEPS = 50


def align(architecture: Architecture, weights: Mapping[str, Tensor], to: Mapping[str, Tensor]) -> SignedPermutation:
    """Return the signed permutation that brings the weights of one network close to those of another.

    This is the weight matching of Ainsworth et al. (2023, section 3.2) with the better sign for every pair of units.
    Sweeps over the layers find the best assignment of the units of each layer while the others stay, until the inner
    product with `to` no longer grows. An initial sweep compares only the weights and biases of the inputs, so that a
    permuted copy of a network is recovered exactly. In general the result is a local optimum.

    Args:
        architecture: Architecture of both networks.
        weights: Named weights of the network to permute.
        to: Named weights of the network to approach.

    Returns:
        The permutation; apply it to `weights`.

    Raises:
        FormatError: The weights do not fit the architecture, are stacked, or are not finite.

    Example:
        >>> from rnn_zoos import Architecture, RecurrentNetwork
        >>> from rnn_zoos.symmetry import align
        >>> architecture = Architecture("lstm", 1, input_size=6, hidden_size=8, output_size=6)
        >>> first, second = (RecurrentNetwork(architecture).weights() for _ in range(2))
        >>> aligned = align(architecture, first, to=second).apply(architecture, first)
    """
    for network in (weights, to):
        if check_weights(architecture, network):
            raise FormatError("The weights are stacked; align takes the named weights of one network each.")
        if not all(bool(tensor.isfinite().all()) for tensor in network.values()):
            raise FormatError("The weights are not finite: the network has diverged. Leave it out.")
    weights, to = ({name: tensor.detach() for name, tensor in network.items()} for network in (weights, to))
    chosen = SignedPermutation.identity(architecture)
    for layer in range(architecture.num_layers):
        chosen = _with_layer(chosen, layer, *_assign(_similarity(architecture, weights, to, chosen, layer, True)))
    best = _inner_product(architecture, weights, to, chosen)
    for _ in range(_MAX_SWEEPS):
        before = best
        for layer in range(architecture.num_layers):
            scores = _similarity(architecture, weights, to, chosen, layer, False)
            found = _with_layer(chosen, layer, *_assign(scores))
            product = _inner_product(architecture, weights, to, found)
            if product > best:
                chosen, best = found, product
        if best <= before:
            break
    return chosen


def _inner_product(
    architecture: Architecture, weights: Mapping[str, Tensor], to: Mapping[str, Tensor], by: SignedPermutation
) -> float:
    """Return the inner product of the permuted weights with `to`."""
    moved = flatten(architecture, by.apply(architecture, weights))
    return float(moved.double() @ flatten(architecture, to).double())


def _with_layer(chosen: SignedPermutation, layer: int, order: Tensor, sign: Tensor) -> SignedPermutation:
    """Return the permutation with another order and other signs in one layer."""
    orders, signs = list(chosen.orders), list(chosen.signs)
    orders[layer], signs[layer] = order, sign
    return SignedPermutation(tuple(orders), tuple(signs))


def _assign(scores: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return order and signs [H] of the best assignment for the scores of `_similarity`."""
    unsigned, signed = scores
    _, columns = linear_sum_assignment((unsigned + signed.abs()).numpy(), maximize=True)
    order = torch.from_numpy(columns)
    return order, torch.where(signed.gather(1, order[:, None])[:, 0] < 0, -1.0, 1.0)


def _similarity(
    architecture: Architecture,
    weights: Mapping[str, Tensor],
    to: Mapping[str, Tensor],
    chosen: SignedPermutation,
    layer: int,
    inputs_only: bool,
) -> tuple[Tensor, Tensor]:
    """Return how much pairing unit k of `to` with unit j of the network adds to the inner product, for one layer.

    The units of all other layers are permuted by `chosen`. With `inputs_only`, only weight_ih and the biases count.

    Returns:
        Two matrices [H, H]: the part that does not depend on the sign of unit j, and the part that the sign multiplies.
    """
    size = architecture.hidden_size
    unpermuted = _with_layer(chosen, layer, torch.arange(size), torch.ones(size))  # column j of a score is unit j
    source = unpermuted.apply(architecture, weights)
    name_ih, name_hh, *biases = architecture.layer_shapes(layer)
    last = layer + 1 == architecture.num_layers
    name_out = "linear.weight" if last else f"{architecture.cell}.weight_ih_l{layer + 1}"
    unsigned, signed = torch.zeros(2, size, size, dtype=torch.float64)
    incoming = [(to[name], source[name]) for name in (name_ih, *biases)]
    if not inputs_only:
        incoming.append((to[name_hh], chosen.move_columns(source[name_hh], layer)))
        outgoing = (
            (to[name_hh], chosen.move_rows(architecture.cell, source[name_hh], layer)),
            (to[name_out], source[name_out]),
        )
        for target_matrix, source_matrix in outgoing:
            signed += target_matrix.double().T @ source_matrix.double()
    for target_matrix, source_matrix in incoming:
        _add_gates(architecture, unsigned, signed, target_matrix, source_matrix)
    return unsigned, signed


def _add_gates(
    architecture: Architecture, unsigned: Tensor, signed: Tensor, target_matrix: Tensor, source_matrix: Tensor
) -> None:
    """Add the products of the units' matrix rows [GH, ...], gate by gate; those of the candidate depend on the sign."""
    gates = GATES[architecture.cell]
    for gate in range(gates):
        target, source = (
            matrix.reshape(gates, architecture.hidden_size, -1)[gate].double()
            for matrix in (target_matrix, source_matrix)
        )
        scores = signed if gate == CANDIDATE[architecture.cell] else unsigned
        scores += target @ source.T
