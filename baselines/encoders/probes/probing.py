"""Probing: a recurrent core reads the outputs of a network on probe sequences (Herrmann et al., ICML 2024, section 3).

N probe sequences of T steps run in parallel. At every step the core, an LSTM, reads the network's answers to all of
them; its last hidden state is mapped linearly to the embedding:

    p_t = ask(q_t)                                     questions of step t from logits q_t, [N, I]
    y_t = read_answers(outputs of the network)         [N, O]
    h_t = core(y_t, h_{t-1})                           LSTMs, two layers of 256 by default
    embedding = W h_T + b

Non-interactive probing learns q_1..q_T, the same for all networks. Interactive probing learns q_1; the later questions
depend on the network's answers so far: q_{t+1} = A h_t + a.

What differs from the paper's form by default, and why: questions are symbols, not mixtures of symbols, because the
networks know symbols only; the first is BOS; answers are read on a logarithmic scale; embeddings start standardised on
training networks, because equal embeddings have nothing to learn from. `PAPER_FORM` has the paper's own choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Weights
from rnn_zoos.baselines.encoders.layers import mlp
from rnn_zoos.baselines.encoders.probes.queries import Answers, Questions, answer_size, ask, read_answers
from rnn_zoos.baselines.encoders.probes.query_encoder import BOS_LOGIT, QueryEncoder
from rnn_zoos.baselines.encoders.probes.stepwise import Core, InitialCore
from rnn_zoos.families.benchmark import InputKind
from rnn_zoos.families.language_strings import BOS
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack

PAPER_FORM: Mapping[str, Any] = MappingProxyType(
    {"answers": "probabilities", "bos": False, "standardised": False, "residual": True, "mlps": True}
)
"""Keyword arguments of both encoders for the form of the paper, besides `questions` (`soft` or `sigmoid`)."""


class _Probing(QueryEncoder):
    """What both kinds of probing share: the core and the head.

    Args:
        architecture, embedding_size, sequences, steps, questions, answers, inputs: As for `QueryEncoder`.
        hidden: Units per layer of the core.
        layers: Layers of the core.
        bos: Whether the first question starts as BOS, if questions are symbols.
        standardised: Whether embeddings start standardised on training networks.
        residual: Whether the layers of the core have residual connections.
        mlps: Whether MLPs with a hidden layer read the answers and write the embedding, instead of linear maps.
        initial_core: How the weights of the core start: `uniform` or `orthogonal`, see `Core`.
    """

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        sequences: int = 4,
        steps: int | None = None,
        hidden: int = 256,
        layers: int = 2,
        questions: Questions | None = None,
        answers: Answers | None = None,
        bos: bool = True,
        standardised: bool = True,
        residual: bool = False,
        mlps: bool = False,
        initial_core: InitialCore = "uniform",
        inputs: InputKind | None = None,
    ) -> None:
        super().__init__(architecture, embedding_size, sequences, steps, questions, answers, inputs)
        self.standardised = standardised
        self.starts_with_bos = bos and self.starts_with_bos
        read = sequences * answer_size(architecture, self.answers_form)
        self.read = mlp(read, hidden, 1, hidden) if mlps else nn.Identity()
        self.core = Core(hidden if mlps else read, hidden, layers, residual, initial_core)
        self.head = mlp(hidden, hidden, 1, embedding_size) if mlps else nn.Linear(hidden, embedding_size)

    def fit_networks(self, networks: NetworkStack, sequences: Tensor | None = None) -> None:
        """Standardise the embeddings of training networks, if asked to."""
        if self.standardised:
            super().fit_networks(networks, sequences)

    def first_logits(self, *shape: int) -> Tensor:
        """Return initial logits of questions, [*shape, I]; the first of a sequence asks BOS."""
        size = self.architecture.input_size
        if not self.starts_with_bos:
            return torch.randn(*shape, size)
        return BOS_LOGIT * nn.functional.one_hot(torch.tensor(BOS), size).expand(*shape, size).clone()


class NonInteractiveProbing(_Probing):
    """Runs all networks on the same learned probe sequences. Keyword arguments are those of `_Probing`.

    Attributes:
        questions: Logits of the probe sequences, [N, T, I].
    """

    def __init__(self, architecture: Architecture, embedding_size: int = 16, **options: Any) -> None:  # noqa: ANN401
        super().__init__(architecture, embedding_size, **options)
        later = torch.randn(self.sequences, self.steps - 1, architecture.input_size)
        self.questions = nn.Parameter(torch.cat([self.first_logits(self.sequences, 1), later], dim=1))

    def embed(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return embeddings [M, Z]."""
        assert stack is not None, "checked by Encoder.forward"
        outputs, _ = stack(ask(self.questions, self.questions_form))
        read = read_answers(outputs, self.answers_form).transpose(1, 2).flatten(2)  # [M, T, N O]
        hidden, _ = self.core.start()(self.read(read))
        embeddings: Tensor = self.head(hidden[:, -1])
        return embeddings


class InteractiveProbing(_Probing):
    """Runs every network on its own probe sequences; each step of them depends on the network's answers so far.

    Keyword arguments are those of `_Probing`.

    Attributes:
        first: Logits of the first questions, [N, I].
        ask: Linear map from the core's hidden state to the logits of the next questions, [N I].
    """

    def __init__(self, architecture: Architecture, embedding_size: int = 16, **options: Any) -> None:  # noqa: ANN401
        super().__init__(architecture, embedding_size, **options)
        self.first = nn.Parameter(self.first_logits(self.sequences))
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
        core, state, core_state, probes = self.core.start(), None, None, []
        for step in range(self.steps):
            probes.append(ask(logits, self.questions_form))
            outputs, state = stack(probes[-1].unsqueeze(2), state)
            read = read_answers(outputs[:, :, 0], self.answers_form).flatten(1)  # [M, N O]
            hidden, core_state = core(self.read(read).unsqueeze(1), core_state)
            if step + 1 < self.steps:
                logits = self.ask(hidden[:, 0]).unflatten(1, (self.sequences, -1))
        return torch.stack(probes, dim=2), hidden[:, 0]
