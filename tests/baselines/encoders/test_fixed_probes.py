"""Fixed probes: the selection follows its definition, and the probe sequences come from the data and the seed."""

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from rnn_zoos.baselines.encoders.probes.fixed_probes import RIDGE, select_probes
from rnn_zoos.baselines.encoders.probes.queries import input_kind, responses
from rnn_zoos.baselines.encoders.registry import make_encoder
from rnn_zoos.errors import EncoderError
from rnn_zoos.families.language_strings import LENGTH, NUM_SYMBOLS
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.cells import run_network
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights, unstack_weights

DIGITS = Architecture("lstm", 1, 7, 5, 3)
STRINGS = Architecture("gru", 1, NUM_SYMBOLS, 5, NUM_SYMBOLS)


def regression_residual(candidates: torch.Tensor, selected: tuple[int, ...]) -> float:
    """Residual of ridge regression over networks, from the centred responses to selected probes to those to all."""
    centred = (candidates - candidates.mean(dim=1, keepdim=True)).double()
    ridge = RIDGE * centred.square().sum() / candidates.shape[1] / len(candidates)
    inputs, outputs = (torch.cat([centred[c] for c in which], dim=1) for which in (selected, range(len(candidates))))
    weights = torch.linalg.solve(inputs.T @ inputs + ridge * torch.eye(inputs.shape[1]), inputs.T @ outputs)
    return float((outputs - inputs @ weights).square().sum())


def planted_responses(seed: int) -> torch.Tensor:
    """Responses [C, M, F] of 11 networks to 9 probes, which depend to different degrees on 4 latent factors."""
    generator = torch.Generator().manual_seed(seed)
    factors = torch.randn(11, 4, generator=generator)
    loadings = torch.randn(9, 4, 6, generator=generator) * torch.rand(9, 4, 1, generator=generator).pow(3)
    return factors @ loadings + 0.05 * torch.randn(9, 11, 6, generator=generator) + 3


@pytest.mark.parametrize("seed", range(5))
def test_each_selected_probe_minimises_the_residual_of_ridge_regression(seed):
    candidates = planted_responses(seed)
    selected = select_probes(candidates, 3)
    assert len(set(selected)) == 3
    for count in range(3):
        before = tuple(selected[:count])
        residuals = {c: regression_residual(candidates, (*before, c)) for c in range(9) if c not in before}
        assert selected[count] == min(residuals, key=residuals.__getitem__)
    pairs = {pair: regression_residual(candidates, pair) for pair in combinations(range(9), 2)}
    assert regression_residual(candidates, tuple(selected[:2])) < sorted(pairs.values())[len(pairs) // 4]


def test_responses_equal_those_of_every_network_run_alone():
    weights = stack_weights([initial_weights(DIGITS, 2, run) for run in range(4)])
    probes = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(1))
    found = responses(NetworkStack(DIGITS, weights), probes)
    assert found.shape == (4, 2, 6, 3)
    for m, one in enumerate(unstack_weights(weights)):
        assert torch.allclose(found[m], run_network(DIGITS, one, probes)[0].softmax(-1), atol=1e-6)


def test_networks_with_as_many_outputs_as_inputs_are_taken_to_write_symbols():
    assert input_kind(STRINGS) == "written" and input_kind(DIGITS) == "numbers" == input_kind(STRINGS, "numbers")


def probes_of(name: str, arch: Architecture, seed: int, sequences: torch.Tensor | None = None) -> torch.Tensor:
    """Return the probe sequences of an encoder made with a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = make_encoder(name, arch)
    encoder.fit_inputs(stack_weights([initial_weights(arch, 2, run) for run in range(6)]), sequences)
    assert encoder.num_queries == encoder.questions.shape[0] * encoder.questions.shape[1]
    return encoder.questions


def test_random_probes_are_symbols_or_noise_and_follow_from_the_seed():
    strings, noise = probes_of("random-probes", STRINGS, 3), probes_of("random-probes", DIGITS, 3)
    assert strings.shape == (2, LENGTH - 1, NUM_SYMBOLS) and torch.equal(strings.sum(-1), torch.ones(2, LENGTH - 1))
    assert noise.shape == (2, 50, 7) and torch.equal(noise, probes_of("random-probes", DIGITS, 3))
    assert not torch.equal(noise, probes_of("random-probes", DIGITS, 4))


@pytest.mark.parametrize("name", ["data-probes", "telling-probes"])
def test_probes_from_the_data_are_different_training_sequences(name):
    symbols = torch.randint(NUM_SYMBOLS, (13, LENGTH - 1), generator=torch.Generator().manual_seed(0))
    sequences = F.one_hot(symbols, NUM_SYMBOLS).float()
    probes = probes_of(name, STRINGS, 3, sequences)
    numbers = [[bool((probe == one).all()) for one in sequences].index(True) for probe in probes]
    assert len(set(numbers)) == 2
    for unsuitable in (None, sequences[:1], sequences[:, :-1]):
        with pytest.raises(EncoderError, match=r"needs 2 training sequences of at least 41 steps; found"):
            probes_of(name, STRINGS, 3, unsuitable)
