"""Well-known regular languages as minimal automata: Tomita 1 to 7, parity, counting modulo m, bounded brackets."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from rnn_zoos.families.automaton import Automaton, minimise


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
