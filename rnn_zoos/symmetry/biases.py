"""The freedom between the two bias vectors of a layer: only their sum acts, and their difference fingerprints a run.

Both receive equal gradients, so under AdamW the difference only decays with lr * weight decay: it tells snapshots of
one run, and the run's weight decay, without a look at what the network has learned.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.weights import check_weights
from rnn_zoos.symmetry.signed import CANDIDATE


def mergeable(architecture: Architecture) -> Tensor:
    """Return which of a layer's bias rows [GH] act only as the sum of both vectors: all but a GRU's candidate.

    A GRU multiplies the candidate's part from the state, its bias included, by the reset gate.
    """
    rows = torch.ones(GATES[architecture.cell], architecture.hidden_size, dtype=torch.bool)
    if architecture.cell == "gru":
        rows[CANDIDATE["gru"]] = False
    return rows.flatten()


def merge_biases(architecture: Architecture, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the same function with bias_ih + bias_hh in bias_ih and zeros in bias_hh, where only the sum acts.

    Named [*shape] or stacked [M, *shape] weights. Twice is the same as once.
    """
    check_weights(architecture, weights)
    merged, rows = dict(weights), mergeable(architecture)
    for _, _, name_ih, name_hh in (architecture.layer_shapes(layer) for layer in range(architecture.num_layers)):
        here = rows.to(weights[name_ih].device)
        moved = torch.where(here, weights[name_hh], torch.zeros_like(weights[name_hh]))
        merged[name_ih], merged[name_hh] = weights[name_ih] + moved, weights[name_hh] - moved
    return merged


def bias_differences(architecture: Architecture, weights: Mapping[str, Tensor]) -> Tensor:
    """Return what merging removes: bias_ih - bias_hh of all layers where only the sum acts, [..., N]."""
    check_weights(architecture, weights)
    rows = mergeable(architecture)
    differences = []
    for _, _, name_ih, name_hh in (architecture.layer_shapes(layer) for layer in range(architecture.num_layers)):
        differences.append((weights[name_ih] - weights[name_hh])[..., rows.to(weights[name_ih].device)])
    return torch.cat(differences, dim=-1)
