"""Self-rollout probing, a method of this project: language networks read what they write themselves.

With forced prefixes, every network reads BOS and then k times the letter a, for each prefix length k. After that it
reads its own prediction of the previous step, the most likely symbol or (soft) the whole distribution.

With branches, it chooses its own beginnings: the first string is its most likely one, symbol by symbol. Every other
string leaves the strings before it where the network finds that most likely: it takes the runner-up of one step and
continues with the most likely symbols. So N strings are close to the N most likely ones, whatever the language is.

The features are the network's answers at all T steps (of branches, also what it read); an MLP maps them to the
embedding. Only networks of the formal languages can be probed this way.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.baselines.encoders.encoder import FeatureEncoder, Information, Weights
from rnn_zoos.baselines.encoders.layers import mlp
from rnn_zoos.baselines.encoders.queries import Answers, answer_size, read_answers, writes_symbols
from rnn_zoos.errors import EncoderError
from rnn_zoos.families.formal_languages import BOS, EOS, LENGTH, NUM_SYMBOLS
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


@torch.no_grad()
def most_likely_branches(stack: NetworkStack, branches: int, steps: int) -> tuple[Tensor, Tensor]:
    """Return log-probabilities [M, N, T, V] of M networks along N strings of their own, and these strings [M, N, T].

    The first string is the greedy one. Each further string branches off where the prefix up to a step, and the
    runner-up at this step, are most likely; no string branches off where another one has, or after EOS.
    """
    networks, device = stack.num_networks, stack.weights["linear.bias"].device
    forced = torch.full((networks, 1), BOS, device=device)
    lengths = torch.ones(networks, dtype=torch.long, device=device)
    log_probs, strings, scores = list[Tensor](), list[Tensor](), list[Tensor]()
    for _ in range(branches):
        answers, read = _continue(stack, forced, lengths, steps)
        log_probs.append(answers)
        strings.append(read)
        scores.append(_branching_scores(answers, read, lengths))
        best = torch.stack(scores, dim=1).flatten(1).argmax(dim=1)
        string, step = best // steps, best % steps
        chosen = torch.stack(strings, dim=1)[torch.arange(networks, device=device), string]
        answers = torch.stack(log_probs, dim=1)[torch.arange(networks, device=device), string]
        runner_up = answers.topk(2, dim=-1).indices[torch.arange(networks, device=device), step, 1]
        for number, score in enumerate(scores):  # from here on, this step is taken
            score[(string == number).nonzero()[:, 0], step[string == number]] = -torch.inf
        forced = torch.cat([chosen, chosen[:, :1]], dim=1).scatter(1, step[:, None] + 1, runner_up[:, None])
        lengths = step + 2
    return torch.stack(log_probs, dim=1), torch.stack(strings, dim=1)


def _continue(stack: NetworkStack, forced: Tensor, lengths: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Let M networks read the first `lengths` [M] symbols of `forced` [M, *], then their own most likely symbols.

    Returns log-probabilities [M, T, V], and what was read [M, T].
    """
    one_hot = torch.eye(NUM_SYMBOLS).to(stack.weights["linear.bias"])
    symbols, state, log_probs, read = forced[:, 0], None, list[Tensor](), list[Tensor]()
    for step in range(steps):
        read.append(symbols)
        outputs, state = stack(one_hot[symbols][:, None, None], state)
        log_probs.append(outputs[:, 0, 0].log_softmax(dim=-1))
        following = forced[:, min(step + 1, forced.shape[1] - 1)]
        symbols = torch.where(lengths > step + 1, following, log_probs[-1].argmax(dim=-1))
    return torch.stack(log_probs, dim=1), torch.stack(read, dim=1)


def _branching_scores(log_probs: Tensor, read: Tensor, lengths: Tensor) -> Tensor:
    """Return the log-probability of leaving a string after each step, [M, T]; -inf where it shares its beginning.

    That is the probability of what was read up to the step, times that of the runner-up.
    """
    of_read = log_probs[:, :-1].gather(2, read[:, 1:, None])[..., 0].cumsum(dim=1)
    prefix = F.pad(of_read, (1, 0))  # the probability of BOS is 1
    score = prefix + log_probs.topk(2, dim=-1).values[..., 1]
    steps = torch.arange(read.shape[1], device=read.device)
    closed = (steps < lengths[:, None] - 1) | ((read == EOS).cumsum(dim=1) > 0)
    return score.masked_fill(closed | (steps == read.shape[1] - 1), -torch.inf)


