"""Labels of the family `formal-languages` beyond those of its samples: greedy and long strings, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from rnn_zoos.families.calibration import calibration_error
from rnn_zoos.families.columns import Column
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.labels import Label
from rnn_zoos.families.language_strings import (
    BOS,
    EOS,
    MAX_N,
    Offsets,
    before_padding,
    one_hot_inputs,
    task_offsets,
    training_strings,
)

if TYPE_CHECKING:
    from rnn_zoos.families.labels import Snapshot
    from rnn_zoos.networks.model import RecurrentNetwork

LONG_N = 20
"""Strings of n = 10 to 20 are longer than any in training."""


@torch.no_grad()
def greedy_labels(_family: TaskFamily, snapshot: Snapshot) -> Mapping[str, float]:
    """Return `greedy_accuracy` (n up to 9), `long_accuracy` (n = 10 to 20) and `counts_up_to` of a snapshot."""
    right = greedy_strings(snapshot.network, task_offsets(snapshot.task))
    trained = [answer for n, answer in right.items() if n <= MAX_N]
    longer = [answer for n, answer in right.items() if n > MAX_N]
    failed = [n for n, answer in right.items() if not answer]
    return {
        "greedy_accuracy": sum(trained) / len(trained),
        "long_accuracy": sum(longer) / len(longer),
        "counts_up_to": float(min(failed, default=LONG_N + 1) - 1),
    }


def greedy_strings(network: RecurrentNetwork, offsets: Offsets) -> dict[int, bool]:
    """Tell for each n up to 20 whether a network that has read a^n and the next symbol finishes the string rightly.

    It continues with its most likely symbols. Where all of them are right it reads the string itself, so reading the
    string once shows it.
    """
    numbers = range(max(0, -min(offsets)), LONG_N + 1)
    written = [[symbol for symbol, m in enumerate((0, *offsets)) for _ in range(n + m)] for n in numbers]
    longest = max(map(len, written)) + 2
    strings = torch.tensor([[BOS, *letters, *[EOS] * longest][:longest] for letters in written])
    right = network(one_hot_inputs(strings)).argmax(dim=-1) == strings[:, 1:]
    # Symbols that are given: the letters a, and one more. After the first EOS, nothing counts.
    return {
        n: bool(right[row, n + 1 : len(letters) + 1].all())
        for row, (n, letters) in enumerate(zip(numbers, written, strict=True))
    }


@torch.no_grad()
def next_symbol_calibration(_family: TaskFamily, snapshot: Snapshot) -> float:
    """Return the calibration error of next symbols on all training strings, up to and with EOS."""
    strings = training_strings(task_offsets(snapshot.task))
    targets = strings[:, 1:].long()
    unpadded = before_padding(strings)
    return calibration_error(snapshot.network(one_hot_inputs(strings))[unpadded], targets[unpadded])


LANGUAGE_LABELS: Mapping[str, Label] = MappingProxyType(
    {
        "greedy_accuracy": Label(
            Column("float32", "fraction of n up to 9 whose string is written greedily after a^n and one more symbol"),
            greedy_labels,
            fraction=True,
        ),
        "long_accuracy": Label(
            Column("float32", "the same for n = 10 to 20, longer than any training string"),
            greedy_labels,
            fraction=True,
        ),
        "counts_up_to": Label(
            Column("float32", "largest n up to which every such string is right; one less than the smallest n if none"),
            greedy_labels,
        ),
        "calibration_error": Label(
            Column("float32", "expected calibration error of next symbols on the training strings"),
            next_symbol_calibration,
            rounding=0.02,
        ),
    }
)
"""Name -> label, in the order of the index."""
