"""Well-known regular languages as minimal automata: Tomita 1 to 7, parity, counting modulo m, bounded brackets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from types import MappingProxyType

import torch

from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.automaton import Automaton, draw_automaton, minimise, num_states_of

_REPEATED_STATES = 7  # a named automaton has at most so many, too


def count_modulo(modulus: int) -> Automaton:
    """Return the automaton of strings of two symbols in which the number of ones is a multiple of `modulus`."""
    return _automaton(lambda state, symbol: (state + symbol) % modulus, modulus, {0})


def bounded_dyck(depth: int) -> Automaton:
    """Return the automaton of balanced brackets, opened by 0 and closed by 1, that are nested at most `depth` deep."""

    def follow(state: int, symbol: int) -> int:
        level = state + (1 if symbol == 0 else -1)
        return level if state <= depth and 0 <= level <= depth else depth + 1  # the last state is never left

    return _automaton(follow, depth + 2, {0})


def tomita(number: int) -> Automaton:
    """Return an automaton of Tomita ("Dynamic construction of finite-state automata from examples", 1982).

    The languages of 0 and 1 are: 1) only ones; 2) repetitions of 10; 3) no odd number of zeros directly after an odd
    number of ones; 4) no 000; 5) even numbers of zeros and of ones; 6) numbers of zeros and ones that are equal modulo
    3; 7) zeros, ones, zeros, ones, any of them none.
    """
    tables: dict[int, tuple[list[tuple[int, int]], set[int]]] = {
        1: ([(1, 0), (1, 1)], {0}),
        2: ([(2, 1), (0, 2), (2, 2)], {0}),
        3: ([(0, 1), (2, 0), (3, 4), (2, 1), (4, 4)], {0, 1, 3}),
        4: ([(1, 0), (2, 0), (3, 0), (3, 3)], {0, 1, 2}),
        5: ([(1, 2), (0, 3), (3, 0), (2, 1)], {0}),
        6: ([(1, 2), (2, 0), (0, 1)], {0}),
        7: ([(0, 1), (2, 1), (2, 3), (4, 3), (4, 4)], {0, 1, 2, 3}),
    }
    transitions, accepting = tables[number]
    return _automaton(lambda state, symbol: transitions[state][symbol], len(transitions), accepting)


def _automaton(follow: Callable[[int, int], int], num_states: int, accepting: set[int]) -> Automaton:
    """Return the minimal automaton with a function from state and symbol (0 or 1) to the next state."""
    transitions = tuple((follow(state, 0), follow(state, 1)) for state in range(num_states))
    return minimise(Automaton(transitions, tuple(state in accepting for state in range(num_states))))


NAMED = MappingProxyType(
    {
        **{f"Tomita {number}": tomita(number) for number in range(1, 8)},
        "parity": count_modulo(2),
        **{f"ones modulo {modulus}": count_modulo(modulus) for modulus in (3, 5, 7)},
        **{f"Dyck-1 of depth {depth}": bounded_dyck(depth) for depth in (2, 3, 4)},
    }
)
"""Name -> minimal automaton, all of two symbols."""


@lru_cache(maxsize=4096)
def automaton_of(number: int) -> Automaton:
    """Return the minimal automaton of a number: 0 to 13 are the named ones, others up to 2**32 - 1 are drawn.

    Raises:
        UnknownNameError: The number is not from 0 to 2**32 - 1.
    """
    if not 0 <= number < 2**32:
        raise UnknownNameError(f"Unknown automaton {number}; known: 0 to 2**32 - 1.")
    return tuple(NAMED.values())[number] if number < len(NAMED) else draw_automaton(number)


def number_of_language(number: int) -> int:
    """Return a number that is the same for all numbers whose automata accept the same strings.

    There are so few small automata that several numbers draw the same one: theirs is that of a named automaton, or
    follows from a hash of the automaton. Of more than 7 states there are more than 10**11, and the number is returned.
    """
    if number >= len(NAMED) and num_states_of(torch.tensor(number)) > _REPEATED_STATES:
        return number
    automaton = automaton_of(number)
    for named, known in enumerate(NAMED.values()):
        if automaton == known:
            return named
    digest = hashlib.sha256(repr((automaton.transitions, automaton.accepting)).encode()).digest()
    return len(NAMED) + int.from_bytes(digest[:4], "little") % (2**32 - len(NAMED))
