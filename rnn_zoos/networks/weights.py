"""Three views of the weights of networks, and the ways between them.

named    name -> tensor, one network: [*shape] per parameter (what `state_dict` gives)
flat     one vector per network: [P], or [M, P] for M networks
stacked  name -> tensor of M networks: [M, *shape] (what a shard holds)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.networks.architecture import Architecture


def check_weights(architecture: Architecture, weights: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return the leading (network) axes that all tensors share: () for named, (M,) for stacked weights.

    Raises FormatError if a parameter is missing, unknown, or of another shape than `architecture` says.
    """
    shapes = architecture.parameter_shapes
    if weights.keys() != shapes.keys():
        missing, unknown = sorted(shapes.keys() - weights.keys()), sorted(weights.keys() - shapes.keys())
        raise FormatError(f"Weights do not fit {architecture}: missing {missing}, unknown {unknown}.")
    first, first_shape = next(iter(shapes.items()))
    leading = tuple(weights[first].shape)[: weights[first].dim() - len(first_shape)]
    for name, shape in shapes.items():
        if tuple(weights[name].shape) != leading + shape:
            raise FormatError(f"{name} has shape {tuple(weights[name].shape)}; expected {leading + shape}.")
    return leading


def flatten(architecture: Architecture, weights: Mapping[str, Tensor]) -> Tensor:
    """Concatenate named [*shape] or stacked [M, *shape] weights into [P] or [M, P], in the architecture's order.

    Inverse of `unflatten`.
    """
    leading = check_weights(architecture, weights)
    return torch.cat([weights[name].reshape(*leading, -1) for name in architecture.parameter_shapes], dim=-1)


def unflatten(architecture: Architecture, flat: Tensor) -> dict[str, Tensor]:
    """Cut [..., P] into name -> [..., *shape]; the tensors are views. Inverse of `flatten`."""
    if flat.dim() == 0 or flat.shape[-1] != architecture.num_parameters:
        raise FormatError(
            f"Flat weights have shape {tuple(flat.shape)}; expected [..., {architecture.num_parameters}]."
        )
    shapes = architecture.parameter_shapes
    pieces = flat.split([prod(shape) for shape in shapes.values()], dim=-1)
    return {
        name: piece.unflatten(-1, shape) if len(shape) > 1 else piece
        for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
    }


def stack_weights(networks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Stack M sets of named weights [*shape] into [M, *shape]. Inverse of `unstack_weights`."""
    if not networks:
        raise FormatError("No networks to stack; expected at least one.")
    if any(network.keys() != networks[0].keys() for network in networks):
        raise FormatError("Networks of different architectures cannot be stacked: their parameter names differ.")
    return {name: torch.stack([network[name] for network in networks]) for name in networks[0]}


def unstack_weights(stacked: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Split [M, *shape] into M sets of named weights (views). Inverse of `stack_weights`."""
    count = len(next(iter(stacked.values())))
    return [{name: tensor[index] for name, tensor in stacked.items()} for index in range(count)]
