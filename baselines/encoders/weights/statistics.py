"""Layer-wise statistics: an MLP on mean, standard deviation and quantiles of every weight tensor, gate by gate.

Unterthiner et al. (2020, "Predicting Neural Network Accuracy from Weights") use mean, variance and the same five
quantiles per layer. The features do not depend on the order of hidden units. The code of Herrmann et al. (2024) has 70
statistics of an LSTM of two layers, so seven per tensor, and does not standardise them: `PAPER_FORM`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.baselines.encoders.encoder import Information, Weights
from rnn_zoos.baselines.encoders.feature_encoder import FeatureEncoder, FittedToNetworks, map_architectures
from rnn_zoos.baselines.encoders.layers import Standardise, mlp, split_gates
from rnn_zoos.errors import EncoderError
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.stack import NetworkStack

MAX_LAYERS, MAX_GATES = 3, 4  # of `padded_statistics`
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)

PAPER_FORM: Mapping[str, Any] = MappingProxyType({"by_gate": False, "variance": True, "standardised": False})
"""Keyword arguments of `StatisticsEncoder` for raw statistics of whole tensors, and variances as of Unterthiner."""


def weight_statistics(
    architecture: Architecture, weights: Weights, by_gate: bool = True, variance: bool = False
) -> Tensor:
    """Return mean, standard deviation and five quantiles of every tensor and gate, [M, 7 (4 L G + 2)].

    Quantiles are interpolated linearly, as by `torch.quantile`.

    Args:
        architecture: Architecture of the networks.
        weights: Stacked weights, name -> [M, *shape].
        by_gate: Whether gates are apart; otherwise [M, 7 (4 L + 2)].
        variance: Whether to return variances in place of standard deviations.
    """
    features = []
    for tensor in split_gates(architecture, weights).values():
        groups = tensor.flatten(2) if by_gate else tensor.flatten(1).unsqueeze(1)
        values = groups.sort(dim=-1).values  # [M, G, N]; one sort serves all quantiles
        positions = torch.tensor(QUANTILES, device=values.device) * (values.shape[-1] - 1)
        below = values[..., positions.floor().long()]
        above = values[..., positions.ceil().long()]
        quantiles = below + (above - below) * (positions - positions.floor())
        spread = values.var(dim=-1, correction=0) if variance else values.std(dim=-1, correction=0)
        moments = torch.stack([values.mean(dim=-1), spread], dim=-1)
        features.append(torch.cat([moments, quantiles], dim=-1).flatten(1))
    return torch.cat(features, dim=-1)


def padded_statistics(architecture: Architecture, weights: Weights) -> Tensor:
    """Return `weight_statistics` by gate, with zeros for missing layers and gates, and what the architecture is.

    So networks of several architectures have as many features: 7 for each of the 4 tensors of 3 layers with 4 gates,
    14 of the readout; then which cell it is, one-hot, the number of layers, and the logarithm of the hidden units.

    Args:
        architecture: Architecture of the networks, of at most 3 layers.
        weights: Stacked weights, name -> [M, *shape].

    Raises:
        EncoderError: There are more layers.
    """
    if architecture.num_layers > MAX_LAYERS:
        raise EncoderError(
            f"Padded statistics have a place for {MAX_LAYERS} layers; found {architecture.name}. Choose an encoder "
            "that queries the networks, or neural-graph."
        )
    gates, statistics = GATES[architecture.cell], weight_statistics(architecture, weights)
    readout, recurrent = statistics[:, -14:], statistics[:, :-14].unflatten(1, (architecture.num_layers, 4, gates, 7))
    missing = (0, 0, 0, MAX_GATES - gates, 0, 0, 0, MAX_LAYERS - architecture.num_layers)
    about = [float(architecture.cell == cell) for cell in GATES]
    about += [float(architecture.num_layers), math.log(architecture.hidden_size)]
    described = statistics.new_tensor(about).expand(len(statistics), -1)
    return torch.cat([F.pad(recurrent, missing).flatten(1), readout, described], dim=1)


class StatisticsEncoder(FeatureEncoder):
    """An MLP on standardised layer-wise statistics, with one hidden layer of 128 as in the paper's released code.

    Args:
        architecture: Architecture of the networks.
        embedding_size: Z, the number of entries of an embedding.
        by_gate: Whether there are statistics of every gate; otherwise of whole tensors.
        variance: Whether to read variances in place of standard deviations.
        standardised: Whether statistics are standardised over the training networks.
    """

    information: ClassVar[Information] = "weights"
    hidden: ClassVar[int] = 128
    layers: ClassVar[int] = 1

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        by_gate: bool = True,
        variance: bool = False,
        standardised: bool = True,
    ) -> None:
        super().__init__(architecture, embedding_size)
        self.by_gate, self.variance, self.standardised = by_gate, variance, standardised
        gates = GATES[architecture.cell] if by_gate else 1
        features = (4 * architecture.num_layers * gates + 2) * (2 + len(QUANTILES))  # the readout has two tensors
        self.standardise = Standardise(features)
        self.head = mlp(features, self.hidden, self.layers, embedding_size)

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Compute means and standard deviations of the training networks' statistics."""
        if self.standardised:
            self.standardise.fit(self._statistics(weights))

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return statistics [M, F], standardised unless they are to stay as they are."""
        features = self._statistics(weights)
        return self.standardise(features) if self.standardised else features

    def _statistics(self, weights: Weights) -> Tensor:
        return weight_statistics(self.architecture, weights, self.by_gate, self.variance)


class PaddedStatisticsEncoder(FittedToNetworks, FeatureEncoder):
    """An MLP on standardised `padded_statistics`, for networks of several architectures: one hidden layer of 128."""

    information: ClassVar[Information] = "weights"

    @classmethod
    def supports(cls, architecture: Architecture) -> bool:
        """Return whether there is a place for all layers."""
        return architecture.num_layers <= MAX_LAYERS

    def __init__(self, architecture: Architecture, embedding_size: int = 16) -> None:
        super().__init__(architecture, embedding_size)
        features = 7 * (4 * MAX_LAYERS * MAX_GATES + 2) + len(GATES) + 2
        self.standardise = Standardise(features)
        self.head = mlp(features, StatisticsEncoder.hidden, StatisticsEncoder.layers, embedding_size)

    def fit_networks(self, networks: NetworkStack, sequences: Tensor | None = None) -> None:
        """Compute means and standard deviations of the training networks' statistics."""
        self.standardise.fit(map_architectures(networks, padded_statistics))

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return standardised statistics [M, F]."""
        networks = stack or NetworkStack(self.architecture, weights)
        features: Tensor = self.standardise(map_architectures(networks, padded_statistics))
        return features


class LargeStatisticsEncoder(StatisticsEncoder):
    """`StatisticsEncoder` with three hidden layers of 768, as the paper describes it: as large as other encoders."""

    hidden = 768
    layers = 3
