"""Parameter transformer: hidden units are tokens.

Schürholt et al. (2021, "Self-Supervised Representation Learning on Neural Network Weights") tokenise the weights of a
feed-forward network by neuron. Here a token of a hidden unit holds all its incoming weights:

    token of unit h of layer l   weight_ih[g, h, :], weight_hh[g, h, :], bias_ih[g, h], bias_hh[g, h], all gates g
    token of output o            linear.weight[o, :], linear.bias[o]

    x_0 = linear map of each token (one map per layer, one for the readout) + learned position embedding
    x   = pre-norm transformer encoder of x_0
    embedding = linear map of the mean of x over its tokens

The code of Herrmann et al. (2024) has a token per matrix row instead, so one for each gate of a unit, two heads,
dropout of 0.1, and reads one more, learned token in place of the mean: `PAPER_FORM`. Dropout draws from torch's global
random generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Encoder, Weights
from rnn_zoos.baselines.encoders.layers import StandardiseGates
from rnn_zoos.baselines.encoders.weights.attention import transformer
from rnn_zoos.errors import EncoderError, UnknownNameError
from rnn_zoos.networks.architecture import GATES, Architecture
from rnn_zoos.networks.stack import NetworkStack

Tokens: TypeAlias = Literal["units", "rows"]
"""What a token is: a hidden unit with all its gates, or one gate of a unit, a row of the weight matrices."""
Pooling: TypeAlias = Literal["mean", "token"]
"""What the embedding is read from: the mean of all tokens, or an additional token."""

PAPER_FORM: Mapping[str, Any] = MappingProxyType({"heads": 2, "dropout": 0.1, "tokens": "rows", "pooling": "token"})
"""Keyword arguments of `TransformerEncoder` for the form of the paper's code, besides its sizes."""


class UnitTransformer(nn.Module):
    """The transformer from standardised weights, with their axis of gates, to embeddings.

    Attributes:
        places: Position embeddings, [T, width].
        blocks: The transformer, from tokens [M, T, width] to tokens.

    Raises:
        EncoderError: `heads` does not divide `width`.
        UnknownNameError: `tokens` or `pooling` is unknown.
    """

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int,
        *,
        width: int = 128,
        heads: int = 4,
        layers: int = 6,
        feedforward: int = 512,
        dropout: float = 0.0,
        tokens: Tokens = "units",
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        _check(width, heads, tokens, pooling)
        gates, hidden = GATES[architecture.cell], architecture.hidden_size
        together, each = (gates, 1) if tokens == "units" else (1, gates)  # gates per token, tokens per unit
        inputs = [architecture.input_size, *[hidden] * (architecture.num_layers - 1)]
        self.architecture, self.by_rows = architecture, tokens == "rows"
        self.into_tokens = nn.ModuleList(nn.Linear(together * (size + hidden + 2), width) for size in inputs)
        self.into_tokens.append(nn.Linear(hidden + 1, width))
        count = architecture.num_layers * hidden * each + architecture.output_size
        self.reader = nn.Parameter(0.02 * torch.randn(width)) if pooling == "token" else None
        self.places = nn.Parameter(0.02 * torch.randn(count + (pooling == "token"), width))
        self.blocks = transformer(width, heads, feedforward, layers, dropout)
        self.head = nn.Linear(width, embedding_size)

    def tokens(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return x_0, the input of the first block: [M, T, width]."""
        parts = []
        for layer, linear in zip(range(self.architecture.num_layers), self.into_tokens, strict=False):
            of_layer = [tensors[name] for name in self.architecture.layer_shapes(layer)]
            matrices = [tensor if tensor.dim() == 4 else tensor.unsqueeze(-1) for tensor in of_layer]  # [M, G, H, *]
            if self.by_rows:
                joined = torch.cat(matrices, dim=-1).flatten(1, 2)
            else:  # [M, G, H, *] -> [M, H, G *]
                joined = torch.cat([matrix.transpose(1, 2).flatten(2) for matrix in matrices], dim=-1)
            parts.append(linear(joined))
        outputs = torch.cat([tensors["linear.weight"][:, 0], tensors["linear.bias"][:, 0, :, None]], dim=-1)
        parts.append(self.into_tokens[-1](outputs))
        if self.reader is not None:
            parts.append(self.reader.expand(len(outputs), 1, -1))
        return torch.cat(parts, dim=1) + self.places

    def forward(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return embeddings [M, Z] of standardised weights, name -> [M, G, *]; see `split_gates`."""
        read = self.blocks(self.tokens(tensors))
        embeddings: Tensor = self.head(read.mean(dim=1) if self.reader is None else read[:, -1])
        return embeddings


def _check(width: int, heads: int, tokens: str, pooling: str) -> None:
    """Raise an error for sizes that do not fit and for unknown names."""
    if width % heads:
        raise EncoderError(f"A width of {width} cannot be divided into {heads} heads. Choose heads that divide it.")
    if tokens not in ("units", "rows"):
        raise UnknownNameError.among("kind of tokens", tokens, ["units", "rows"])
    if pooling not in ("mean", "token"):
        raise UnknownNameError.among("pooling", pooling, ["mean", "token"])


class TransformerEncoder(Encoder):
    """A transformer over hidden units and outputs, by default 6 blocks of width 128 with 4 heads.

    Position embeddings make it depend on the order of units, so it is trained with random signed permutations of them.

    Args:
        architecture: Architecture of the networks.
        embedding_size: Z, the number of entries of an embedding.
        **sizes: As for `UnitTransformer`.
    """

    augmented: ClassVar[bool] = True

    def __init__(self, architecture: Architecture, embedding_size: int = 16, **sizes: Any) -> None:  # noqa: ANN401
        super().__init__(architecture, embedding_size)
        self.standardise = StandardiseGates(architecture)
        self.transformer = UnitTransformer(architecture, embedding_size, **sizes)

    @property
    def blocks(self) -> nn.Module:
        """The transformer, from tokens [M, T, width] to tokens."""
        return self.transformer.blocks

    @property
    def places(self) -> Tensor:
        """Position embeddings, [T, width]."""
        return self.transformer.places

    def fit_inputs(self, weights: Weights, sequences: Tensor | None = None) -> None:
        """Compute means and standard deviations of the training networks' weights."""
        self.standardise.fit(weights)

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        embeddings: Tensor = self.transformer(self.standardise(weights))
        return embeddings
