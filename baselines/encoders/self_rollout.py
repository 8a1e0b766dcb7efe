"""Self-rollout probing, ours: a language network is started from forced prefixes and then reads what it writes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rnn_zoos.baselines.encoders.encoder import FeatureEncoder, Information, Weights, mlp
from rnn_zoos.errors import EncoderError
from rnn_zoos.families.formal_languages import BOS, LENGTH, NUM_SYMBOLS
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack

LETTER_A = 0


@torch.no_grad()
def continue_prefixes(stack: NetworkStack, prefixes: tuple[int, ...], steps: int, soft: bool) -> Tensor:
    """Return probabilities [M, K, T, V] of all next symbols after BOS, k times a (k of K `prefixes`), and then itself.

    A network is fed its own most likely symbol, or, `soft`, its own distribution.
    """
    one_hot = torch.eye(NUM_SYMBOLS).to(stack.weights["linear.bias"])  # device and precision of the networks
    lengths = torch.tensor(prefixes, device=one_hot.device)
    fed = one_hot[BOS].expand(stack.num_networks, len(prefixes), -1)
    state, answers = None, []
    for step in range(steps):
        outputs, state = stack(fed.unsqueeze(2), state)
        answers.append(outputs[:, :, 0].softmax(dim=-1))
        own = answers[-1] if soft else one_hot[answers[-1].argmax(dim=-1)]
        fed = torch.where((lengths > step)[:, None], one_hot[LETTER_A], own)
    return torch.stack(answers, dim=2)


class SelfRollout(FeatureEncoder):
    """An MLP on the distributions that a network goes through when it continues forced beginnings of a string."""

    information: ClassVar[Information] = "queries"
    soft: ClassVar[bool] = False

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        prefixes: tuple[int, ...] = (3, 5, 7, 9),
        steps: int = LENGTH - 1,
        hidden: int = 256,
        layers: int = 2,
    ) -> None:
        super().__init__(architecture, embedding_size)
        if (architecture.input_size, architecture.output_size) != (NUM_SYMBOLS, NUM_SYMBOLS):
            raise EncoderError(
                f"Self-rollout probing lets networks read the {NUM_SYMBOLS} symbols that they write; this architecture "
                f"reads {architecture.input_size} numbers and writes {architecture.output_size}. Take another encoder."
            )
        self.prefixes, self.steps = prefixes, steps
        self.head = mlp(len(prefixes) * steps * NUM_SYMBOLS, hidden, layers, embedding_size)

    @property
    def num_queries(self) -> int:
        """Steps that it runs a network for, to embed it."""
        return len(self.prefixes) * self.steps

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return the answers of M networks, [M, K T V]."""
        assert stack is not None, "Encoder.forward looks for it"
        return continue_prefixes(stack, self.prefixes, self.steps, self.soft).flatten(1)


class SoftSelfRollout(SelfRollout):
    """The same with networks that read their own distributions."""

    soft = True


class ShortSelfRollout(SelfRollout):
    """Two beginnings instead of four: 82 queries, not more than the probing encoders have."""

    def __init__(self, architecture: Architecture, embedding_size: int = 16) -> None:
        super().__init__(architecture, embedding_size, prefixes=(3, 7))
