"""Further labels of languages and digits against computing them one string, digit or prediction at a time."""

import math
from collections import defaultdict

import pytest
import torch
from torch.nn.functional import one_hot

from rnn_zoos.families.calibration import calibration_error
from rnn_zoos.families.digit_inputs import MICRODEGREES, tile_inputs
from rnn_zoos.families.digit_labels import digit_calibration, rotated_accuracy
from rnn_zoos.families.labels import Snapshot
from rnn_zoos.families.language_labels import greedy_labels, greedy_strings, next_symbol_calibration
from rnn_zoos.families.language_strings import BOS, EOS, task_number, task_offsets, training_strings
from rnn_zoos.families.rotation import rotation_table
from rnn_zoos.families.sequential_mnist import DigitEvaluation, SequentialMnist
from rnn_zoos.generation.trainers.native.trainer import NativeNetwork
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.cells import run_network
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights

LANGUAGES = [(0, 0, 0), (-3, 2, 1), (-3, -3, -3), (2, -1, 0)]


def error_one_by_one(logits: torch.Tensor, targets: torch.Tensor) -> float:
    bins = defaultdict(list)
    for row, target in zip(logits.double().softmax(-1).tolist(), targets.tolist(), strict=True):
        confidence = max(row)
        bins[min(int(confidence * 15), 14)].append((confidence, row.index(confidence) == target))
    total = sum(abs(sum(c for c, _ in some) - sum(right for _, right in some)) for some in bins.values())
    return total / len(targets)


class Counter(torch.nn.Module):
    """A network that writes a language rightly up to some n, and then forgets the last letter."""

    def __init__(self, offsets: tuple[int, int, int], up_to: int) -> None:
        super().__init__()
        self.offsets, self.up_to = offsets, up_to

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.stack([self._answers(row) for row in inputs.argmax(-1).tolist()])

    def _answers(self, read: list[int]) -> torch.Tensor:
        following = [self._follow(read[: t + 1]) for t in range(len(read))]
        return one_hot(torch.tensor(following), 6).float()

    def _follow(self, read: list[int]) -> int:
        letters = [symbol for symbol in read[1:] if symbol < EOS - 1]
        n = letters.count(0)
        if EOS in read or len(letters) == 0:
            return EOS if EOS in read else 0
        wanted = [symbol for symbol, m in enumerate((0, *self.offsets)) for _ in range(n + m)]
        if n > self.up_to:
            wanted = wanted[:-1]
        return wanted[len(letters)] if len(letters) < len(wanted) else EOS


def greedy(network: torch.nn.Module, offsets: tuple[int, int, int], n: int) -> bool:
    """Write a string symbol by symbol, after the letters a and one more symbol."""
    letters = [symbol for symbol, m in enumerate((0, *offsets)) for _ in range(n + m)]
    string = [BOS, *letters, EOS]
    written = string[: n + 2]
    while len(written) < len(string):
        written.append(int(network(one_hot(torch.tensor([written]), 6).float())[0, -1].argmax()))
    return written == string


@pytest.mark.parametrize("offsets", LANGUAGES)
def test_greedy_strings_are_those_that_are_written_symbol_by_symbol(offsets):
    first = max(0, -min(offsets))
    for up_to in (7, 12, 30):
        network = Counter(offsets, up_to)
        found = greedy_strings(network, offsets)
        assert [*found] == [*range(first, 21)]
        assert found == {n: greedy(network, offsets, n) for n in found}
        labels = greedy_labels(None, Snapshot(network, 0, 0, task_number(offsets), 5, None))
        right = [n for n in found if n <= up_to or sum(offsets) + 3 * n < 2]  # nothing to forget
        assert labels["counts_up_to"] == min(up_to, 20)
        assert labels["greedy_accuracy"] == pytest.approx(len([n for n in right if n < 10]) / (10 - first))
        assert labels["long_accuracy"] == pytest.approx(len([n for n in right if n >= 10]) / 11)


def test_greedy_strings_of_real_networks_are_those_that_are_written_symbol_by_symbol():
    architecture = Architecture("lstm", 1, 6, 5, 6)
    for run in range(3):
        weights = {name: 4 * tensor for name, tensor in initial_weights(architecture, 0, run).items()}
        network = RecurrentNetwork(architecture, weights)
        with torch.no_grad():
            found = greedy_strings(network, (-1, -1, 0))
            assert found == {n: greedy(network, (-1, -1, 0), n) for n in found}


def test_the_calibration_error_is_that_of_bins_one_by_one():
    generator = torch.Generator().manual_seed(3)
    logits, targets = 3 * torch.randn(400, 5, generator=generator), torch.randint(5, (400,), generator=generator)
    assert calibration_error(logits, targets) == pytest.approx(error_one_by_one(logits, targets), abs=1e-9)
    certain = 50 * one_hot(targets, 5).double()
    assert calibration_error(certain, targets) < 1e-9 and calibration_error(certain, (targets + 1) % 5) > 1 - 1e-9


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_there_is_no_calibration_error_of_outputs_that_overflow(wrong):
    logits = torch.zeros(4, 5)
    logits[2, 3] = wrong
    assert math.isnan(calibration_error(logits, torch.zeros(4, dtype=torch.int64)))


def test_next_symbols_are_calibrated_on_training_strings_up_to_their_end():
    task = task_number((-3, 2, 1))
    architecture = Architecture("gru", 2, 6, 7, 6)
    weights = {name: 3 * tensor for name, tensor in initial_weights(architecture, 0, 1).items()}
    network = RecurrentNetwork(architecture, weights)
    logits, targets = [], []
    for string in training_strings(task_offsets(task)).long():
        outputs, _ = run_network(architecture, weights, one_hot(string[:-1], 6)[None].float())
        for t in range(41):
            logits.append(outputs[0, t])
            targets.append(string[t + 1])
            if string[t + 1] == EOS:
                break
    found = next_symbol_calibration(None, Snapshot(network, 0, 1, task, 5, None))
    assert found == pytest.approx(error_one_by_one(torch.stack(logits), torch.stack(targets)), abs=1e-6)


@pytest.mark.parametrize("network_type", [RecurrentNetwork, NativeNetwork])
def test_accuracy_away_from_the_angle_is_that_of_digits_turned_both_ways(network_type):
    family, task = SequentialMnist(), 350 * MICRODEGREES
    architecture = family.architecture("rnn", 2, 9)
    weights = {name: 3 * tensor for name, tensor in initial_weights(architecture, 0, 1).items()}
    network = network_type(architecture, weights)
    snapshot = Snapshot(network, 0, 1, task, 5, DigitEvaluation(37, 1, 1, 1))
    digits, shown = family.digits, family.digits.validation[:37]
    found = []
    with torch.no_grad():
        for turn in (15, 30, 60):
            right = [
                network(tile_inputs(digits.images[shown], rotation_table(angle)))[:, -1].argmax(-1)
                == digits.labels[shown]
                for angle in ((350 + turn) % 360, 350 - turn)
            ]
            found.append(rotated_accuracy(family, snapshot, turn))
            assert found[-1] == pytest.approx(torch.cat(right).double().mean().item())
        logits = network(tile_inputs(digits.images[shown], rotation_table(350)))[:, -1]
    assert len({*found}) > 1, "otherwise a swapped angle would pass"
    expected = error_one_by_one(logits, digits.labels[shown])
    assert math.isclose(digit_calibration(family, snapshot), expected, abs_tol=1e-6)
