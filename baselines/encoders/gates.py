"""Weights with their gates apart, and their standardisation: one mean and one scale per tensor and gate.

Scalars that all units share: what is equivariant before stays so after.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Weights
from rnn_zoos.networks.architecture import GATES, Architecture


def by_gate(architecture: Architecture, weights: Weights) -> dict[str, Tensor]:
    """Return recurrent tensors as [M, G, H, ...] and the readout as [M, 1, O, ...], in the architecture's order."""
    gates = GATES[architecture.cell]
    return {
        name: weights[name].unsqueeze(1) if name.startswith("linear.") else weights[name].unflatten(1, (gates, -1))
        for name in architecture.parameter_shapes
    }


class StandardiseGates(nn.Module):
    """Standardises weights as `by_gate` gives them, with mean and standard deviation of the training networks."""

    means: Tensor
    scales: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        gates = GATES[architecture.cell]
        self.counts = [1 if name.startswith("linear.") else gates for name in architecture.parameter_shapes]
        self.register_buffer("means", torch.zeros(sum(self.counts)))
        self.register_buffer("scales", torch.ones(sum(self.counts)))

    def fit(self, weights: Weights) -> None:
        """Take means and standard deviations of stacked weights."""
        groups = [gate for tensor in by_gate(self.architecture, weights).values() for gate in tensor.unbind(1)]
        deviations = torch.stack([group.std(correction=0) for group in groups])
        self.means.copy_(torch.stack([group.mean() for group in groups]))
        self.scales.copy_(torch.where(deviations > 0, 1 / deviations, torch.zeros_like(deviations)))

    def forward(self, weights: Weights) -> dict[str, Tensor]:
        """Return standardised weights as `by_gate` gives them."""
        tensors = by_gate(self.architecture, weights)
        pairs = zip(self.means.split(self.counts), self.scales.split(self.counts), strict=True)
        return {
            name: (tensor - mean.view(-1, *[1] * (tensor.dim() - 2))) * scale.view(-1, *[1] * (tensor.dim() - 2))
            for (name, tensor), (mean, scale) in zip(tensors.items(), pairs, strict=True)
        }
