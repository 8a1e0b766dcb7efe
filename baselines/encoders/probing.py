"""Probing: a recurrent core asks a network by input sequences and reads its answers (the paper, section 3)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Encoder, Information, Weights
from rnn_zoos.baselines.encoders.stepwise import StepwiseLSTM
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack


class _Probing(Encoder):
    """What both kinds share: N sequences of T steps, asked in parallel, and a core that reads all answers of a step."""

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
        # A network whose outputs are as many as its inputs writes what it reads: symbols, which add up to one.
        self.symbols = architecture.input_size == architecture.output_size if symbols is None else symbols
        self.core = nn.LSTM(sequences * architecture.output_size, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, embedding_size)

    @property
    def num_queries(self) -> int:
        """Steps that it runs a network for, to embed it."""
        return self.sequences * self.steps

    def to_inputs(self, questions: Tensor) -> Tensor:
        """Turn questions [..., I] into what a network reads: points of the simplex for symbols, any numbers else."""
        return questions.softmax(dim=-1) if self.symbols else questions

    def to_answers(self, outputs: Tensor) -> Tensor:
        """Turn outputs [M, N, T, O] into what the core reads [M, T, N O]: probabilities."""
        return outputs.softmax(dim=-1).transpose(1, 2).flatten(2)


class NonInteractiveProbing(_Probing):
    """Asks all networks the same learned sequences, and reads the answers with an LSTM."""

    def __init__(self, architecture: Architecture, embedding_size: int = 16, **sizes: Any) -> None:  # noqa: ANN401
        super().__init__(architecture, embedding_size, **sizes)
        self.questions = nn.Parameter(torch.randn(self.sequences, self.steps, architecture.input_size))

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        assert stack is not None, "Encoder.forward looks for it"
        outputs, _ = stack(self.to_inputs(self.questions))
        _, (hidden, _) = self.core(self.to_answers(outputs))
        embeddings: Tensor = self.head(hidden[-1])
        return embeddings


class InteractiveProbing(_Probing):
    """Asks every network what its answers so far make worth asking: the core's state decides the next inputs."""

    def __init__(self, architecture: Architecture, embedding_size: int = 16, **sizes: Any) -> None:  # noqa: ANN401
        super().__init__(architecture, embedding_size, **sizes)
        self.first = nn.Parameter(torch.randn(self.sequences, architecture.input_size))
        self.ask = nn.Linear(self.core.hidden_size, self.sequences * architecture.input_size)

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        embeddings: Tensor = self.head(self.interrogate(stack)[1])
        return embeddings

    def interrogate(self, stack: NetworkStack | None) -> tuple[Tensor, Tensor]:
        """Return what every network was asked, [M, N, T, I], and the core's last output [M, hidden]."""
        assert stack is not None, "Encoder.forward looks for it"
        question = self.first.expand(stack.num_networks, -1, -1)
        core, state, core_state, asked = StepwiseLSTM(self.core), None, None, []
        for _ in range(self.steps):
            asked.append(self.to_inputs(question))
            outputs, state = stack(asked[-1].unsqueeze(2), state)
            read, core_state = core(self.to_answers(outputs)[:, 0], core_state)
            question = self.ask(read).unflatten(1, (self.sequences, -1))
        return torch.stack(asked, dim=2), read
