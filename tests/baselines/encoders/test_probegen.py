"""ProbeGen: a linear generator, probes that networks can read, and embeddings of their answers."""

import pytest
import torch

from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.baselines.encoders.layers import mlp, standardise_outputs
from rnn_zoos.baselines.encoders.probes.probegen import ProbeGen, ProbeGenerator
from rnn_zoos.baselines.encoders.probes.queries import read_answers
from rnn_zoos.families.language_strings import BOS, NUM_SYMBOLS
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.cells import run_network
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights, unstack_weights

STRINGS = Architecture("gru", 2, NUM_SYMBOLS, 5, NUM_SYMBOLS)
DIGITS = Architecture("lstm", 1, 7, 5, 3)


def networks(arch: Architecture, count: int = 4) -> dict[str, torch.Tensor]:
    return stack_weights([initial_weights(arch, 2, run) for run in range(count)])


def test_the_generator_is_linear_in_the_codes_up_to_one_bias_and_starts_at_deviation_one():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = ProbeGenerator(sequences=300, steps=9, inputs=5, latent=32, layers=3)
    logits = generator()
    assert logits.shape == (300, 9, 5) and logits.std().item() == pytest.approx(1, abs=0.2)
    product = generator.maps[0].T @ generator.maps[1].T @ generator.maps[2].T
    with torch.no_grad():
        generator.bias.normal_()
        expected = (generator.codes @ product).unflatten(1, (9, 5)) + generator.bias
        assert torch.allclose(generator(), expected, atol=1e-4)
        generator.codes.mul_(2)
        assert torch.allclose(generator() - generator.bias, 2 * (expected - generator.bias), atol=1e-4)


@pytest.mark.parametrize(("arch", "shape"), [(STRINGS, (4, 22, NUM_SYMBOLS)), (DIGITS, (2, 50, 7))])
def test_default_probes_have_as_many_queries_as_those_of_probing(arch, shape):
    with torch.random.fork_rng():
        torch.manual_seed(0)  # of 100 draws, two have a sequence that does not begin with BOS
        encoder = ProbeGen(arch)
    probes = encoder.probes()
    assert probes.shape == shape and encoder.num_queries == shape[0] * shape[1]
    one_hot = bool(((probes == 0) | (probes == 1)).all() and (probes.sum(-1) == 1).all())
    assert one_hot == (arch is STRINGS)
    if arch is STRINGS:
        assert (probes[:, 0].argmax(-1) == BOS).all(), "sequences begin as those that the networks know"
        assert not torch.equal(probes[0, 1:], probes[1, 1:])


@pytest.mark.parametrize("arch", [STRINGS, DIGITS])
def test_the_mlp_reads_the_answers_of_every_network(arch):
    encoder, weights = ProbeGen(arch, 6, sequences=3, steps=5, hidden=11), networks(arch)
    answers = [
        read_answers(run_network(arch, one, encoder.probes())[0], encoder.answers_form).flatten()
        for one in unstack_weights(weights)
    ]
    expected = encoder.head(torch.stack(answers))
    assert torch.allclose(encoder.embed(weights, NetworkStack(arch, weights)), expected, atol=1e-5)


@pytest.mark.parametrize("arch", [STRINGS, DIGITS])
def test_every_part_of_the_generator_learns(arch):
    encoder, weights = ProbeGen(arch, 6, sequences=3, steps=5, hidden=11), networks(arch)
    encoder.fit_inputs(weights)
    direction = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    (embeddings_of(encoder, weights, NetworkStack(arch, weights)) * direction).sum().backward()
    for name, parameter in encoder.generator.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_outputs_of_an_mlp_are_standardised():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head, inputs = mlp(5, 37, 1, 3), torch.randn(50, 5)
    before = head(inputs)
    standardise_outputs(head, before)
    after = head(inputs)
    assert torch.allclose(after.mean(dim=0), torch.zeros(3), atol=1e-5)
    assert torch.allclose(after.std(dim=0, correction=0), torch.ones(3), atol=1e-5)
    expected = (before - before.mean(dim=0)) / before.std(dim=0, correction=0)
    assert torch.allclose(after, expected, atol=1e-4)
