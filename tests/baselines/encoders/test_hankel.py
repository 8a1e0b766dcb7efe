"""Hankel probing: entries of the matrices, what their features say of automata, queries."""

from itertools import product

import pytest
import torch

from rnn_zoos import Architecture, NetworkStack, RecurrentNetwork, stack_weights
from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.baselines.encoders.probes import hankel
from rnn_zoos.baselines.encoders.probes.hankel import HankelProbing, hankel_matrix, matrix_features
from rnn_zoos.errors import EncoderError
from rnn_zoos.families.automaton import Automaton, draw_automaton
from rnn_zoos.families.sampler import one_hot
from rnn_zoos.networks.mixed_stack import MixedStack

ARCHITECTURE = Architecture("lstm", 2, 3, 7, 2)
STRINGS = torch.tensor([[0, 1, 1, 2, 0], [2, 2, 0, 1, 1], [1, 0, 2, 0, 2], [0, 0, 0, 1, 2]])


def stack_of(architecture: Architecture = ARCHITECTURE, count: int = 2) -> NetworkStack:
    """Networks of random weights, large enough that answers differ."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        networks = [RecurrentNetwork(architecture).weights() for _ in range(count)]
    return NetworkStack(architecture, {name: 4 * tensor for name, tensor in stack_weights(networks).items()})


def accepted(stack: NetworkStack, string: tuple[int, ...]) -> torch.Tensor:
    """The probability of the second output after a string: [M]."""
    outputs, _ = stack(one_hot(torch.tensor([string]), stack.architecture.input_size))
    return outputs[:, 0, -1].softmax(-1)[:, 1]


def continuations(symbols: int, depth: int) -> list[tuple[int, ...]]:
    return [string for length in range(1, depth + 1) for string in product(range(symbols), repeat=length)]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_entries_are_the_answers_to_a_beginning_and_a_continuation(cell):
    stack = stack_of(Architecture(cell, 2, 3, 7, 2))
    matrices = hankel_matrix(stack, STRINGS, every=2, symbols=2, depth=3)
    beginnings = [tuple(string[:length]) for length in (2, 4) for string in STRINGS.tolist()]
    columns = [(), *continuations(2, 3)]
    assert matrices.shape == (2, len(beginnings), len(columns))
    for row, column in product(range(len(beginnings)), range(len(columns))):
        answers = accepted(stack, beginnings[row] + columns[column])
        assert torch.allclose(matrices[:, row, column], answers, atol=1e-6), (beginnings[row], columns[column])


def matrix_of(automaton: Automaton, depth: int) -> torch.Tensor:
    """The Hankel matrix of an automaton, for beginnings that reach all its states, some twice: [1, P, S]."""
    columns = [(), *continuations(automaton.num_symbols, depth)]
    rows = []
    for beginning in continuations(automaton.num_symbols, 5):
        read = [torch.tensor(beginning + column) for column in columns]
        rows.append([float(automaton.answers(string)[-1]) for string in read])
    return torch.tensor(rows)[None]


@pytest.mark.parametrize(("number", "states"), [(3300, 3), (3324, 5), (3325, 6)])
def test_features_count_the_states_of_an_automaton(number, states):
    matrix = matrix_of(draw_automaton(number), 3)
    different = len(torch.unique(matrix[0], dim=0))
    features = matrix_features(matrix)[0]
    size = matrix.shape[2]
    covariance = torch.cov(matrix[0].double().T, correction=0)
    assert different == states, "beginnings of 5 symbols reach all states, continuations of 3 tell them apart"
    assert abs(features[-2] - states) < 0.1 and torch.isclose(features[-1], features[-2].log())
    expected = (torch.linalg.eigvalsh(covariance).flip(0) + 9e-4).sqrt().float()
    assert torch.allclose(features[2 * size : 3 * size].exp(), expected, rtol=1e-3)
    assert int((features[2 * size : 3 * size] > -3).sum()) <= states, "the rank"


def test_features_do_not_depend_on_the_order_of_beginnings_but_on_that_of_continuations():
    matrices = torch.rand(2, 11, 5, generator=torch.Generator().manual_seed(0))
    features = matrix_features(matrices)
    assert features.shape == (2, 3 * 5 + 2)
    assert torch.allclose(matrix_features(matrices.flip(1)), features, atol=1e-5)
    assert not torch.allclose(matrix_features(matrices.flip(2)), features, atol=0.01)
    assert torch.allclose(features[:, 5:10], matrices.std(1, correction=0), atol=1e-6)


def test_queries_are_the_steps_that_networks_are_run_for(monkeypatch):
    steps = []

    class Counting(NetworkStack):
        def __call__(self, inputs, state=None):
            steps.append(inputs.shape[-3] * inputs.shape[-2])
            return super().__call__(inputs, state)

    monkeypatch.setattr(hankel, "NetworkStack", Counting)
    encoder = HankelProbing(ARCHITECTURE, 5, strings=3, steps=7, every=2, continuations=13)
    stack = stack_of()
    assert embeddings_of(encoder, stack.weights, stack).shape == (2, 5)
    assert encoder.depths == [2, 2] and sum(steps) == encoder.num_queries == 2 * 3 * 6 + 3 * 3 * (6 + 12)


def test_networks_of_several_architectures_get_the_features_that_they_get_alone():
    other = Architecture("gru", 1, 3, 5, 2)
    alone = [stack_of(), stack_of(other, 3)]
    mixed = MixedStack([(torch.tensor([0, 3]), alone[0]), (torch.tensor([1, 2, 4]), alone[1])])
    encoder = HankelProbing(ARCHITECTURE, 5, strings=3, steps=6)
    encoder.fit_networks(mixed)
    together = encoder.features(mixed.weights, mixed)
    for stack, places in zip(alone, ([0, 3], [1, 2, 4]), strict=True):
        assert torch.allclose(encoder.features(stack.weights, stack), together[places], atol=1e-5)
    assert torch.allclose(together.mean(dim=0), torch.zeros(()), atol=1e-4)


def test_it_is_for_networks_that_accept_or_reject():
    for sizes in ((6, 6), (1, 2), (9, 2)):
        with pytest.raises(EncoderError, match=f"architecture has {sizes[0]} inputs and {sizes[1]} outputs. Choose"):
            HankelProbing(Architecture("lstm", 1, sizes[0], 5, sizes[1]))
    for wrong in ({"steps": 1}, {"every": 0}, {"strings": 0}):
        with pytest.raises(EncoderError, match="expected at least one string, and `every` from 1"):
            HankelProbing(ARCHITECTURE, **wrong)
