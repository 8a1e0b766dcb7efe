"""The explorer draws the random numbers of the package, and its networks write and judge the same strings."""

import itertools

import pytest
import torch
from conftest import CELLS
from explorer import javascript

from rnn_zoos.families.language_strings import (
    BOS,
    EOS,
    LENGTH,
    NUM_SYMBOLS,
    NUM_TASKS,
    as_text,
    judge,
    sample_strings,
    task_offsets,
    training_strings,
)
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.randomness import Purpose, random_bits, to_integers, to_uniform

SEEDS = (0, 13, 2**32, 2**53 + 1, 2**63 + 12345, 2**64 - 1)
WORD = 2**32 - 1


def test_random_numbers_have_the_bits_of_the_package():
    body = """
        return input.map(([seed, run, purpose, counter, count, limit]) => {
            const bits = philox.randomBits(BigInt(seed), run, purpose, counter, count);
            return [bits, philox.toUniform(bits), philox.toIntegers(bits, limit)];
        });
    """
    runs, counters = (0, 7, 2**16, WORD), (0, 65535, 2**31, WORD)
    limits = itertools.cycle((1, 2, 3, 24, 2**16 + 1, 2**31 - 1, 2**31))
    streams = [
        (seed, run, int(purpose), counter, 1 + (number * 5) % 23, next(limits))
        for number, (seed, run, counter, purpose) in enumerate(itertools.product(SEEDS, runs, counters, Purpose))
    ]
    found = javascript(body, [[str(seed), *rest] for seed, *rest in streams])
    for (seed, run, purpose, counter, count, limit), (bits, uniforms, integers) in zip(streams, found, strict=True):
        expected = random_bits(seed, [run], Purpose(purpose), [counter], count)[0, 0]
        assert bits == expected.tolist()
        assert uniforms == to_uniform(expected).tolist()
        assert integers == to_integers(expected, limit).tolist()


def test_the_purposes_are_those_of_the_package():
    assert javascript("return philox.Purpose;") == {purpose.name: purpose.value for purpose in Purpose}


def test_a_seed_that_is_a_number_must_be_exact():
    body = """
        const same = [13, 2 ** 53 - 1].every(
            (seed) => `${philox.randomBits(seed, 1, 2, 3, 4)}` === `${philox.randomBits(BigInt(seed), 1, 2, 3, 4)}`,
        );
        return [same, await failure(() => philox.randomBits(2 ** 53, 1, 2, 3, 4))];
    """
    same, error = javascript(body)
    assert same and error.startswith("RangeError: The seed is the number 9007199254740992; expected")


@pytest.mark.parametrize("sureness", (0.0, 1.0, 5.0, 50.0))
@pytest.mark.parametrize("cell", CELLS)
def test_strings_of_sure_and_unsure_networks_are_those_of_the_package(cell, sureness):
    """Sure networks have sums of probabilities that are 0 or 1 in float32; without a readout all logits are equal."""
    architecture = Architecture(cell, 2, NUM_SYMBOLS, 7, NUM_SYMBOLS)
    weights, count = initial_weights(architecture, 8, 3, scale=2.0), 61
    for name in ("linear.weight", "linear.bias"):
        weights[name] = sureness * weights[name]
    bits = random_bits(2**40 + 3, [5], Purpose.EVALUATION, [77], count * (LENGTH - 1))
    with torch.no_grad():
        expected, _ = sample_strings(RecurrentNetwork(architecture, weights), to_uniform(bits).view(count, -1))
    body = """
        const made = new network.Network(input.architecture, floats(input.weights));
        return languages.sampleStrings(made, { seed: 2n ** 40n + 3n, run: 5, step: 77, count: input.count });
    """
    assert javascript(body, {"architecture": architecture, "weights": weights, "count": count}) == expected.tolist()


