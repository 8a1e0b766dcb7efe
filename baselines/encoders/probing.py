"""Probing: a recurrent core reads the outputs of a network on probe sequences (Herrmann et al., ICML 2024, section 3).

N probe sequences of T steps run in parallel. At every step the core, an LSTM, reads the output probabilities of all of
them; its last hidden state is mapped linearly to the embedding:

    p_t = probes of step t, [N, I]                     logits q_t themselves, or softmax(q_t) if inputs are symbols
    y_t = softmax(outputs of the network), [N, O]
    h_t = LSTM(y_t, h_{t-1})                           two layers of 256 by default
    embedding = W h_T + b

Non-interactive probing learns q_1..q_T, the same for all networks. Interactive probing learns q_1; the later probes
depend on the network's outputs so far: q_{t+1} = A h_t + a.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Encoder, Information, Weights
from rnn_zoos.baselines.encoders.queries import responses, writes_symbols
from rnn_zoos.baselines.encoders.stepwise import StepwiseLSTM
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack


class _Probing(Encoder):
    """What both kinds of probing share: the core, the head and the sizes.

    `symbols` says whether probes are distributions over symbols; by default it follows from the architecture.
    """

    information: ClassVar[Information] = "queries"

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        sequences: int = 4,
        steps: int = 22,
        hidden: int = 256,
        layers: int = 2,
        symbols: bool | None = None,
    ) -> None:
        super().__init__(architecture, embedding_size)
        self.sequences, self.steps = sequences, steps
        self.symbols = writes_symbols(architecture) if symbols is None else symbols
        self.core = nn.LSTM(sequences * architecture.output_size, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, embedding_size)

    @property
    def num_queries(self) -> int:
        """Number of steps that a network is run for to embed it."""
        return self.sequences * self.steps

    def to_probes(self, logits: Tensor) -> Tensor:
        """Return the probes [..., I] that networks read: distributions over symbols, or the numbers themselves."""
        return logits.softmax(dim=-1) if self.symbols else logits


class NonInteractiveProbing(_Probing):
    """Runs all networks on the same learned probe sequences.

    Attributes:
        questions: Logits of the probe sequences, [N, T, I].
    """

    def __init__(self, architecture: Architecture, embedding_size: int = 16, **sizes: Any) -> None:  # noqa: ANN401
        super().__init__(architecture, embedding_size, **sizes)
        self.questions = nn.Parameter(torch.randn(self.sequences, self.steps, architecture.input_size))

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        assert stack is not None, "checked by Encoder.forward"
        read = responses(stack, self.to_probes(self.questions)).transpose(1, 2).flatten(2)  # [M, T, N O]
        _, (hidden, _) = self.core(read)
        embeddings: Tensor = self.head(hidden[-1])
        return embeddings


class InteractiveProbing(_Probing):
    """Runs every network on its own probe sequences; each step of them depends on the network's outputs so far.

    Attributes:
        first: Logits of the first probes, [N, I].
        ask: Linear map from the core's hidden state to the logits of the next probes, [N I].
    """

    def __init__(self, architecture: Architecture, embedding_size: int = 16, **sizes: Any) -> None:  # noqa: ANN401
        super().__init__(architecture, embedding_size, **sizes)
        self.first = nn.Parameter(torch.randn(self.sequences, architecture.input_size))
        self.ask = nn.Linear(self.core.hidden_size, self.sequences * architecture.input_size)

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        assert stack is not None, "checked by Encoder.forward"
        _, hidden = self.interrogate(stack)
        embeddings: Tensor = self.head(hidden)
        return embeddings

    def interrogate(self, stack: NetworkStack) -> tuple[Tensor, Tensor]:
        """Return the probe sequences of every network, [M, N, T, I], and the core's last hidden state [M, hidden]."""
        logits = self.first.expand(stack.num_networks, -1, -1)
        core, state, core_state, probes = StepwiseLSTM(self.core), None, None, []
        for _ in range(self.steps):
            probes.append(self.to_probes(logits))
            outputs, state = stack(probes[-1].unsqueeze(2), state)
            read = outputs[:, :, 0].softmax(dim=-1).flatten(1)  # [M, N O]
            hidden, core_state = core(read, core_state)
            logits = self.ask(hidden).unflatten(1, (self.sequences, -1))
        return torch.stack(probes, dim=2), hidden
