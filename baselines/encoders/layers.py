"""Layers that several encoders share: multilayer perceptron, scaling to length 1, standardisation of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.outliers import inlier_networks, inlier_rows, soft_clip
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.weights import flatten


def unit_length(embeddings: Tensor) -> Tensor:
    """Scale vectors [..., Z] to length 1; a vector shorter than 1e-6 is divided by 1e-6, so gradients stay finite."""
    lengths: Tensor = embeddings.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    return embeddings / lengths


def mlp(inputs: int, hidden: int, layers: int, outputs: int) -> nn.Sequential:
    """Return a multilayer perceptron: `layers` hidden layers of `hidden` ReLU units, and a linear output layer."""
    sizes = [inputs, *[hidden] * layers]
    blocks = [block for size in range(layers) for block in (nn.Linear(sizes[size], sizes[size + 1]), nn.ReLU())]
    return nn.Sequential(*blocks, nn.Linear(sizes[-1], outputs))


@torch.no_grad()
def standardise_outputs(head: nn.Module, outputs: Tensor) -> None:
    """Change a linear layer, or the last layer of an MLP, so that its `outputs` [N, Z] get mean 0 and deviation 1.

    Embeddings of random parameters are nearly equal, and equal embeddings have nothing to learn from.
    """
    last = head[-1] if isinstance(head, nn.Sequential) else head
    assert isinstance(last, nn.Linear), "as `mlp` makes it"
    deviations = outputs.std(dim=0, correction=0).clamp(min=1e-6)
    last.bias.copy_((last.bias - outputs.mean(dim=0)) / deviations)
    last.weight.div_(deviations[:, None])


class Standardise(nn.Module):
    """Standardises features by their mean and standard deviation over the training networks; see also `outliers`.

    Constant features become 0. Before `fit`, means are 0 and deviations 1.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def fit(self, features: Tensor, least_deviation: float = 0.0) -> None:
        """Compute mean and standard deviation of features [N, F]; add `least_deviation` to all deviations."""
        usual = inlier_rows(features)
        features = features if bool(usual.all()) else features[usual]
        self.mean.copy_(features.mean(dim=0))
        self.scale.copy_(inverse_or_zero(features.std(dim=0, correction=0) + least_deviation))

    def forward(self, features: Tensor) -> Tensor:
        """Return features [..., F], standardised."""
        return soft_clip((features - self.mean) * self.scale)


def split_gates(architecture: Architecture, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return stacked weights with an axis of gates, in the architecture's order of parameters.

    Recurrent tensors become [M, G, H, ...]; tensors of the readout become [M, 1, O, ...].
    """
    gates = _gate_counts(architecture)
    return {name: weights[name].unflatten(1, (gates[name], -1)) for name in architecture.parameter_shapes}


class StandardiseGates(nn.Module):
    """Standardises weights by one mean and one standard deviation per tensor and gate, over the training networks.

    All hidden units share these numbers, so the order of units does not matter to them: an equivariant encoder stays
    equivariant.
    """

    means: Tensor
    scales: Tensor
    group_sizes: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.counts = list(_gate_counts(architecture).values())
        shapes = architecture.parameter_shapes.values()
        sizes = [prod(shape) // count for shape, count in zip(shapes, self.counts, strict=True) for _ in range(count)]
        self.num_parameters = sum(sizes)
        self.register_buffer("group_sizes", torch.tensor(sizes), persistent=False)  # parameters per tensor and gate
        self.register_buffer("means", torch.zeros(sum(self.counts)))
        self.register_buffer("scales", torch.ones(sum(self.counts)))

    def fit(self, weights: Mapping[str, Tensor]) -> None:
        """Compute means and standard deviations of stacked weights, name -> [N, *shape]."""
        usual = split_gates(self.architecture, inlier_networks(weights))
        groups = [gate for tensor in usual.values() for gate in tensor.unbind(1)]
        self.means.copy_(torch.stack([group.mean() for group in groups]))
        self.scales.copy_(inverse_or_zero(torch.stack([group.std(correction=0) for group in groups])))

    def forward(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return standardised weights, with the axis of gates of `split_gates`."""
        tensors = split_gates(self.architecture, weights)
        pairs = zip(self.means.split(self.counts), self.scales.split(self.counts), strict=True)
        standardised = {
            name: (tensor - mean.view(-1, *[1] * (tensor.dim() - 2))) * scale.view(-1, *[1] * (tensor.dim() - 2))
            for (name, tensor), (mean, scale) in zip(tensors.items(), pairs, strict=True)
        }
        return {name: soft_clip(tensor) for name, tensor in standardised.items()}

    def flat(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return standardised flat weights [N, P], with P in the order of the architecture's parameters."""
        flat = flatten(self.architecture, weights)
        mean, scale = (
            numbers.repeat_interleave(self.group_sizes, output_size=self.num_parameters)
            for numbers in (self.means, self.scales)
        )
        return soft_clip(flat.sub_(mean).mul_(scale))


def _gate_counts(architecture: Architecture) -> dict[str, int]:
    """Return parameter name -> number of gates along its first axis; 1 for the readout."""
    counts = dict.fromkeys(architecture.parameter_shapes, 1)
    for layer in range(architecture.num_layers):
        counts |= dict.fromkeys(architecture.layer_shapes(layer), GATES[architecture.cell])
    return counts


def inverse_or_zero(deviations: Tensor) -> Tensor:
    """Return 1 / deviations, and 0 where a deviation is 0."""
    return torch.where(deviations > 0, 1 / deviations, torch.zeros_like(deviations))
