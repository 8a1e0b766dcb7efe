"""The weights of networks of any architecture in one form: gates that play the same role in several cells share it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.layers import inverse_or_zero, split_gates
from rnn_zoos.baselines.encoders.outliers import inlier_networks, soft_clip
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack

ROLES = ("write", "keep", "candidate", "read")
"""What a gate decides: how much of the candidate is written, how much of the state is kept, the candidate itself, how
much of the state is read."""

GATE_ROLES: Mapping[str, tuple[int, ...]] = MappingProxyType({"lstm": (0, 1, 2, 3), "gru": (3, 1, 2), "rnn": (2,)})
"""Cell -> the number of the role of each gate, in PyTorch's order: lstm i, f, g, o; gru r, z, n; rnn one candidate."""

_KINDS = ("input", "upward", "recurrent", "bias_ih", "bias_hh", "output", "output bias")
_CONSTANT = 1e-12  # weights whose variance is below this fraction of their mean square count as equal


class StandardiseRoles(nn.Module):
    """Standardises weights by one mean and one standard deviation per kind of tensor and role, for all architectures.

    Kinds are weights of inputs, weights of the units below, recurrent weights, the two biases, and weights and biases
    of the readout. Every tensor of a training network counts as much as any other. Weights in a role that no training
    network has become 0, as constant weights do. Before `fit`, weights pass unchanged.
    """

    means: Tensor
    scales: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(len(_KINDS), len(ROLES)))
        self.register_buffer("scales", torch.ones(len(_KINDS), len(ROLES)))

    def fit(self, networks: NetworkStack) -> None:
        """Compute means and standard deviations of networks of one or several architectures."""
        counts, sums, squares = torch.zeros(3, *self.means.shape, dtype=torch.float64, device=self.means.device)
        for _, stack in networks.groups:
            places = gate_roles_of(stack.architecture)
            for name, tensor in split_gates(stack.architecture, inlier_networks(stack.weights)).items():
                kind, roles = places[name]
                values = tensor.flatten(2).double()
                counts[kind, roles] += len(values)
                sums[kind, roles] += values.mean(dim=2).sum(dim=0)
                squares[kind, roles] += values.square().mean(dim=2).sum(dim=0)
        means, squares = sums / counts.clamp(min=1), squares / counts.clamp(min=1)
        variances = squares - means.square()
        variances = torch.where(variances > _CONSTANT * squares, variances, torch.zeros_like(variances))
        self.means.copy_(means)
        self.scales.copy_(inverse_or_zero(variances.sqrt()))

    def forward(self, architecture: Architecture, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return standardised stacked weights of an architecture, with an axis of roles; 0 where its cell lacks one.

        Recurrent tensors become [M, 4, H, ...]; tensors of the readout become [M, 1, O, ...].
        """
        places, result = gate_roles_of(architecture), {}
        for name, tensor in split_gates(architecture, weights).items():
            kind, roles = places[name]
            mean, scale = (
                numbers[kind, roles].view(-1, *[1] * (tensor.dim() - 2)) for numbers in (self.means, self.scales)
            )
            found = soft_clip((tensor - mean) * scale)
            if not name.startswith("linear"):
                padded = found.new_zeros(len(found), len(ROLES), *found.shape[2:])
                found = padded.index_copy(1, torch.tensor(roles, device=found.device), found)
            result[name] = found
        return result


def gate_roles_of(architecture: Architecture) -> dict[str, tuple[int, list[int]]]:
    """Return parameter name -> number of its kind, and the roles of its gates; the readout has a single one, 0."""
    roles, places = list(GATE_ROLES[architecture.cell]), {}
    for layer in range(architecture.num_layers):
        kinds = ("upward" if layer else "input", "recurrent", "bias_ih", "bias_hh")
        for name, kind in zip(architecture.layer_shapes(layer), kinds, strict=True):
            places[name] = (_KINDS.index(kind), roles)
    readout = {"linear.weight": "output", "linear.bias": "output bias"}
    return places | {name: (_KINDS.index(kind), [0]) for name, kind in readout.items()}
