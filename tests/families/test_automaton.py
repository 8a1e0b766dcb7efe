"""Automata are compared with methods that look at all strings, and with predicates written another way."""

import itertools
import re

import numpy as np
import pytest
import torch

from rnn_zoos.families.automaton import (
    MAX_SHARE,
    STATES,
    SYMBOLS,
    Automaton,
    AutomatonStack,
    draw_automaton,
    is_varied,
    minimise,
    num_states_of,
    num_symbols_of,
)
from rnn_zoos.families.named_automata import NAMED, automaton_of, bounded_dyck, count_modulo

# Three states of four are reachable from state 0, and states 1 and 2 are equivalent.
REDUNDANT = Automaton(((1, 2, 0), (0, 1, 1), (0, 2, 1), (3, 0, 2)), (False, True, True, True))
NUMBERS = [14, 15, 77, 1234, 99_991, 2**32 - 1]


def strings(symbols: int, length: int) -> torch.Tensor:
    return torch.tensor([*itertools.product(range(symbols), repeat=length)])


def language(automaton: Automaton, length: int) -> list[bool]:
    """Return the answers for all strings of up to `length` symbols, walking one symbol at a time."""
    answers = []
    for count in range(length + 1):
        for string in itertools.product(range(automaton.num_symbols), repeat=count):
            state = 0
            for symbol in string:
                state = automaton.transitions[state][symbol]
            answers.append(automaton.accepting[state])
    return answers


def distinguishable_pairs(automaton: Automaton) -> set[tuple[int, int]]:
    """Return the pairs of states that some string tells apart, by filling a table of pairs until nothing changes."""
    pairs = [(s, t) for s in range(automaton.num_states) for t in range(s)]
    marked = {(s, t) for s, t in pairs if automaton.accepting[s] != automaton.accepting[t]}
    while True:
        more = {
            (s, t)
            for s, t in pairs
            for a, b in zip(automaton.transitions[s], automaton.transitions[t], strict=True)
            if (max(a, b), min(a, b)) in marked
        }
        if more <= marked:
            return marked
        marked |= more


def test_minimising_merges_equivalent_states_and_drops_unreachable_ones():
    minimal = minimise(REDUNDANT)
    assert minimal == Automaton(((1, 1, 0), (0, 1, 1)), (False, True))
    assert language(minimal, 5) == language(REDUNDANT, 5)


def test_equal_languages_have_equal_minimal_automata():
    renamed = Automaton(((2, 1, 0), (0, 1, 2), (0, 2, 2)), (False, True, True))  # REDUNDANT with states 1 and 2 swapped
    assert minimise(renamed) == minimise(REDUNDANT)
    other = Automaton(((2, 1, 0), (0, 1, 2), (0, 2, 0)), (False, True, True))
    assert minimise(other) != minimise(REDUNDANT)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_drawn_automaton_is_minimal_by_a_second_method_and_as_large_as_its_number_says(number):
    automaton = draw_automaton(number)
    assert automaton.num_states == num_states_of(torch.tensor(number)) and automaton.num_states in STATES
    assert automaton.num_symbols == num_symbols_of(torch.tensor(number)) and automaton.num_symbols in SYMBOLS
    assert len(distinguishable_pairs(automaton)) == automaton.num_states * (automaton.num_states - 1) // 2
    assert minimise(automaton) == automaton == draw_automaton(number)


def test_consecutive_numbers_have_all_sizes():
    numbers = torch.arange(1000, 1066)
    sizes = {*zip(num_states_of(numbers).tolist(), num_symbols_of(numbers).tolist(), strict=True)}
    assert sizes == {*itertools.product(STATES, SYMBOLS)}


@pytest.mark.parametrize("number", NUMBERS[:3])
def test_answers_are_those_of_walking_symbol_by_symbol(number):
    automaton = draw_automaton(number)
    for string in strings(automaton.num_symbols, 5):
        state, expected = 0, []
        for symbol in string.tolist():
            state = automaton.transitions[state][symbol]
            expected.append(automaton.accepting[state])
        assert automaton.answers(string).tolist() == expected


def test_a_stack_of_automata_answers_as_each_of_them_does():
    automata = [automaton_of(number) for number in (1, 3300, 3348, 77, 10)]  # of different sizes
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([torch.randint(one.num_symbols, (3, 11), generator=generator) for one in automata])
    answers = AutomatonStack.of(automata).answers(drawn)
    assert answers.shape == (5, 3, 11) and answers.dtype == torch.bool and 0.1 < answers.float().mean() < 0.9
    assert torch.equal(answers, torch.stack([one.answers(own) for one, own in zip(automata, drawn, strict=True)]))


@pytest.mark.parametrize("number", NUMBERS[:3])
def test_acceptance_is_what_enumeration_gives(number):
    automaton = draw_automaton(number)
    accepted = [automaton.answers(strings(automaton.num_symbols, t))[:, -1].double().mean().item() for t in range(1, 7)]
    np.testing.assert_allclose(automaton.acceptance(6), accepted, atol=1e-12)


def test_automata_that_nearly_always_give_the_same_answer_are_not_varied():
    assert not is_varied(NAMED["Tomita 1"]) and is_varied(NAMED["parity"])
    for number in NUMBERS:
        assert 1 - MAX_SHARE <= draw_automaton(number).acceptance(40).mean() <= MAX_SHARE


def balanced(text: str, depth: int) -> bool:
    while "01" in text and depth:
        text, depth = re.sub(r"(01)+", "", text), depth - 1
    return text == ""


PREDICATES = {
    "Tomita 1": lambda s: "0" not in s,
    "Tomita 2": lambda s: re.fullmatch("(10)*", s),
    "Tomita 3": lambda s: not any(len(a) % 2 and len(b) % 2 for a, b in re.findall("(1+)(0+)", s)),
    "Tomita 4": lambda s: "000" not in s,
    "Tomita 5": lambda s: s.count("0") % 2 == 0 == s.count("1") % 2,
    "Tomita 6": lambda s: (s.count("0") - s.count("1")) % 3 == 0,
    "Tomita 7": lambda s: re.fullmatch("0*1*0*1*", s),
    "parity": lambda s: s.count("1") % 2 == 0,
    **{f"ones modulo {m}": lambda s, m=m: s.count("1") % m == 0 for m in (3, 5, 7)},
    **{f"Dyck-1 of depth {d}": lambda s, d=d: balanced(s, d) for d in (2, 3, 4)},
}


@pytest.mark.parametrize("name", NAMED)
def test_named_automata_accept_what_their_names_say(name):
    texts = ["".join(string) for count in range(11) for string in itertools.product("01", repeat=count)]
    assert language(NAMED[name], 10) == [bool(PREDICATES[name](text)) for text in texts]
    assert minimise(NAMED[name]) == NAMED[name]


def test_named_automata_are_different_and_have_the_expected_sizes():
    assert len(set(NAMED.values())) == len(NAMED) == len(PREDICATES)
    assert count_modulo(7).num_states == 7
    assert bounded_dyck(4).num_states == 6
