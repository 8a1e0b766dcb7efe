"""Self-rollout probing, a method of this project: language networks read what they write themselves.

Every network reads BOS and then k times the letter a, for each prefix length k. After that it reads its own prediction
of the previous step, the most likely symbol or (soft) the whole distribution. The features are the output distributions
of all T steps; an MLP maps them to the embedding. Only networks of the formal languages can be probed this way.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rnn_zoos.baselines.encoders.encoder import FeatureEncoder, Information, Weights
from rnn_zoos.baselines.encoders.layers import mlp
from rnn_zoos.baselines.encoders.queries import writes_symbols
from rnn_zoos.errors import EncoderError
from rnn_zoos.families.formal_languages import BOS, LENGTH, NUM_SYMBOLS
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack

LETTER_A = 0


@torch.no_grad()
def continue_prefixes(stack: NetworkStack, prefixes: tuple[int, ...], steps: int, soft: bool) -> Tensor:
    """Return the output distributions [M, N, T, V] of M networks that continue N prefixes for T steps in all.

    Prefix n is BOS and `prefixes[n]` times the letter a. Then a network reads its own most likely symbol or, if `soft`,
    its own distribution.
    """
    one_hot = torch.eye(NUM_SYMBOLS).to(stack.weights["linear.bias"])  # device and precision of the networks
    lengths = torch.tensor(prefixes, device=one_hot.device)
    inputs = one_hot[BOS].expand(stack.num_networks, len(prefixes), -1)  # [M, N, V], of one step
    state, distributions = None, []
    for step in range(steps):
        outputs, state = stack(inputs.unsqueeze(2), state)
        distributions.append(outputs[:, :, 0].softmax(dim=-1))
        prediction = distributions[-1] if soft else one_hot[distributions[-1].argmax(dim=-1)]
        inputs = torch.where((lengths > step)[:, None], one_hot[LETTER_A], prediction)
    return torch.stack(distributions, dim=2)


class SelfRollout(FeatureEncoder):
    """An MLP on the output distributions [N, T, V] of a network that continues N prefixes.

    By default N=4 prefixes with 3, 5, 7 and 9 times a, T=41 steps (164 queries), and two hidden layers of 256. Raises
    EncoderError for networks that do not read and write the symbols of the formal languages.
    """

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
        if not self.supports(architecture):
            raise EncoderError(
                f"Self-rollout probing feeds networks the {NUM_SYMBOLS} symbols that they write; this architecture has "
                f"{architecture.input_size} inputs and {architecture.output_size} outputs. Choose another encoder."
            )
        self.prefixes, self.steps = prefixes, steps
        self.head = mlp(len(prefixes) * steps * NUM_SYMBOLS, hidden, layers, embedding_size)

    @classmethod
    def supports(cls, architecture: Architecture) -> bool:
        """Return whether the networks read and write the symbols of the formal languages."""
        return writes_symbols(architecture) and architecture.output_size == NUM_SYMBOLS

    @property
    def num_queries(self) -> int:
        """Number of steps that a network is run for to embed it."""
        return len(self.prefixes) * self.steps

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return the output distributions of M networks, [M, N T V]."""
        assert stack is not None, "checked by Encoder.forward"
        return continue_prefixes(stack, self.prefixes, self.steps, self.soft).flatten(1)


class SoftSelfRollout(SelfRollout):
    """`SelfRollout` with networks that read their own distribution instead of its most likely symbol."""

    soft = True


class ShortSelfRollout(SelfRollout):
    """`SelfRollout` with two prefixes instead of four: 82 queries, fewer than the 88 of the probing encoders."""

    def __init__(self, architecture: Architecture, embedding_size: int = 16) -> None:
        super().__init__(architecture, embedding_size, prefixes=(3, 7))