class _WritesStrings(FeatureEncoder):
    """What encoders share that let networks write strings: N strings of T steps, and an MLP that reads features."""

    information: ClassVar[Information] = "queries"

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int,
        strings: int,
        steps: int,
        answers: Answers,
        hidden: int,
        layers: int,
        further_features: int = 0,
    ) -> None:
        super().__init__(architecture, embedding_size)
        if not self.supports(architecture):
            raise EncoderError(
                f"Self-rollout probing feeds networks the {NUM_SYMBOLS} symbols that they write; this architecture has "
                f"{architecture.input_size} inputs and {architecture.output_size} outputs. Choose another encoder."
            )
        self.strings, self.steps, self.answers_form = strings, steps, answers
        per_step = answer_size(architecture, answers) + further_features
        self.head = mlp(strings * steps * per_step, hidden, layers, embedding_size)

    @classmethod
    def supports(cls, architecture: Architecture) -> bool:
        """Return whether the networks read and write the symbols of the formal languages."""
        return writes_symbols(architecture) and architecture.output_size == NUM_SYMBOLS

    @property
    def num_queries(self) -> int:
        """Number of steps that a network is run for to embed it."""
        return self.strings * self.steps


class SelfRollout(_WritesStrings):
    """An MLP on the answers of a network that continues N prefixes.

    By default N=4 prefixes with 3, 5, 7 and 9 times a, T=41 steps (164 queries), and two hidden layers of 256. Raises
    EncoderError for networks that do not read and write the symbols of the formal languages.
    """

    soft: ClassVar[bool] = False

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        prefixes: tuple[int, ...] = (3, 5, 7, 9),
        steps: int = LENGTH - 1,
        answers: Answers = "probabilities",
        hidden: int = 256,
        layers: int = 2,
    ) -> None:
        super().__init__(architecture, embedding_size, len(prefixes), steps, answers, hidden, layers)
        self.prefixes = tuple(prefixes)

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return the answers of M networks, [M, N T V], or [M, N T 2 V] for answers of the form `both`."""
        assert stack is not None, "checked by Encoder.forward"
        distributions = continue_prefixes(stack, self.prefixes, self.steps, self.soft)
        if self.answers_form == "probabilities":
            return distributions.flatten(1)
        return read_answers(distributions.clamp(min=1e-12).log(), self.answers_form).flatten(1)


class SoftSelfRollout(SelfRollout):
    """`SelfRollout` with networks that read their own distribution instead of its most likely symbol."""

    soft = True


class ShortSelfRollout(SelfRollout):
    """`SelfRollout` with two prefixes instead of four: 82 queries, fewer than the 88 of the probing encoders."""

    def __init__(self, architecture: Architecture, embedding_size: int = 16) -> None:
        super().__init__(architecture, embedding_size, prefixes=(3, 7))


class BranchingSelfRollout(_WritesStrings):
    """An MLP on the answers of a network along its own N most likely strings, and on these strings.

    By default N=2 strings of T=41 steps, 82 queries.
    """

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        branches: int = 2,
        steps: int = LENGTH - 1,
        answers: Answers = "probabilities",
        hidden: int = 256,
        layers: int = 2,
    ) -> None:
        super().__init__(architecture, embedding_size, branches, steps, answers, hidden, layers, NUM_SYMBOLS)

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return the answers and the one-hot strings of M networks, [M, N T (V + V)]."""
        assert stack is not None, "checked by Encoder.forward"
        log_probs, strings = most_likely_branches(stack, self.strings, self.steps)
        one_hot = F.one_hot(strings, NUM_SYMBOLS).to(log_probs.dtype)
        return torch.cat([read_answers(log_probs, self.answers_form), one_hot], dim=-1).flatten(1)
