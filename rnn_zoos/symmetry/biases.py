"""The redundancy of the two bias vectors of a layer: only their sum affects the function.

Both vectors receive equal gradients, so under AdamW their difference only decays, at a rate of learning rate times
weight decay. The difference therefore identifies the snapshots of one run, and reveals the run's weight decay, whatever
the network has learned.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.weights import check_weights
from rnn_zoos.symmetry.signed import CANDIDATE


def mergeable(architecture: Architecture) -> Tensor:
    """Return for which entries [GH] of a layer's biases only the sum of both vectors matters.

    These are all but those of a GRU's candidate: a GRU multiplies what the candidate gets from the state, including
    its bias, by the reset gate.
    """
    entries = torch.ones(GATES[architecture.cell], architecture.hidden_size, dtype=torch.bool)
    if architecture.cell == "gru":
        entries[CANDIDATE["gru"]] = False
    return entries.flatten()


def merge_biases(architecture: Architecture, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace bias_ih by bias_ih + bias_hh and bias_hh by zeros, wherever only the sum matters.

    The function of a network stays the same up to rounding. Merging merged weights changes nothing.

    Args:
        architecture: Architecture of the networks.
        weights: Named weights [*shape] or stacked weights [M, *shape].

    Returns:
        The weights with merged biases; the other tensors are not copied.

    Raises:
        FormatError: The weights do not fit the architecture.

    Example:
        >>> from rnn_zoos import Architecture, RecurrentNetwork
        >>> from rnn_zoos.symmetry import merge_biases
        >>> architecture = Architecture("lstm", 2, input_size=6, hidden_size=32, output_size=6)
        >>> merged = merge_biases(architecture, RecurrentNetwork(architecture).weights())
        >>> merged["lstm.bias_hh_l0"].any().item()
        False
    """
    check_weights(architecture, weights)
    merged, entries = dict(weights), mergeable(architecture)
    for _, _, name_ih, name_hh in (architecture.layer_shapes(layer) for layer in range(architecture.num_layers)):
        mask = entries.to(weights[name_ih].device)
        moved = torch.where(mask, weights[name_hh], torch.zeros_like(weights[name_hh]))
        merged[name_ih], merged[name_hh] = weights[name_ih] + moved, weights[name_hh] - moved
    return merged


def bias_differences(architecture: Architecture, weights: Mapping[str, Tensor]) -> Tensor:
    """Return bias_ih - bias_hh of all layers wherever only the sum matters: the information that merging removes.

    Args:
        architecture: Architecture of the networks.
        weights: Named weights [*shape] or stacked weights [M, *shape].

    Returns:
        Differences [N] or [M, N], where N is LGH, or 2LH for a GRU.

    Raises:
        FormatError: The weights do not fit the architecture.

    Example:
        >>> from rnn_zoos import Architecture, RecurrentNetwork
        >>> from rnn_zoos.symmetry import bias_differences
        >>> architecture = Architecture("lstm", 2, input_size=6, hidden_size=32, output_size=6)
        >>> bias_differences(architecture, RecurrentNetwork(architecture).weights()).shape
        torch.Size([256])
    """
    check_weights(architecture, weights)
    entries = mergeable(architecture)
    differences = []
    for _, _, name_ih, name_hh in (architecture.layer_shapes(layer) for layer in range(architecture.num_layers)):
        differences.append((weights[name_ih] - weights[name_hh])[..., entries.to(weights[name_ih].device)])
    return torch.cat(differences, dim=-1)
