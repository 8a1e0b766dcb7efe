"""Parameter transformer: hidden units as tokens (Schürholt et al., 2021, with their weights into one token each)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Encoder, Weights
from rnn_zoos.baselines.encoders.gates import StandardiseGates
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.stack import NetworkStack


class TransformerEncoder(Encoder):
    """A transformer over units, trained under random signed permutations; tokens know their place.

    A hidden unit's token is made of the rows of all gates of both its matrices and biases, an output's of its row of
    the readout. Pre-norm, no dropout, mean over tokens.
    """

    augmented: ClassVar[bool] = True

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        width: int = 128,
        heads: int = 4,
        layers: int = 6,
        feedforward: int = 512,
    ) -> None:
        super().__init__(architecture, embedding_size)
        gates, hidden = GATES[architecture.cell], architecture.hidden_size
        inputs = [architecture.input_size, *[hidden] * (architecture.num_layers - 1)]
        self.standardise = StandardiseGates(architecture)
        self.into_tokens = nn.ModuleList(nn.Linear(gates * (size + hidden + 2), width) for size in inputs)
        self.into_tokens.append(nn.Linear(hidden + 1, width))
        places = architecture.num_layers * hidden + architecture.output_size
        self.places = nn.Parameter(0.02 * torch.randn(places, width))
        block = nn.TransformerEncoderLayer(width, heads, feedforward, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, embedding_size)

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Standardise by these networks."""
        self.standardise.fit(weights)

    def tokens(self, weights: Weights) -> Tensor:
        """Return what the transformer reads: [M, L H + O, width]."""
        tensors = self.standardise(weights)
        units = [
            torch.cat([tensors[name].transpose(1, 2).flatten(2) for name in self.architecture.layer_shapes(layer)], -1)
            for layer in range(self.architecture.num_layers)
        ]
        outputs = torch.cat([tensors["linear.weight"][:, 0], tensors["linear.bias"][:, 0, :, None]], dim=-1)
        tokens = [into(part) for into, part in zip(self.into_tokens, [*units, outputs], strict=True)]
        return torch.cat(tokens, dim=1) + self.places

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        embeddings: Tensor = self.head(self.blocks(self.tokens(weights)).mean(dim=1))
        return embeddings
