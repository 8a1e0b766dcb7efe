"""Layer-wise statistics: what Unterthiner et al. (2020) read accuracy from, here of every tensor and gate."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rnn_zoos.baselines.encoders.encoder import FeatureEncoder, Information, Standardise, Weights, mlp
from rnn_zoos.baselines.encoders.gates import by_gate
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.stack import NetworkStack

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def weight_statistics(architecture: Architecture, weights: Weights) -> Tensor:
    """Return mean, standard deviation and five quantiles of every tensor and gate, [M, 7 (4 L G + 2)] for LSTMs.

    They do not depend on the order of hidden units. Quantiles are linear between neighbours.
    """
    features = []
    for tensor in by_gate(architecture, weights).values():
        values = tensor.flatten(2).sort(dim=-1).values  # one sort for all quantiles
        places = torch.tensor(QUANTILES, device=values.device) * (values.shape[-1] - 1)
        below = values[..., places.floor().long()]
        quantiles = below + (values[..., places.ceil().long()] - below) * (places - places.floor())
        moments = torch.stack([values.mean(dim=-1), values.std(dim=-1, correction=0)], dim=-1)
        features.append(torch.cat([moments, quantiles], dim=-1).flatten(1))
    return torch.cat(features, dim=-1)


class StatisticsEncoder(FeatureEncoder):
    """An MLP on standardised layer-wise statistics; a small head, as the paper's released code has it."""

    information: ClassVar[Information] = "weights"
    hidden: ClassVar[int] = 128
    layers: ClassVar[int] = 1

    def __init__(self, architecture: Architecture, embedding_size: int = 16) -> None:
        super().__init__(architecture, embedding_size)
        groups = 4 * architecture.num_layers * GATES[architecture.cell] + 2
        self.standardise = Standardise(groups * (2 + len(QUANTILES)))
        self.head = mlp(groups * (2 + len(QUANTILES)), self.hidden, self.layers, embedding_size)

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Standardise by these networks."""
        self.standardise.fit(weight_statistics(self.architecture, weights))

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return standardised statistics [M, F]."""
        standardised: Tensor = self.standardise(weight_statistics(self.architecture, weights))
        return standardised


class LargeStatisticsEncoder(StatisticsEncoder):
    """The same with as many parameters as the other encoders: three layers of 768, as the paper states it."""

    hidden = 768
    layers = 3