def test_a_symbol_is_the_first_whose_sum_of_probabilities_exceeds_the_number():
    """Also where the number is exactly a sum, so that one unit in the last place decides."""
    logits = 3 * torch.randn(500, NUM_SYMBOLS, generator=torch.Generator().manual_seed(2))
    logits[::7, 2] = -200.0  # a probability that is 0 in float32
    sums = logits.log_softmax(-1).exp().cumsum(-1)
    body = """
        return input.logits.map((one, row) => {
            const sums = [];
            network.logSoftmax(one).reduce((sum, logProb) => {
                sums.push(Math.fround(sum + Math.fround(Math.exp(logProb))));
                return sum + Math.fround(Math.exp(logProb));
            }, 0);
            const symbols = [0, ...sums].map((sum) => languages.drawSymbol(one, sum));
            return [sums, symbols];
        });
    """
    found = javascript(body, {"logits": logits.tolist()})
    own = torch.tensor([own for own, _ in found], dtype=torch.float32)
    assert (own - sums).abs().max() < 4e-7  # torch's exponential function is right up to its last places
    numbers = torch.cat([torch.zeros(len(own), 1), own], dim=1)
    expected = (own[:, None, :] <= numbers[:, :, None]).sum(-1).clamp(max=NUM_SYMBOLS - 1)
    assert [symbols for _, symbols in found] == expected.tolist()


def some_sequences():
    """Return sequences, uint8 [N, 42]: members of languages, members with an error, and random ones."""
    strings = torch.cat([training_strings(task_offsets(task)) for task in (0, 43, 100, NUM_TASKS - 1)])
    generator = torch.Generator().manual_seed(1)
    damaged = strings.clone()
    places = torch.randint(1, LENGTH, (len(strings),), generator=generator)
    damaged[torch.arange(len(strings)), places] = torch.randint(
        NUM_SYMBOLS, (len(strings),), generator=generator
    ).byte()
    swapped = strings[:, [0, 2, 1, *range(3, LENGTH)]]
    marked = strings.clone()
    marked[torch.arange(len(strings)), (strings == EOS).int().argmax(dim=1)] = BOS  # in order, since BOS follows d
    wild = torch.randint(NUM_SYMBOLS, (200, LENGTH), generator=generator, dtype=torch.uint8)
    open_ended = wild.clamp(max=BOS)
    wild[:, 0] = open_ended[:, 0] = BOS
    return torch.cat([strings, damaged, swapped, marked, wild, open_ended])


def test_verdicts_and_texts_are_those_of_the_package():
    sequences, tasks = some_sequences(), (0, 43, 100, NUM_TASKS - 1)
    body = """
        return input.sequences.map((sequence) => {
            const text = languages.asText(sequence);
            return [text, input.offsets.map((one) => languages.judge(sequence, one))];
        });
    """
    data = {"sequences": sequences.tolist(), "offsets": [task_offsets(task) for task in tasks]}
    found = javascript(body, data)
    counted = {name: 0 for name in ("finished", "right_counts", "accepted")}
    for number, task in enumerate(tasks):
        verdict = judge(sequences, task_offsets(task))
        for name, key in (("finished", "finished"), ("right_counts", "rightCounts"), ("accepted", "accepted")):
            expected = getattr(verdict, name).tolist()
            assert [verdicts[number][key] for _, verdicts in found] == expected
            counted[name] += sum(expected)
    assert 0 < counted["accepted"] < counted["right_counts"] < counted["finished"] < len(tasks) * len(sequences)
    assert [text for text, _ in found] == [as_text(sequence) for sequence in sequences]


@pytest.mark.parametrize("imported", [False, True])
def test_the_note_about_the_seed_claims_no_accuracy_of_imported_networks(imported):
    """It was measured on the strings that the authors stored."""
    body = 'return (await import("explorer/live_strings")).seedNote(input);'
    note = javascript(body, {"seed": "13", "about": {"imported": "paper"} if imported else {"seed": 13}})
    strings = "With the zoo's own seed, 13, these are the strings of `rnn-zoos sample`"
    assert note == strings + ("." if imported else ", on which the accuracy was measured.")
