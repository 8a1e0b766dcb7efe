"""Three layouts of the weights of networks, and conversions between them.

- named: one network, name -> tensor [*shape], as in `state_dict`
- flat: one vector [P] per network, or [M, P] for M networks
- stacked: M networks, name -> tensor [M, *shape], as in a shard
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.networks.architecture import Architecture


def check_weights(architecture: Architecture, weights: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Return the leading axes that all tensors share: () for named, (M,) for stacked weights.

    Raises FormatError if the names or shapes of the parameters are not those of `architecture`.
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
    """Concatenate the parameters of each network into one vector. Inverse of `unflatten`.

    Args:
        architecture: Architecture of the networks; its `parameter_shapes` set the order.
        weights: Named weights [*shape] or stacked weights [M, *shape].

    Returns:
        Flat weights, [P] or [M, P].

    Raises:
        FormatError: The weights do not fit the architecture.

    Example:
        >>> from rnn_zoos import Architecture, RecurrentNetwork, flatten
        >>> architecture = Architecture("lstm", 2, input_size=6, hidden_size=32, output_size=6)
        >>> flatten(architecture, RecurrentNetwork(architecture).weights()).shape
        torch.Size([13766])
    """
    leading = check_weights(architecture, weights)
    return torch.cat([weights[name].reshape(*leading, -1) for name in architecture.parameter_shapes], dim=-1)


def unflatten(architecture: Architecture, flat: Tensor) -> dict[str, Tensor]:
    """Split flat weights into named parameters. Inverse of `flatten`.

    Args:
        architecture: Architecture of the networks.
        flat: Flat weights [..., P].

    Returns:
        Name -> [..., *shape], views of `flat`.

    Raises:
        FormatError: The last axis of `flat` is not P long.

    Example:
        >>> import torch
        >>> from rnn_zoos import Architecture, unflatten
        >>> architecture = Architecture("lstm", 2, input_size=6, hidden_size=32, output_size=6)
        >>> unflatten(architecture, torch.zeros(3, architecture.num_parameters))["linear.weight"].shape
        torch.Size([3, 6, 32])
    """
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
    """Stack the weights of M networks. Inverse of `unstack_weights`.

    Args:
        networks: Named weights [*shape] of each network, all of the same architecture.

    Returns:
        Stacked weights, name -> [M, *shape].

    Raises:
        FormatError: There is no network, or the networks have parameters of different names or shapes.

    Example:
        >>> from rnn_zoos import Architecture, RecurrentNetwork, stack_weights
        >>> architecture = Architecture("lstm", 2, input_size=6, hidden_size=32, output_size=6)
        >>> weights = stack_weights([RecurrentNetwork(architecture).weights() for _ in range(3)])
    """
    if not networks:
        raise FormatError("No networks to stack; expected at least one.")
    first = _shapes(networks[0])
    for number, network in enumerate(networks):
        if _shapes(network) != first:
            raise FormatError(
                f"Networks of different architectures cannot be stacked: network 0 is {Architecture.of(networks[0])}, "
                f"network {number} is {Architecture.of(network)}. Stack those of each architecture by themselves."
            )
    return {name: torch.stack([network[name] for network in networks]) for name in networks[0]}


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def unstack_weights(stacked: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Split stacked weights into networks. Inverse of `stack_weights`.

    Args:
        stacked: Stacked weights, name -> [M, *shape].

    Returns:
        Named weights [*shape] of each of the M networks, views of `stacked`.

    Raises:
        FormatError: There are no tensors, or they are not of the same number of networks.

    Example:
        >>> import torch
        >>> from rnn_zoos import Architecture, unflatten, unstack_weights
        >>> architecture = Architecture("lstm", 2, input_size=6, hidden_size=32, output_size=6)
        >>> networks = unstack_weights(unflatten(architecture, torch.zeros(3, architecture.num_parameters)))
        >>> len(networks)
        3
    """
    if not stacked:
        raise FormatError("There are no tensors to be split into networks; expected name -> [M, *shape].")
    counts = {name: len(tensor) if tensor.dim() else None for name, tensor in stacked.items()}
    if None in counts.values() or len({*counts.values()}) > 1:
        raise FormatError(f"The first axes of stacked weights are {counts}; expected the number of networks M in all.")
    count = next(iter(counts.values())) or 0
    return [{name: tensor[index] for name, tensor in stacked.items()} for index in range(count)]
