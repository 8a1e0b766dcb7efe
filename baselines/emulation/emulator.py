"""The emulator: an LSTM that imitates the outputs of a network, given its embedding (Herrmann et al., section 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnn_zoos.families.formal_languages import BOS


class Emulator(nn.Module):
    """An LSTM that reads a network's inputs and predicts its outputs.

    x_1 = A z + a          z the embedding [Z]; it takes the place of the first input, BOS
    x_t = B u_t + b        t > 1, u_t the input of step t [I]
    h_t = LSTM(x_t)        two layers of 256 by default
    log-probabilities of step t = log_softmax(C h_t + c), [O]
    """

    def __init__(
        self, input_size: int, output_size: int, embedding_size: int = 16, hidden: int = 256, layers: int = 2
    ) -> None:
        super().__init__()
        self.into = nn.Linear(input_size, hidden)
        self.condition = nn.Linear(embedding_size, hidden)
        self.core = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, output_size)

    def forward(self, embeddings: Tensor, inputs: Tensor) -> Tensor:
        """Return log-probabilities [M, B, T, O] from embeddings [M, Z] and inputs [M, B, T, I]; step 0 is not read."""
        networks, sequences = inputs.shape[:2]
        first = self.condition(embeddings)[:, None, None].expand(-1, sequences, -1, -1)
        read = torch.cat([first, self.into(inputs[:, :, 1:])], dim=2)
        hidden, _ = self.core(read.flatten(0, 1))
        log_probs: Tensor = F.log_softmax(self.out(hidden), dim=-1).unflatten(0, (networks, sequences))
        return log_probs

    @torch.no_grad()
    def sample_strings(self, embeddings: Tensor, uniforms: Tensor) -> Tensor:
        """Sample strings from the clones of M networks: uint8 [M, B, T+1], BOS first.

        The rule is that of `formal_languages.sample_strings`: the first symbol whose cumulative probability exceeds the
        uniform number of the step.

        Args:
            embeddings: Embeddings of the networks, [M, Z].
            uniforms: Random numbers in [0, 1), [M, B, T].
        """
        networks, sequences, _ = uniforms.shape
        one_hot = torch.eye(self.out.out_features, device=uniforms.device)
        read = self.condition(embeddings).repeat_interleave(sequences, dim=0)
        state, symbols = None, [torch.full((networks * sequences,), BOS, device=uniforms.device)]
        for uniform in uniforms.flatten(0, 1).unbind(dim=1):
            hidden, state = self.core(read.unsqueeze(1), state)
            below = self.out(hidden[:, 0]).softmax(dim=-1).cumsum(dim=-1) <= uniform[:, None]
            symbols.append(below.sum(dim=-1).clamp(max=self.out.out_features - 1))
            read = self.into(one_hot[symbols[-1]])
        strings: Tensor = torch.stack(symbols, dim=1).to(torch.uint8).unflatten(0, (networks, sequences))
        return strings
