"""Hankel probing, a method of this project: how many states a network tells apart, and how answers depend on them.

For networks that say after every symbol whether they accept what they have read. A row of the Hankel matrix is a
beginning, a column a continuation of up to a few symbols, an entry the probability that the network accepts the one
followed by the other. Of a network that has learned an automaton, rows are equal where the beginnings lead to the same
state (Myhill and Nerode), so an automaton of n states has n different rows, and the rank of the matrix is at most n
(Carlyle and Paz, "Realizations by stochastic finite automata", 1971; as an observation table: Angluin, "Learning
regular sets from queries and counterexamples", 1987).

Beginnings are the prefixes of random strings over the first 2, 3, ... symbols, since a network need not have seen all
symbols in training: one matrix each. The features, computed once per network, are those of the matrices

    mean and deviation of every column        what a continuation leads to, and how much that depends on the state
    logarithms of the singular values         of the centred matrix, divided by the square root of its number of rows
    number of different rows, its logarithm   the sum over rows of 1 / (sum over all rows of their similarity to it)

with similarity exp(-|difference|^2 / 0.5) (Leinster and Cobbold, "Measuring diversity", 2012, order 0). Answers to
single strings are not among them: with them, embeddings of unseen automata were worse (docs/results/automata.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.baselines.encoders.encoder import Information, Weights
from rnn_zoos.baselines.encoders.feature_encoder import FeatureEncoder, FittedToNetworks, map_architectures
from rnn_zoos.baselines.encoders.layers import Standardise, mlp
from rnn_zoos.baselines.encoders.probes.queries import FIT_NETWORKS, LEAST_DEVIATION, evenly_spaced
from rnn_zoos.errors import EncoderError
from rnn_zoos.families.benchmark import Benchmark
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.cells import LayerState
from rnn_zoos.networks.stack import NetworkStack

MOST_SYMBOLS = 8
"""Networks that read more symbols are not supported: there are too many continuations."""
_SIMILAR = 0.5  # squared distance at which two rows count as different states, mostly
_SMALLEST = 0.03  # singular values that are much smaller count as none


class HankelProbing(FittedToNetworks, FeatureEncoder):
    """An MLP on features of Hankel matrices: 80 beginnings per number of symbols, by default; 4,160 queries.

    Args:
        architecture: Architecture of the networks.
        embedding_size: Z, the number of entries of an embedding.
        strings: N, random strings per matrix.
        steps: T, symbols of a string.
        every: Distance between prefixes: those of length `every`, 2 `every`, ... are used.
        continuations: Upper bound on the number of continuations; those of one symbol are always included.
        hidden: Units per hidden layer of the MLP.
        layers: Hidden layers of the MLP.

    Raises:
        EncoderError: The networks do not have two outputs, or the inputs of 2 to 8 symbols; or no beginning ends in a
            string.
    """

    information: ClassVar[Information] = "queries"
    prefixes: Tensor

    def __init__(
        self,
        architecture: Architecture,
        embedding_size: int = 16,
        *,
        strings: int = 4,
        steps: int = 40,
        every: int = 2,
        continuations: int = 20,
        hidden: int = 256,
        layers: int = 2,
    ) -> None:
        super().__init__(architecture, embedding_size)
        if not self.supports(architecture):
            raise EncoderError(
                f"Hankel probing is for networks that read 2 to {MOST_SYMBOLS} symbols and accept or reject; this "
                f"architecture has {architecture.input_size} inputs and {architecture.output_size} outputs. Choose "
                "another encoder."
            )
        if strings < 1 or not 1 <= every <= steps:
            raise EncoderError(
                f"Hankel probing has {strings} strings of {steps} symbols, and a beginning every {every} symbols; "
                "expected at least one string, and `every` from 1 to `steps`."
            )
        self.every = every
        self.alphabets = range(2, architecture.input_size + 1)
        self.depths = [longest(symbols, continuations) for symbols in self.alphabets]
        drawn = [torch.randint(symbols, (strings, steps)) for symbols in self.alphabets]
        self.register_buffer("prefixes", torch.stack(drawn))  # [V - 1, N, T]
        rows = strings * (steps // every)
        columns = [1 + count(symbols, depth) for symbols, depth in zip(self.alphabets, self.depths, strict=True)]
        features = sum(2 * number + min(rows, number) + 2 for number in columns)
        self.standardise = Standardise(features)
        self.head = mlp(features, hidden, layers, embedding_size)

    @classmethod
    def supports(cls, architecture: Architecture) -> bool:
        """Return whether networks have two outputs and few inputs."""
        return 2 <= architecture.input_size <= MOST_SYMBOLS and architecture.output_size == 2

    @classmethod
    def supports_family(cls, benchmark: Benchmark) -> bool:
        """Return whether networks read symbols, and answer to them."""
        return benchmark.input_kind == "symbols"

    @classmethod
    def family_options(cls, benchmark: Benchmark) -> dict[str, Any]:
        """Return the length of the strings of a zoo."""
        return {"steps": benchmark.steps}

    @property
    def num_queries(self) -> int:
        """Number of steps that a network is run for to embed it."""
        alphabets, strings, steps = self.prefixes.shape
        lengths = steps // self.every  # of the beginnings
        continued = sum(count(symbols, depth) for symbols, depth in zip(self.alphabets, self.depths, strict=True))
        return strings * lengths * (alphabets * self.every + continued)

    @torch.no_grad()
    def fit_networks(self, networks: NetworkStack, sequences: Tensor | None = None) -> None:
        """Compute means and standard deviations of the features of training networks."""
        self.standardise.fit(map_architectures(evenly_spaced(networks, FIT_NETWORKS), self.measure), LEAST_DEVIATION)

    def features(self, weights: Weights, stack: NetworkStack | None) -> Tensor:
        """Return standardised features [M, F]."""
        assert stack is not None, "checked by Encoder.forward"
        standardised: Tensor = self.standardise(map_architectures(stack, self.measure))
        return standardised

    def measure(self, architecture: Architecture, weights: Weights) -> Tensor:
        """Return the features [M, F] of networks of one architecture, not standardised."""
        stack = NetworkStack(architecture, weights)
        matrices = zip(self.alphabets, self.depths, self.prefixes, strict=True)
        parts = [matrix_features(hankel_matrix(stack, strings, self.every, *sizes)) for *sizes, strings in matrices]
        return torch.cat(parts, dim=1)


def hankel_matrix(stack: NetworkStack, strings: Tensor, every: int, symbols: int, depth: int) -> Tensor:
    """Return the Hankel matrices of M networks, [M, P, S]: probabilities that they accept.

    Args:
        stack: The networks.
        strings: int64 [N, T]. Beginnings are their prefixes of `every`, 2 `every`, ... symbols: P = N (T // every),
            those of one length beside each other.
        every: See `strings`.
        symbols: V, the continuations consist of the first so many symbols.
        depth: The columns are the empty continuation, and all of 1 to `depth` symbols as `answers_after` orders them.
    """
    inputs = F.one_hot(strings, stack.architecture.input_size).to(stack.weights["linear.bias"].dtype)
    state, empty, states = None, list[Tensor](), list[Sequence[LayerState]]()
    for piece in inputs.split(every, dim=1):
        if piece.shape[1] == every:
            outputs, state = stack(piece, state)
            empty.append(_accepted(outputs))
            states.append(list(state))
    rows = [tuple(torch.cat(parts, dim=1) for parts in zip(*layer, strict=True)) for layer in zip(*states, strict=True)]
    return torch.cat([torch.cat(empty, dim=1)[..., None], answers_after(stack, rows, symbols, depth)], dim=-1)


def answers_after(stack: NetworkStack, state: Sequence[LayerState], symbols: int, depth: int) -> Tensor:
    """Return the probabilities that M networks accept, after all continuations of up to `depth` symbols.

    Args:
        stack: The networks.
        state: Their states after P beginnings.
        symbols: V, how many symbols there are to read.
        depth: Symbols of the longest continuation.

    Returns:
        [M, P, V + V^2 + ...]: shorter continuations first, those of one length in lexicographic order. One step each:
        what continuations have in common is read once.
    """
    one_hot = torch.eye(stack.architecture.input_size).to(stack.weights["linear.bias"])[:symbols, None]  # [V, 1, I]
    rows, answers = state[0][0].shape[1], list[Tensor]()
    for length in range(depth):
        state = [tuple(tensor.repeat_interleave(symbols, dim=1) for tensor in layer) for layer in state]
        outputs, state = stack(one_hot.repeat(rows * symbols**length, 1, 1), state)
        answers.append(_accepted(outputs).unflatten(1, (rows, -1)))
    return torch.cat(answers, dim=-1)


def matrix_features(matrices: Tensor) -> Tensor:
    """Return means and deviations of columns, log singular values, numbers of different rows.

    From [M, P, S] to [M, 2 S + min(P, S) + 2].
    """
    deviations, means = torch.std_mean(matrices, dim=1, correction=0)
    singular = torch.linalg.svdvals(matrices - means[:, None])
    logarithms = (singular.square() / matrices.shape[1] + _SMALLEST**2).log() / 2
    lengths = matrices.square().sum(dim=-1)
    distances = lengths[:, :, None] + lengths[:, None] - 2 * matrices @ matrices.transpose(1, 2)
    similar = torch.exp(-distances / _SIMILAR)
    different = (1 / similar.sum(dim=-1)).sum(dim=-1, keepdim=True)
    return torch.cat([means, deviations, logarithms, different, different.log()], dim=-1)


def count(symbols: int, depth: int) -> int:
    """Return the number of strings of 1 to `depth` symbols."""
    return sum(symbols**length for length in range(1, depth + 1))


def longest(symbols: int, most: int) -> int:
    """Return the largest length (at least 1) such that there are at most `most` strings of up to that length."""
    depth = 1
    while count(symbols, depth + 1) <= most:
        depth += 1
    return depth


def _accepted(outputs: Tensor) -> Tensor:
    """Return the probability of the second output at the last step, [M, B] from logits [M, B, T, 2]."""
    return outputs[:, :, -1].softmax(dim=-1)[..., 1]
