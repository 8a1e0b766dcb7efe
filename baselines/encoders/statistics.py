"""Layer-wise statistics: an MLP on mean, standard deviation and quantiles of every weight tensor, gate by gate.

Unterthiner et al. (2020, "Predicting Neural Network Accuracy from Weights") use mean, variance and the same five
quantiles per layer. The features do not depend on the order of hidden units.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rnn_zoos.baselines.encoders.encoder import FeatureEncoder, Information, Weights
from rnn_zoos.baselines.encoders.layers import Standardise, mlp, split_gates
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.stack import NetworkStack

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def weight_statistics(architecture: Architecture, weights: Weights) -> Tensor:
    """Return mean, standard deviation and five quantiles of every tensor and gate, [M, 7 (4 L G + 2)].

    Quantiles are interpolated linearly, as by `torch.quantile`.
    """
    features = []
    for tensor in split_gates(architecture, weights).values():
        values = tensor.flatten(2).sort(dim=-1).values  # [M, G, N]; one sort serves all quantiles
        positions = torch.tensor(QUANTILES, device=values.device) * (values.shape[-1] - 1)
        below = values[..., positions.floor().long()]
        above = values[..., positions.ceil().long()]
        quantiles = below + (above - below) * (positions - positions.floor())
        moments = torch.stack([values.mean(dim=-1), values.std(dim=-1, correction=0)], dim=-1)
        features.append(torch.cat([moments, quantiles], dim=-1).flatten(1))
    return torch.cat(features, dim=-1)


class StatisticsEncoder(FeatureEncoder):
    """An MLP on standardised layer-wise statistics, with one hidden layer of 128 as in the paper's released code."""

    information: ClassVar[Information] = "weights"
    hidden: ClassVar[int] = 128
    layers: ClassVar[int] = 1

    def __init__(self, architecture: Architecture, embedding_size: int = 16) -> None:
        super().__init__(architecture, embedding_size)
        groups = 4 * architecture.num_layers * GATES[architecture.cell] + 2  # the readout has a weight and a bias
        features = groups * (2 + len(QUANTILES))
        self.standardise = Standardise(features)
        self.head = mlp(features, self.hidden, self.layers, embedding_size)

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Compute means and standard deviations of the training networks' statistics."""
        self.standardise.fit(weight_statistics(self.architecture, weights))

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return standardised statistics [M, F]."""
        standardised: Tensor = self.standardise(weight_statistics(self.architecture, weights))
        return standardised


class LargeStatisticsEncoder(StatisticsEncoder):
    """`StatisticsEncoder` with three hidden layers of 768, as the paper describes it: as large as other encoders."""

    hidden = 768
    layers = 3
