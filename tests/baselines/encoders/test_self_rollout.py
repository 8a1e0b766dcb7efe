"""Self-rollout: strings that networks write themselves, and their answers along them, against loops in plain Python."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from rnn_zoos import Architecture, NetworkStack, RecurrentNetwork, stack_weights
from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.baselines.encoders.probes.self_rollout import SymbolwiseHead
from rnn_zoos.baselines.encoders.probes.strings import (
    by_runs,
    continue_prefixes,
    most_likely_branches,
    read_by_continuing,
)
from rnn_zoos.baselines.encoders.registry import make_encoder
from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.language_strings import BOS, EOS, NUM_SYMBOLS
from rnn_zoos.networks.cells import run_network
from rnn_zoos.networks.weights import unstack_weights

ARCHITECTURE = Architecture("gru", 2, NUM_SYMBOLS, 9, NUM_SYMBOLS)
STEPS = 7


def networks(count: int, architecture: Architecture = ARCHITECTURE) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        weights = stack_weights([RecurrentNetwork(architecture).weights() for _ in range(count)])
    return {name: 5 * tensor for name, tensor in weights.items()}


def reference(weights: dict[str, torch.Tensor], branches: int) -> list[list[int]]:
    """Return the strings of one network, each found by running the network alone on whole prefixes."""

    def log_probs(prefix: list[int]) -> list[float]:
        outputs, _ = run_network(ARCHITECTURE, weights, torch.eye(NUM_SYMBOLS)[prefix][None])
        return outputs[0, -1].log_softmax(-1).tolist()

    def ranked(prefix: list[int]) -> list[int]:
        return sorted(range(NUM_SYMBOLS), key=lambda symbol: -log_probs(prefix)[symbol])

    def finish(prefix: list[int]) -> list[int]:
        while len(prefix) < STEPS:
            prefix = [*prefix, ranked(prefix)[0]]
        return prefix

    strings, taken, starts = [finish([BOS])], set(), [1]
    while len(strings) < branches:
        candidates = {}
        for number, string in enumerate(strings):
            for step in range(starts[number] - 1, STEPS - 1):
                prefix = string[: step + 1]
                if EOS not in prefix and (number, step) not in taken:
                    likely = sum(log_probs(prefix[:place])[prefix[place]] for place in range(1, len(prefix)))
                    candidates[number, step] = likely + log_probs(prefix)[ranked(prefix)[1]]
        number, step = max(candidates, key=candidates.__getitem__)
        taken.add((number, step))
        prefix = strings[number][: step + 1]
        strings.append(finish([*prefix, ranked(prefix)[1]]))
        starts.append(step + 2)
    return strings


def test_branches_are_those_of_a_search_in_plain_python():
    weights = networks(6)
    log_probs, strings = most_likely_branches(NetworkStack(ARCHITECTURE, weights), 5, STEPS)
    assert log_probs.shape == (6, 5, STEPS, NUM_SYMBOLS)
    for m, single in enumerate(unstack_weights(weights)):
        assert strings[m].tolist() == reference(single, 5)
        for n in range(5):
            outputs, _ = run_network(ARCHITECTURE, single, torch.eye(NUM_SYMBOLS)[strings[m, n]][None])
            assert torch.allclose(outputs[0].log_softmax(-1), log_probs[m, n], atol=1e-5)
    assert len({tuple(string) for string in strings[0].tolist()}) == 5, "all strings differ"


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_networks_that_continue_prefixes_read_what_they_write(cell):
    """Compared with every network run alone on the whole sequence so far."""
    arch = replace(ARCHITECTURE, cell=cell)
    weights = {name: tensor.double() for name, tensor in networks(4, arch).items()}
    one_hot = torch.eye(NUM_SYMBOLS, dtype=torch.float64)
    found = continue_prefixes(NetworkStack(arch, weights), (0, 2, 5), 11)
    assert found.shape == (4, 3, 11, NUM_SYMBOLS)
    for m, one in enumerate(unstack_weights(weights)):
        for k, prefix in enumerate((0, 2, 5)):
            inputs = [one_hot[BOS], *[one_hot[0]] * prefix]
            for step in range(11):
                outputs, _ = run_network(arch, one, torch.stack(inputs[: step + 1])[None])
                distribution = outputs[0, -1].softmax(-1)
                assert torch.allclose(found[m, k, step], distribution, atol=1e-9)
                if step + 1 >= len(inputs):
                    inputs.append(one_hot[distribution.argmax()])


def test_what_is_read_along_prefixes_is_the_prefix_and_then_the_most_likely_symbols():
    weights = networks(3)
    distributions = continue_prefixes(NetworkStack(ARCHITECTURE, weights), (0, 2), 8)
    read = read_by_continuing(distributions, (0, 2))
    assert bool((read[:, :, 0] == BOS).all()) and bool((read[:, 1, 1:3] == 0).all())
    outputs, _ = NetworkStack(ARCHITECTURE, weights)(torch.eye(NUM_SYMBOLS)[read])
    assert torch.allclose(outputs.softmax(-1), distributions, atol=1e-5)


def test_answers_by_runs_stand_at_their_symbol_and_place_whatever_comes_before():
    """Compared with a loop in plain Python."""
    generator = torch.Generator().manual_seed(5)
    read = torch.randint(NUM_SYMBOLS, (3, 2, 11), generator=generator)
    read[0, 0, 3:8] = 1  # longer than the three places
    answers = torch.rand(3, 2, 11, 4, generator=generator)
    expected = torch.zeros(3, 2, NUM_SYMBOLS, 3, 5)
    for m, n in itertools.product(range(3), range(2)):
        place = 0
        for step in range(11):
            place = place + 1 if step and read[m, n, step] == read[m, n, step - 1] else 0
            if place < 3:
                expected[m, n, read[m, n, step], place] = torch.cat([answers[m, n, step], torch.ones(1)])
    assert torch.equal(by_runs(answers, read, 3), expected.flatten(2, 3))
    later = torch.cat([torch.full((1, 1, 4), BOS), torch.tensor([[[0, 0, 1, 1, 1]]])], dim=2)
    sooner = torch.cat([torch.full((1, 1, 1), BOS), torch.tensor([[[0, 0, 1, 1, 1]]])], dim=2)
    runs = [by_runs(answers[:1, :1, 6 : 6 + 5], read[:, :, -5:], 4)[0, 0, 4:8] for read in (later, sooner)]
    assert torch.equal(runs[0], runs[1]) and runs[0].abs().max() > 0


def test_every_symbol_has_an_mlp_of_its_own_and_their_outputs_are_added():
    with torch.random.fork_rng():
        torch.manual_seed(4)
        head = SymbolwiseHead(strings=2, features=2 * NUM_SYMBOLS * 5, hidden=7, layers=1, outputs=3)
    features = torch.randn(4, 2, NUM_SYMBOLS, 5, generator=torch.Generator().manual_seed(6))
    expected = sum(part(features[:, :, symbol].flatten(1)) for symbol, part in enumerate(head.parts))
    assert torch.allclose(head(features.flatten(1)), expected, atol=1e-6)
    other = features.clone()
    other[:, :, 2] += 1
    third = features.clone()
    third[:, :, 3] -= 1
    both = third.clone()
    both[:, :, 2] += 1
    effects = [head(x.flatten(1)) - head(features.flatten(1)) for x in (other, third, both)]
    assert torch.allclose(effects[0] + effects[1], effects[2], atol=1e-5) and effects[0].abs().max() > 0.1


@pytest.mark.parametrize("arranged", ["runs", "steps"])
def test_features_are_the_arranged_answers_standardised_on_training_networks(arranged):
    weights = networks(9)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = make_encoder("self-rollout-branching", ARCHITECTURE, 5, branches=3, arranged=arranged, answers="log")
    stack = NetworkStack(ARCHITECTURE, weights)
    encoder.fit_inputs(weights)
    features = encoder.features(weights, stack)
    assert torch.allclose(features.mean(0), torch.zeros(features.shape[1]), atol=1e-4)
    assert float(features.std(0, correction=0).max()) < 1 < encoder.arrange(stack).shape[1]
    log_probs, strings = most_likely_branches(stack, 3, encoder.steps)
    if arranged == "steps":
        arranged_answers = encoder.arrange(stack).view(9, 3, encoder.steps, 2 * NUM_SYMBOLS)
        assert torch.equal(arranged_answers[..., NUM_SYMBOLS:].argmax(-1), strings)
        expected = log_probs[1, 2, 3, 4].clamp(min=-8) / 4 + 1
        assert math.isclose(arranged_answers[1, 2, 3, 4], expected, rel_tol=1e-6)
    assert encoder.num_queries == 3 * encoder.steps and embeddings_of(encoder, weights, stack).shape == (9, 5)
    with pytest.raises(UnknownNameError, match="arrangement of answers 'words'"):
        make_encoder("self-rollout", ARCHITECTURE, arranged="words")
