"""Branching self-rollout: strings that a network chooses itself, against a search over all prefixes in plain Python."""

import math

import torch

from rnn_zoos import Architecture, NetworkStack, RecurrentNetwork, stack_weights
from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.baselines.encoders.registry import make_encoder
from rnn_zoos.baselines.encoders.self_rollout import most_likely_branches
from rnn_zoos.families.formal_languages import BOS, EOS, NUM_SYMBOLS
from rnn_zoos.networks.cells import run_network
from rnn_zoos.networks.weights import unstack_weights

ARCHITECTURE = Architecture("gru", 2, NUM_SYMBOLS, 9, NUM_SYMBOLS)
STEPS = 7


def networks(count: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        weights = stack_weights([RecurrentNetwork(ARCHITECTURE).weights() for _ in range(count)])
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


def test_the_features_contain_the_strings_and_the_answers():
    weights = networks(3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = make_encoder("self-rollout-branching", ARCHITECTURE, 5, branches=3, steps=STEPS, answers="log")
    stack = NetworkStack(ARCHITECTURE, weights)
    features = encoder.features(weights, stack).view(3, 3, STEPS, 2 * NUM_SYMBOLS)
    log_probs, strings = most_likely_branches(stack, 3, STEPS)
    assert torch.equal(features[..., NUM_SYMBOLS:].argmax(-1), strings)
    assert math.isclose(features[1, 2, 3, 4], log_probs[1, 2, 3, 4].clamp(min=-8) / 4 + 1, rel_tol=1e-6)
    assert encoder.num_queries == 3 * STEPS and embeddings_of(encoder, weights, stack).shape == (3, 5)
