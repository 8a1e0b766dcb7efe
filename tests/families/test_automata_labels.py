"""Labels of automata against enumeration, and for networks whose hidden states are known."""

import itertools
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from rnn_zoos.families.automata import Automata, AutomataEvaluation
from rnn_zoos.families.automata_labels import (
    cluster,
    extract,
    extracted_agreement,
    hard_accuracy,
    hard_pairs,
    state_accuracy,
)
from rnn_zoos.families.automaton import Automaton, random_strings
from rnn_zoos.families.labels import Snapshot
from rnn_zoos.families.named_automata import NAMED, automaton_of
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.randomness import Purpose

SIZES = AutomataEvaluation(strings=1, hard_pairs=60, traced_strings=30, rollouts=1)
NUMBERS = [[*NAMED].index("Tomita 5"), 1234, 99_991]


class KnownNetwork(nn.Module):
    """A network whose hidden state is a function of an automaton's state, and whose answer is another."""

    def __init__(self, automaton: Automaton, hidden: torch.Tensor, says_yes: torch.Tensor) -> None:
        super().__init__()
        self.automaton, self.hidden, self.says_yes = automaton, hidden, says_yes
        self.architecture = Architecture("rnn", 1, 4, hidden.shape[1], 2)
        self.rnn = self._rnn
        self.states = torch.zeros(0)

    def get_submodule(self, target: str):
        assert target == "rnn"
        return self._rnn

    def _rnn(self, inputs: torch.Tensor) -> tuple[torch.Tensor, None]:
        self.states = self.automaton.walk(inputs.argmax(-1))
        return self.hidden[self.states], None

    def linear(self, _hidden: torch.Tensor) -> torch.Tensor:
        return one_hot(self.says_yes[self.states].long(), 2).float()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(self._rnn(inputs)[0])


def snapshot(number: int, hidden: torch.Tensor | None = None, says_yes: torch.Tensor | None = None) -> Snapshot:
    """Return a snapshot that has learned its automaton, unless other hidden states or answers are given."""
    automaton = automaton_of(number)
    hidden = torch.eye(automaton.num_states) if hidden is None else hidden
    says_yes = automaton.tables[1] if says_yes is None else says_yes
    return Snapshot(KnownNetwork(automaton, hidden, says_yes), 0, 5, number, 100, SIZES)


@pytest.mark.parametrize("number", [*range(14), 1234, 99_991, 4_000_000_000])
def test_hard_pairs_differ_in_one_symbol_and_only_the_first_is_accepted(number):
    automaton = automaton_of(number)
    accepted, rejected = hard_pairs(automaton, torch.rand(37, 41, generator=torch.Generator().manual_seed(1)))
    assert 20 <= len(accepted) == len(rejected) <= 37
    assert automaton.answers(accepted)[:, -1].all() and not automaton.answers(rejected)[:, -1].any()
    assert ((accepted != rejected).sum(1) == 1).all() and rejected.max() < automaton.num_symbols


def test_hard_pairs_are_drawn_uniformly(monkeypatch):
    """All accepted strings of five symbols, and all rejected neighbours of each, occur equally often."""
    monkeypatch.setattr("rnn_zoos.families.automata_labels.LENGTH", 5)
    automaton = automaton_of(1234)
    strings = [string for string in itertools.product(range(automaton.num_symbols), repeat=5)]
    accepts = dict(zip(strings, automaton.answers(torch.tensor(strings))[:, -1].tolist(), strict=True))
    neighbours = {
        string: [o for o in strings if not accepts[o] and sum(a != b for a, b in zip(o, string, strict=True)) == 1]
        for string in strings
        if accepts[string]
    }
    count = 400 * len(neighbours)
    uniforms = torch.rand(count, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    accepted, rejected = hard_pairs(automaton, uniforms)
    found = Counter(zip(map(tuple, accepted.tolist()), map(tuple, rejected.tolist()), strict=True))
    expected = {(string, other): 400 / len(others) for string, others in neighbours.items() for other in others}
    assert {*found} == {*expected}
    for pair, number in expected.items():
        assert abs(found[pair] - number) < 6 * number**0.5, pair


def test_strings_are_shorter_where_no_string_of_40_symbols_is_accepted():
    odd = Automaton(((1, 2), (0, 2), (2, 2)), (False, True, False))  # an odd number of zeros
    accepted, rejected = hard_pairs(odd, torch.rand(9, 41, generator=torch.Generator().manual_seed(1)))
    assert accepted.shape == (9, 39) and not accepted.any() and (rejected.sum(1) == 1).all()


def test_where_only_the_length_matters_there_are_no_hard_pairs(monkeypatch):
    even = Automaton(((1, 1), (0, 0)), (True, False))
    accepted, rejected = hard_pairs(even, torch.rand(9, 41, generator=torch.Generator().manual_seed(1)))
    assert len(accepted) == len(rejected) == 0
    monkeypatch.setattr("rnn_zoos.families.automata_labels.automaton_of", lambda number: even)
    assert hard_accuracy(Automata(), snapshot(1234)) == 0.5


@pytest.mark.parametrize("number", NUMBERS)
def test_a_network_that_knows_its_automaton_has_labels_of_one(number):
    for measure in (hard_accuracy, state_accuracy, extracted_agreement):
        assert measure(Automata(), snapshot(number)) == 1, measure


@pytest.mark.parametrize("number", NUMBERS)
def test_a_network_without_knowledge_is_at_chance(number):
    automaton = automaton_of(number)
    always = torch.ones(automaton.num_states, dtype=torch.bool)
    assert hard_accuracy(Automata(), snapshot(number, says_yes=always)) == 0.5
    blind = snapshot(number, hidden=torch.zeros(automaton.num_states, 3))
    strings = random_strings(automaton, 0, 5, Purpose.FURTHER_LABELS, 1, (30, 40))
    states = automaton.walk(strings)
    most_frequent = states[:15].flatten().bincount().argmax()
    assert state_accuracy(Automata(), blind) == (states[15:] == most_frequent).double().mean().item()
    # One cluster has one answer: that of the majority.
    answers = automaton.answers(strings)
    majority = answers[:15].double().mean() > 0.5
    assert extracted_agreement(Automata(), blind) == (answers[15:] == majority).double().mean().item()


def test_agreement_is_with_the_network_not_with_the_automaton():
    automaton = automaton_of(1234)
    assert extracted_agreement(Automata(), snapshot(1234, says_yes=~automaton.tables[1])) == 1
    assert hard_accuracy(Automata(), snapshot(1234, says_yes=~automaton.tables[1])) == 0


def test_clusters_are_those_of_separate_groups_of_points():
    generator = torch.Generator().manual_seed(3)
    group = torch.randint(5, (200,), generator=generator)
    points = 10 * torch.randn(5, 7, generator=generator)[group] + torch.randn(200, 7, generator=generator) / 10
    found = cluster(points, 5)
    assert {*zip(found.tolist(), group.tolist(), strict=True)} == {
        (int(found[(group == g).int().argmax()]), g) for g in range(5)
    }
    assert len({*found.tolist()}) == 5


def test_extraction_follows_the_majority_and_stays_where_nothing_was_seen():
    strings = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 1, 1]])
    clusters = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 0, 0]])
    answers = torch.tensor([[True, False, False], [False, False, True], [True, True, False]])
    found = extract(strings, clusters, answers, 2)
    # Start 0, cluster 0 is state 1: on symbol 1 it goes twice to state 2, twice to state 1 (the first of both).
    assert found.transitions == ((1, 0), (1, 1), (1, 2)) and found.accepting == (False, True, False)
