"""Blocks of a transformer, for `transformer` and `canonical`. `nn.TransformerEncoderLayer` is their reference.

`nn.MultiheadAttention` copies queries, keys and values, and in the backward pass fills three tensors with zeros to add
their gradients; here autograd only concatenates. Attention itself is PyTorch's fused kernel in both.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """A pre-norm transformer block: attention, then an MLP with one hidden layer of ReLU units, both residual.

    x' = x + dropout(attention(LayerNorm(x))), result = x' + dropout(MLP(LayerNorm(x'))), with dropout of the attention
    weights and of the MLP's hidden units, too, as in PyTorch.

    Args:
        width: Channels of a token.
        heads: Attention heads; they divide the width.
        feedforward: Hidden units of the MLP.
        dropout: Probability of dropout.
    """

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.into, self.back = nn.Linear(width, feedforward), nn.Linear(feedforward, width)
        nn.init.xavier_uniform_(self.qkv.weight)  # as in nn.MultiheadAttention
        for bias in (self.qkv.bias, self.out.bias):
            nn.init.zeros_(bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens [M, T, width]."""
        tokens = tokens + self._drop(self.attend(self.attention_norm(tokens)))
        hidden = self._drop(self.into(self.mlp_norm(tokens)).relu_())
        return tokens + self._drop(self.back(hidden))

    def attend(self, tokens: Tensor) -> Tensor:
        """Return the result of multi-head attention, [M, T, width]."""
        queries, keys, values = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)  # [M, heads, T, width / heads]
        result: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return result

    def _drop(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.dropout, self.training) if self.dropout > 0 else values


def transformer(width: int, heads: int, feedforward: int, blocks: int, dropout: float = 0.0) -> nn.Sequential:
    """Return `blocks` blocks and a last LayerNorm: a module from tokens [M, T, width] to tokens."""
    return nn.Sequential(*(Block(width, heads, feedforward, dropout) for _ in range(blocks)), nn.LayerNorm(width))
