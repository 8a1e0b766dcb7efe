"""Parameter transformer: hidden units are tokens.

Schürholt et al. (2021, "Self-Supervised Representation Learning on Neural Network Weights") tokenise the weights of a
feed-forward network by neuron. Here a token of a hidden unit holds all its incoming weights:

    token of unit h of layer l   weight_ih[g, h, :], weight_hh[g, h, :], bias_ih[g, h], bias_hh[g, h], all gates g
    token of output o            linear.weight[o, :], linear.bias[o]

    x_0 = linear map of each token (one map per layer, one for the readout) + learned position embedding
    x   = pre-norm transformer encoder of x_0, without dropout
    embedding = linear map of the mean of x over its L H + O tokens
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Encoder, Weights
from rnn_zoos.baselines.encoders.layers import StandardiseGates
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.stack import NetworkStack


class TransformerEncoder(Encoder):
    """A transformer over hidden units and outputs, by default 6 blocks of width 128 with 4 heads.

    Position embeddings make it depend on the order of units, so it is trained with random signed permutations of them.

    Attributes:
        places: Position embeddings [L H + O, width].
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
        tokens = architecture.num_layers * hidden + architecture.output_size
        self.places = nn.Parameter(0.02 * torch.randn(tokens, width))
        block = nn.TransformerEncoderLayer(width, heads, feedforward, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, embedding_size)

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Compute means and standard deviations of the training networks' weights."""
        self.standardise.fit(weights)

    def tokens(self, weights: Weights) -> Tensor:
        """Return x_0, the input of the first block: [M, L H + O, width]."""
        tensors = self.standardise(weights)
        units = [
            # [M, G, H, ...] -> [M, H, G ...], for the four tensors of a layer
            torch.cat([tensors[name].transpose(1, 2).flatten(2) for name in self.architecture.layer_shapes(layer)], -1)
            for layer in range(self.architecture.num_layers)
        ]
        outputs = torch.cat([tensors["linear.weight"][:, 0], tensors["linear.bias"][:, 0, :, None]], dim=-1)
        tokens = [linear(part) for linear, part in zip(self.into_tokens, [*units, outputs], strict=True)]
        return torch.cat(tokens, dim=1) + self.places

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        embeddings: Tensor = self.head(self.blocks(self.tokens(weights)).mean(dim=1))
        return embeddings
