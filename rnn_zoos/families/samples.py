"""What one network does with a few inputs, as rows of a table: `TaskFamily.samples` of the families of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from rnn_zoos.families.automaton import LENGTH as AUTOMATON_LENGTH
from rnn_zoos.families.automaton import SYMBOLS, random_strings
from rnn_zoos.families.digit_inputs import MICRODEGREES, tile_inputs
from rnn_zoos.families.digits import load_digits
from rnn_zoos.families.language_strings import EOS, LENGTH, as_text, judge, sample_strings, task_offsets
from rnn_zoos.families.named_automata import automaton_of
from rnn_zoos.families.rotation import rotation_table
from rnn_zoos.families.sampler import one_hot
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.randomness import Purpose, random_bits, to_uniform

Rows = list[dict[str, Any]]


def language_samples(network: RecurrentNetwork, seed: int, row: Mapping[str, Any], task: int, count: int) -> Rows:
    """Return rows for the first strings of those on which the accuracy of the snapshot was measured."""
    bits = random_bits(seed, [row["run"]], Purpose.EVALUATION, [row["step"]], count * (LENGTH - 1))
    sequences, _ = sample_strings(network, to_uniform(bits).view(count, LENGTH - 1))
    verdict = judge(sequences, task_offsets(task))
    rows = []
    for sequence, accepted, right_counts in zip(sequences, verdict.accepted, verdict.right_counts, strict=True):
        fault = "" if accepted else "order" if right_counts else "counts" if EOS in sequence else "no end"
        rows.append({"verdict": _verdict(bool(accepted)), "string": as_text(sequence) or "(empty)", "fault": fault})
    return rows


def digit_samples(network: RecurrentNetwork, task: int, count: int) -> Rows:
    """Return rows with the prediction after the last tile, for embedded digits that are never trained on."""
    digits = load_digits("embedded")
    shown = digits.validation[:count]
    logits = network(tile_inputs(digits.images[shown], rotation_table(task / MICRODEGREES)))
    probabilities = logits[:, -1].softmax(dim=-1)
    rows = []
    for number, label, distribution in zip(
        digits.numbers[shown].tolist(), digits.labels[shown].tolist(), probabilities, strict=True
    ):
        named = int(distribution.argmax())
        rows.append(
            {
                "verdict": _verdict(named == label),
                "MNIST number": number,
                "digit": label,
                "named": named,
                "probability": distribution[named].item(),
            }
        )
    return rows


def automaton_samples(network: RecurrentNetwork, seed: int, row: Mapping[str, Any], task: int, count: int) -> Rows:
    """Return rows for random strings of 40 symbols, the first of the stored rollouts, with all 40 answers."""
    automaton = automaton_of(task)
    strings = random_strings(automaton, seed, row["run"], Purpose.ROLLOUTS, 0, (count, AUTOMATON_LENGTH))
    answers, said = automaton.answers(strings), network(one_hot(strings, SYMBOLS[-1])).argmax(dim=-1) == 1
    return [
        {
            "verdict": _verdict(torch.equal(of_network, of_automaton)),
            "string": "".join(map(str, string.tolist())),
            "answers (+: accepted)": "".join("+" if accepted else "-" for accepted in of_network),
            "wrong": int((of_network != of_automaton).sum()),
        }
        for string, of_network, of_automaton in zip(strings, said, answers, strict=True)
    ]


def _verdict(right: bool) -> str:
    return "right" if right else "wrong"
