"""Bringing one network's units into the places and signs of another's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.weights import check_weights, flatten
from rnn_zoos.symmetry.signed import CANDIDATE, SignedPermutation

_MOST_SWEEPS = 50


def align(architecture: Architecture, weights: Mapping[str, Tensor], to: Mapping[str, Tensor]) -> SignedPermutation:
    """Return the signed permutation that brings one network's named weights close to another's.

    Layers in turn, each by the best assignment of its units while the others stay (the weight matching of Ainsworth et
    al., 2023, section 3.2, with the better sign for every pair of units), until the inner product with `to` no longer
    grows. The first sweep looks at what comes from the input alone, so that a permuted copy is recovered exactly; in
    general it is a local optimum. Raises FormatError for weights of other shapes.
    """
    for network in (weights, to):
        if check_weights(architecture, network):
            raise FormatError("Alignment takes one network each: named weights without leading axes.")
    chosen = SignedPermutation.identity(architecture)
    for layer in range(architecture.num_layers):
        chosen = _with_layer(chosen, layer, *_assign(_similarity(architecture, weights, to, chosen, layer, True)))
    best = _inner_product(architecture, weights, to, chosen)
    for _ in range(_MOST_SWEEPS):
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
    moved = flatten(architecture, by.apply(architecture, weights))
    return float(moved.double() @ flatten(architecture, to).double())


def _with_layer(chosen: SignedPermutation, layer: int, order: Tensor, sign: Tensor) -> SignedPermutation:
    orders, signs = list(chosen.orders), list(chosen.signs)
    orders[layer], signs[layer] = order, sign
    return SignedPermutation(tuple(orders), tuple(signs))


def _assign(scores: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return order and signs [H] of the best assignment for scores [H, H]: those without a sign, those that take it."""
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
    from_input_alone: bool,
) -> tuple[Tensor, Tensor]:
    """Return inner products [H, H] of unit k of `to` with unit j of the network: without sign, and with unit j's sign.

    All other units are where `chosen` puts them.
    """
    size = architecture.hidden_size
    here = _with_layer(chosen, layer, torch.arange(size), torch.ones(size))  # this layer's unit j at place j
    own = here.apply(architecture, weights)
    name_ih, name_hh, *biases = architecture.layer_shapes(layer)
    last = layer + 1 == architecture.num_layers
    out = "linear.weight" if last else f"{architecture.cell}.weight_ih_l{layer + 1}"
    unsigned, signed = torch.zeros(2, size, size, dtype=torch.float64)
    incoming = [(to[name], own[name]) for name in (name_ih, *biases)]
    if not from_input_alone:
        incoming.append((to[name_hh], chosen.move_columns(own[name_hh], layer)))
        for theirs, ours in (
            (to[name_hh], chosen.move_rows(architecture.cell, own[name_hh], layer)),
            (to[out], own[out]),
        ):
            signed += theirs.double().T @ ours.double()
    for theirs, ours in incoming:
        _add(architecture, unsigned, signed, theirs, ours)
    return unsigned, signed


def _add(architecture: Architecture, unsigned: Tensor, signed: Tensor, to: Tensor, own: Tensor) -> None:
    """Add the products of the units' rows [GH, ...], gate by gate; the candidate's take the sign."""
    gates = GATES[architecture.cell]
    for gate in range(gates):
        theirs, ours = (matrix.reshape(gates, architecture.hidden_size, -1)[gate].double() for matrix in (to, own))
        target = signed if gate == CANDIDATE[architecture.cell] else unsigned
        target += theirs @ ours.T
