"""The emulator: an LSTM that imitates the outputs of a network, given its embedding (Herrmann et al., section 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnn_zoos.errors import UnknownNameError
from rnn_zoos.networks.native.recurrence import Recurrence, is_usable

Conditioning: TypeAlias = Literal["every", "first"]
"""At which steps the emulator reads the embedding. The paper's published numbers are with `first`."""

_Run: TypeAlias = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""(columns [N, T, F], state) -> hidden states of the last layer [N, T, hidden], last state."""


class Emulator(nn.Module):
    """An LSTM that reads a network's inputs and predicts its outputs.

    x_1 = A z + a                  z the embedding [Z], which replaces the first input, BOS; if the first input is not
                                   BOS (`reads_first`), + B u_1 + b
    x_t = B u_t + b                t > 1, u_t the input of step t [I]; with conditioning `every` + A z + a
    h_t = LSTM(x_t)                two layers of 256 by default
    log-probabilities of step t = log_softmax(C h_t + c), [O]
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        embedding_size: int = 16,
        hidden: int = 256,
        layers: int = 2,
        conditioning: Conditioning = "every",
        reads_first: bool = False,
    ) -> None:
        super().__init__()
        if conditioning not in get_args(Conditioning):
            raise UnknownNameError.among("conditioning", conditioning, get_args(Conditioning))
        self.conditioning, self.reads_first = conditioning, reads_first
        self.into = nn.Linear(input_size, hidden)
        self.condition = nn.Linear(embedding_size, hidden)
        self.core = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, output_size)

    def forward(self, embeddings: Tensor, inputs: Tensor) -> Tensor:
        """Return log-probabilities [M, B, T, O] from embeddings [M, Z] and inputs [M, B, T, I]."""
        networks, sequences = inputs.shape[:2]
        hidden, _ = self._runner()(self._columns(embeddings, inputs, 0).flatten(0, 1), None)
        log_probs: Tensor = F.log_softmax(self.out(hidden), dim=-1).unflatten(0, (networks, sequences))
        return log_probs

    @torch.no_grad()
    def sample_strings(self, embeddings: Tensor, uniforms: Tensor, bos: int) -> Tensor:
        """Sample strings from the clones of M networks: uint8 [M, B, T+1], BOS first.

        The rule is that of `language_strings.sample_strings`: the first symbol whose cumulative probability exceeds the
        uniform number of the step.

        Args:
            embeddings: Embeddings of the networks, [M, Z].
            uniforms: Random numbers in [0, 1), [M, B, T].
            bos: The symbol BOS.
        """
        one_hot = torch.eye(self.out.out_features, device=uniforms.device)
        run, state = self._runner(), None
        symbols = [torch.full(uniforms.shape[:2], bos, device=uniforms.device)]
        for step, uniform in enumerate(uniforms.unbind(dim=2)):
            columns = self._columns(embeddings, one_hot[symbols[-1]].unsqueeze(2), step)
            hidden, state = run(columns.flatten(0, 1), state)
            below = self.out(hidden[:, 0]).softmax(dim=-1).cumsum(dim=-1) <= uniform.flatten()[:, None]
            found = below.sum(dim=-1).clamp(max=self.out.out_features - 1)
            symbols.append(found.unflatten(0, uniform.shape))
        return torch.stack(symbols, dim=2).to(torch.uint8)

    def _columns(self, embeddings: Tensor, inputs: Tensor, first_step: int) -> Tensor:
        """Return what the emulator reads from step `first_step` on, [M, B, T, I + 1 + Z + 1]: u_t, 1, z, 1.

        Where u_t or z is not read, it is 0 together with the 1 behind it, which stands for the bias.
        """
        networks, sequences, steps, _ = inputs.shape
        places = torch.arange(first_step, first_step + steps, device=inputs.device)[:, None]
        later = (places > 0).to(inputs.dtype)
        told = torch.ones_like(later) if self.conditioning == "every" else 1 - later
        read = torch.ones_like(later) if self.reads_first else later
        parts = [
            inputs * read,
            read.expand(networks, sequences, -1, -1),
            embeddings[:, None, None] * told.expand(networks, sequences, -1, -1),
            told.expand(networks, sequences, -1, -1),
        ]
        return torch.cat(parts, dim=-1)

    def _column_weights(self) -> Tensor:
        """Return the weights of the columns, [hidden, I + 1 + Z + 1]: x_t = weights @ columns."""
        parts = [self.into.weight, self.into.bias[:, None], self.condition.weight, self.condition.bias[:, None]]
        return torch.cat(parts, dim=1)

    def _runner(self) -> _Run:
        """Return the LSTM as a function of columns, natively where possible."""
        weights = self._column_weights()
        if is_usable([weights, *self.core.parameters()], num_layers=self.core.num_layers):
            return self._native_runner(weights)
        return lambda columns, state: self.core(columns @ weights.T, state)

    def _native_runner(self, weights: Tensor) -> _Run:
        """Return the same function, half as expensive: x_t is never computed, its weights are multiplied beforehand."""
        layers: list[list[Tensor]] = [list(layer) for layer in self.core.all_weights]
        layers[0][0] = layers[0][0] @ weights  # [4 hidden, F]
        recurrence = Recurrence("lstm", [[tensor[None] for tensor in layer] for layer in layers])

        def run(columns: Tensor, state: Any) -> tuple[Tensor, Any]:  # noqa: ANN401
            hidden, state = recurrence(columns[None], state)
            return hidden[0], state

        return run
