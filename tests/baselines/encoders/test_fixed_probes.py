"""Fixed questions: what is most telling by the definition, what may be looked at, and what the seed decides."""

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from rnn_zoos.baselines.encoders.fixed_probes import _NOISE, answers, most_telling
from rnn_zoos.baselines.encoders.registry import make_encoder
from rnn_zoos.errors import EncoderError
from rnn_zoos.families.formal_languages import LENGTH, NUM_SYMBOLS
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.cells import run_network
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights, unstack_weights

DIGITS = Architecture("lstm", 1, 7, 5, 3)
STRINGS = Architecture("gru", 1, NUM_SYMBOLS, 5, NUM_SYMBOLS)


def left_by_regression(given: torch.Tensor, chosen: tuple[int, ...]) -> float:
    """Squared error of ridge regression over networks, from centred answers of the chosen to those of all questions."""
    centred = (given - given.mean(dim=1, keepdim=True)).double()
    ridge = _NOISE * centred.square().sum() / given.shape[1] / len(given)
    known, all_answers = (torch.cat([centred[c] for c in which], dim=1) for which in (chosen, range(len(given))))
    weights = torch.linalg.solve(known.T @ known + ridge * torch.eye(known.shape[1]), known.T @ all_answers)
    return float((all_answers - known @ weights).square().sum())


def planted(seed: int) -> torch.Tensor:
    """Answers [C, M, A] of 11 networks to 9 questions that say different amounts about 4 hidden causes."""
    generator = torch.Generator().manual_seed(seed)
    causes = torch.randn(11, 4, generator=generator)
    loads = torch.randn(9, 4, 6, generator=generator) * torch.rand(9, 4, 1, generator=generator).pow(3)
    return causes @ loads + 0.05 * torch.randn(9, 11, 6, generator=generator) + 3


@pytest.mark.parametrize("seed", range(5))
def test_each_choice_leaves_least_to_ridge_regression(seed):
    given = planted(seed)
    chosen = most_telling(given, 3)
    assert len(set(chosen)) == 3
    for count in range(3):
        before = tuple(chosen[:count])
        left = {c: left_by_regression(given, (*before, c)) for c in range(len(given)) if c not in before}
        assert chosen[count] == min(left, key=left.__getitem__)
    pairs = {pair: left_by_regression(given, pair) for pair in combinations(range(len(given)), 2)}
    assert left_by_regression(given, tuple(chosen[:2])) < sorted(pairs.values())[len(pairs) // 4]


def test_answers_are_those_of_every_network_alone():
    weights = stack_weights([initial_weights(DIGITS, 2, run) for run in range(4)])
    questions = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(1))
    found = answers(NetworkStack(DIGITS, weights), questions)
    assert found.shape == (4, 2, 6, 3)
    for m, one in enumerate(unstack_weights(weights)):
        assert torch.allclose(found[m], run_network(DIGITS, one, questions)[0].softmax(-1), atol=1e-6)


def made(name: str, arch: Architecture, seed: int, sequences: torch.Tensor | None = None) -> torch.Tensor:
    """Return the questions of an encoder."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = make_encoder(name, arch)
    encoder.fit_inputs(stack_weights([initial_weights(arch, 2, run) for run in range(6)]), sequences)
    assert encoder.num_queries == encoder.questions.shape[0] * encoder.questions.shape[1]
    return encoder.questions


def test_random_questions_are_symbols_or_noise_and_follow_from_the_seed():
    strings, noise = made("random-probes", STRINGS, 3), made("random-probes", DIGITS, 3)
    assert strings.shape == (2, LENGTH - 1, NUM_SYMBOLS) and torch.equal(strings.sum(-1), torch.ones(2, LENGTH - 1))
    assert noise.shape == (2, 44, 7) and torch.equal(noise, made("random-probes", DIGITS, 3))
    assert not torch.equal(noise, made("random-probes", DIGITS, 4))


@pytest.mark.parametrize("name", ["data-probes", "telling-probes"])
def test_questions_of_the_data_are_among_the_sequences(name):
    symbols = torch.randint(NUM_SYMBOLS, (13, LENGTH - 1), generator=torch.Generator().manual_seed(0))
    sequences = F.one_hot(symbols, NUM_SYMBOLS).float()
    asked = made(name, STRINGS, 3, sequences)
    places = [[bool((question == one).all()) for one in sequences].index(True) for question in asked]
    assert len(set(places)) == 2
    for given in (None, sequences[:1], sequences[:, :-1]):
        with pytest.raises(EncoderError, match=r"asks 2 sequences of the data, of 41 steps; it was given"):
            made(name, STRINGS, 3, given)
