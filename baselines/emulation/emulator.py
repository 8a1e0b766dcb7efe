"""Emulation: an LSTM that is told a network's embedding imitates its outputs (the paper, section 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnn_zoos.families.formal_languages import BOS, EOS


class Emulator(nn.Module):
    """An LSTM of the networks' inputs, to which the embedding is given in place of the first input, BOS."""

    def __init__(
        self, input_size: int, output_size: int, embedding_size: int = 16, hidden: int = 256, layers: int = 2
    ) -> None:
        super().__init__()
        self.into = nn.Linear(input_size, hidden)
        self.condition = nn.Linear(embedding_size, hidden)
        self.core = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, output_size)

    def forward(self, embeddings: Tensor, inputs: Tensor) -> Tensor:
        """Return log-probabilities [M, B, T, O] for embeddings [M, Z] and inputs [M, B, T, I], the first not read."""
        networks, sequences = inputs.shape[:2]
        first = self.condition(embeddings)[:, None, None].expand(-1, sequences, -1, -1)
        read = torch.cat([first, self.into(inputs[:, :, 1:])], dim=2)
        hidden, _ = self.core(read.flatten(0, 1))
        log_probs: Tensor = F.log_softmax(self.out(hidden), dim=-1).unflatten(0, (networks, sequences))
        return log_probs

    @torch.no_grad()
    def write(self, embeddings: Tensor, uniforms: Tensor) -> Tensor:
        """Let clones of M networks write: uniforms [M, B, T] in [0, 1) -> sequences uint8 [M, B, T+1] after BOS.

        The same rule as `formal_languages.write_strings`: the first symbol whose cumulated probability is above the
        uniform number.
        """
        networks, sequences, _ = uniforms.shape
        one_hot = torch.eye(self.out.out_features, device=uniforms.device)
        read = self.condition(embeddings).repeat_interleave(sequences, dim=0)
        state, written = None, [torch.full((networks * sequences,), BOS, device=uniforms.device)]
        for uniform in uniforms.flatten(0, 1).unbind(dim=1):
            hidden, state = self.core(read.unsqueeze(1), state)
            below = self.out(hidden[:, 0]).softmax(dim=-1).cumsum(dim=-1) <= uniform[:, None]
            written.append(below.sum(dim=-1).clamp(max=self.out.out_features - 1))
            read = self.into(one_hot[written[-1]])
        strings: Tensor = torch.stack(written, dim=1).to(torch.uint8).unflatten(0, (networks, sequences))
        return strings


def total_variation(emulated: Tensor, true: Tensor) -> Tensor:
    """Return half the sum of absolute differences of two distributions given as log-probabilities [..., O]: [...]."""
    return 0.5 * (emulated.exp() - true.exp()).abs().sum(dim=-1)


def reverse_kl(emulated: Tensor, true: Tensor) -> Tensor:
    """Return KL(emulated || true) in nats of distributions given as log-probabilities [..., O]: [...]."""
    return (emulated.exp() * (emulated - true)).sum(dim=-1)


def before_padding(sequences: Tensor) -> Tensor:
    """Return which steps of strings [..., T+1] are not yet behind an EOS that was read: bool [..., T]."""
    ended: Tensor = (sequences[..., :-1] == EOS).cumsum(dim=-1) > 0
    return ~ended


def mean_over_steps(losses: Tensor, counted: Tensor | None = None) -> Tensor:
    """Return the mean of losses [M, B, T] over all steps, or over those that are `counted`."""
    if counted is None:
        return losses.mean()
    return (losses * counted).sum() / counted.sum().clamp(min=1)
