"""Self-rollout probing, a method of this project: language networks read what they write themselves.

With forced prefixes, every network reads BOS and then k times the letter a, for each prefix length k. After that it
reads its own prediction of the previous step: the most likely symbol.

With branches, it chooses its own beginnings: the first string is its most likely one, symbol by symbol. Every other
string leaves the strings before it where the network finds that most likely: it takes the runner-up of one step and
continues with the most likely symbols. So N strings are close to the N most likely ones, whatever the language is.

The answers along the strings are features. They are arranged by step, or by the symbol that was read and its place in
a run of equal symbols (`strings.by_runs`). The latter generalises better to unseen languages: at which step a run
begins depends on all runs before it, how long it is does not. By runs, every symbol has an MLP of its own, and their
outputs are added: what was learned of the runs of one symbol holds whatever the runs of the others are. By step, one
MLP reads all. Only networks of the formal languages can be probed this way.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnn_zoos.baselines.encoders.encoder import Information, Weights
from rnn_zoos.baselines.encoders.feature_encoder import FeatureEncoder, FittedToNetworks
from rnn_zoos.baselines.encoders.layers import Standardise, mlp
from rnn_zoos.baselines.encoders.probes.queries import (
    FIT_NETWORKS,
    LEAST_DEVIATION,
    Answers,
    answer_size,
    evenly_spaced,
    input_kind,
    read_answers,
)
from rnn_zoos.baselines.encoders.probes.strings import (
    by_runs,
    continue_prefixes,
    most_likely_branches,
    read_by_continuing,
)
from rnn_zoos.errors import EncoderError, UnknownNameError
from rnn_zoos.families.benchmark import Benchmark
from rnn_zoos.families.language_strings import LENGTH, NUM_SYMBOLS
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack

Arrangement: TypeAlias = Literal["runs", "steps"]
"""How answers along a string are arranged: by symbol and place in its run, or by step."""

LONGEST_RUN = 12
"""Places per symbol: at most 9 times a, up to 2 more of the other letters, and one of what follows."""


class SymbolwiseHead(nn.Module):
    """Adds the outputs of one MLP per symbol: from features of N strings by runs, [M, N V R C], to [M, Z]."""

    def __init__(self, strings: int, features: int, hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.strings = strings
        self.parts = nn.ModuleList(mlp(features // NUM_SYMBOLS, hidden, layers, outputs) for _ in range(NUM_SYMBOLS))

    def forward(self, features: Tensor) -> Tensor:
        """Return the sum of what the MLPs make of the runs of their symbols, in all strings."""
        runs = features.unflatten(1, (self.strings, NUM_SYMBOLS, -1))
        read = [part(of_symbol.flatten(1)) for part, of_symbol in zip(self.parts, runs.unbind(2), strict=True)]
        return torch.stack(read).sum(dim=0)


class _WritesStrings(FittedToNetworks, FeatureEncoder):
    """Base class of encoders that let networks write N strings of T steps: MLPs read their standardised outputs.

    Args:
        architecture: Architecture of the networks.
        embedding_size: Z, the number of entries of an embedding.
        strings: N, the number of strings.
        steps: T, steps of each.
        arranged: How the answers are arranged.
        answers: How outputs are read.
        hidden: Units per hidden layer of the MLPs.
        layers: Hidden layers of the MLPs; by default 1 for answers by runs, else 2.
        apart: Whether every symbol has an MLP of its own, if answers are arranged by runs.

    Raises:
        EncoderError: The networks do not read and write the symbols of the formal languages, or there is no prefix.
        UnknownNameError: `arranged` or `answers` is unknown.
    """

    information: ClassVar[Information] = "queries"

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        *,
        strings: int = 2,
        steps: int = LENGTH - 1,
        arranged: Arrangement = "runs",
        answers: Answers = "both",
        hidden: int = 256,
        layers: int | None = None,
        apart: bool = True,
    ) -> None:
        super().__init__(architecture, embedding_size)
        if not self.supports(architecture):
            raise EncoderError(
                f"Self-rollout probing feeds networks the {NUM_SYMBOLS} symbols that they write; this architecture has "
                f"{architecture.input_size} inputs and {architecture.output_size} outputs. Choose another encoder."
            )
        if strings < 1:
            raise EncoderError(f"Self-rollout probing was given {strings} prefixes; expected at least 1.")
        if arranged not in ("runs", "steps"):
            raise UnknownNameError.among("arrangement of answers", arranged, ["runs", "steps"])
        self.strings, self.steps, self.arranged, self.answers_form = strings, steps, arranged, answers
        size = answer_size(architecture, answers)
        places = NUM_SYMBOLS * LONGEST_RUN * (size + 1) if arranged == "runs" else steps * (size + NUM_SYMBOLS)
        features = strings * places
        self.standardise = Standardise(features)
        if arranged == "runs" and apart:
            self.head = SymbolwiseHead(strings, features, hidden, layers or 1, embedding_size)
        else:
            self.head = mlp(features, hidden, layers or 2, embedding_size)

    @classmethod
    def supports(cls, architecture: Architecture) -> bool:
        """Return whether the networks read and write the symbols of the formal languages."""
        return input_kind(architecture) == "written" and architecture.output_size == NUM_SYMBOLS

    @classmethod
    def supports_family(cls, benchmark: Benchmark) -> bool:
        """Return whether networks write symbols."""
        return benchmark.input_kind == "written"

    @property
    def num_queries(self) -> int:
        """Number of steps that a network is run for to embed it."""
        return self.strings * self.steps

    @abstractmethod
    def write(self, stack: NetworkStack) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [M, N, T, V] of M networks along N strings, and the strings, one-hot."""

    @torch.no_grad()
    def fit_networks(self, networks: NetworkStack, sequences: Tensor | None = None) -> None:
        """Compute means and standard deviations of the features of training networks."""
        self.standardise.fit(self.arrange(evenly_spaced(networks, FIT_NETWORKS)), LEAST_DEVIATION)

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return standardised features [M, F]."""
        assert stack is not None, "checked by Encoder.forward"
        standardised: Tensor = self.standardise(self.arrange(stack))
        return standardised

    def arrange(self, stack: NetworkStack) -> Tensor:
        """Return the answers of M networks along their strings, arranged: [M, F]."""
        log_probs, read = self.write(stack)
        answers = read_answers(log_probs, self.answers_form)
        if self.arranged == "steps":
            return torch.cat([answers, read], dim=-1).flatten(1)
        return by_runs(answers, read.argmax(dim=-1), LONGEST_RUN).flatten(1)


class SelfRollout(_WritesStrings):
    """Lets networks continue N prefixes, by default 4 and 9 times a: 82 queries.

    Args:
        architecture: Architecture of the networks.
        embedding_size: Z, the number of entries of an embedding.
        prefixes: Lengths of the prefixes.
        **options: As for `_WritesStrings`.
    """

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        prefixes: tuple[int, ...] = (4, 9),
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(architecture, embedding_size, strings=len(prefixes), **options)
        self.prefixes = tuple(prefixes)

    def write(self, stack: NetworkStack) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [M, N, T, V] of M networks that continue the prefixes, and what they read."""
        distributions = continue_prefixes(stack, self.prefixes, self.steps)
        read = F.one_hot(read_by_continuing(distributions, self.prefixes), NUM_SYMBOLS)
        return distributions.clamp(min=1e-12).log(), read.to(distributions.dtype)


class StepwiseSelfRollout(SelfRollout):
    """`SelfRollout` with answers arranged by step, and four prefixes: 164 queries."""

    def __init__(self, architecture: Architecture, embedding_size: int = 16, **options: Any) -> None:  # noqa: ANN401
        super().__init__(architecture, embedding_size, **{"prefixes": (3, 5, 7, 9), "arranged": "steps", **options})


class BranchingSelfRollout(_WritesStrings):
    """Lets networks write their own N most likely strings, by default 2: 82 queries.

    Args:
        architecture: Architecture of the networks.
        embedding_size: Z, the number of entries of an embedding.
        branches: N, the number of strings.
        **options: As for `_WritesStrings`.
    """

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        branches: int = 2,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(architecture, embedding_size, strings=branches, **options)

    def write(self, stack: NetworkStack) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [M, N, T, V] of M networks along their strings, and the strings."""
        log_probs, strings = most_likely_branches(stack, self.strings, self.steps)
        return log_probs, F.one_hot(strings, NUM_SYMBOLS).to(log_probs.dtype)
