"""Deterministic finite automata: running, minimising and counting them, and drawing a minimal one by a number."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnn_zoos.randomness import Purpose, random_bits, to_integers

STATES = range(3, 25)
"""Possible numbers of states of a drawn automaton."""
SYMBOLS = range(2, 5)
"""Possible numbers of symbols."""
MAX_SHARE = 0.9
"""Drawn automata give the same answer to at most this fraction of the prefixes of random strings."""
LENGTH = 40
"""Symbols of the random strings that `MAX_SHARE` is about."""
_AT_ONCE = 16  # random automata that are drawn together
_REACHABLE = {2: 0.797, 3: 0.940, 4: 0.980}  # symbols -> fraction of a large random automaton's states: c = 1 - e**-kc


@dataclass(frozen=True)
class Automaton:
    """A complete deterministic finite automaton with n states and k symbols. State 0 is the start.

    Attributes:
        transitions: [n][k], the state that follows a state when a symbol is read.
        accepting: [n], whether a string that ends in a state is accepted.
    """

    transitions: tuple[tuple[int, ...], ...]
    accepting: tuple[bool, ...]

    @property
    def num_states(self) -> int:
        """n."""
        return len(self.transitions)

    @property
    def num_symbols(self) -> int:
        """k."""
        return len(self.transitions[0])

    @cached_property
    def tables(self) -> tuple[Tensor, Tensor]:
        """Transitions, int64 [n, k], and accepting states, bool [n]."""
        return torch.tensor(self.transitions), torch.tensor(self.accepting)

    def walk(self, strings: Tensor) -> Tensor:
        """Return the states int64 [..., T] after each symbol of strings [..., T]."""
        transitions, _ = self.tables
        state, states = torch.zeros(strings.shape[:-1], dtype=torch.int64), []
        for symbols in strings.long().unbind(dim=-1):
            state = transitions[state, symbols]
            states.append(state)
        return torch.stack(states, dim=-1)

    def answers(self, strings: Tensor) -> Tensor:
        """Return whether each prefix of strings [..., T] is accepted, bool [..., T]; the empty prefix is left out."""
        return self.tables[1][self.walk(strings)]

    def acceptance(self, length: int) -> npt.NDArray[np.float64]:
        """Return the fraction of all strings of 1, 2, ..., `length` symbols that are accepted, float64 [length]."""
        step = np.zeros((self.num_states, self.num_states))
        for state, row in enumerate(self.transitions):
            np.add.at(step[state], list(row), 1 / self.num_symbols)
        occupied = np.eye(self.num_states)[0]
        fractions = []
        for _ in range(length):
            occupied = occupied @ step
            fractions.append(occupied[list(self.accepting)].sum())
        return np.array(fractions)


@dataclass(frozen=True)
class AutomatonStack:
    """M automata that read at once; those with fewer states or symbols are padded.

    Attributes:
        transitions: int64 [M, S * V]: the state that follows state s on symbol v is at s * V + v.
        accepting: bool [M, S].
    """

    transitions: Tensor
    accepting: Tensor

    @classmethod
    def of(cls, automata: Sequence[Automaton], device: str = "cpu") -> AutomatonStack:
        """Return the stack of automata with at most 24 states and 4 symbols."""
        transitions = torch.zeros(len(automata), STATES[-1], SYMBOLS[-1], dtype=torch.int64)
        accepting = torch.zeros(len(automata), STATES[-1], dtype=torch.bool)
        for m, automaton in enumerate(automata):
            states, symbols = automaton.num_states, automaton.num_symbols
            transitions[m, :states, :symbols], accepting[m, :states] = automaton.tables
        return cls(transitions.flatten(1).to(device), accepting.to(device))

    def answers(self, strings: Tensor) -> Tensor:
        """Return whether automaton m accepts each prefix of strings [m], int64 [M, N, T]: bool [M, N, T]."""
        state, answers = torch.zeros_like(strings[..., 0]), []
        for symbols in strings.unbind(dim=-1):
            state = self.transitions.gather(1, state * SYMBOLS[-1] + symbols)
            answers.append(self.accepting.gather(1, state))
        return torch.stack(answers, dim=-1)


def minimise(automaton: Automaton) -> Automaton:
    """Return the minimal automaton of the same language, with its states in breadth-first order.

    Two automata with the same symbols accept the same strings if and only if the results are equal. Equivalent states
    are found by partition refinement (Moore, "Gedanken-experiments on sequential machines", 1956).
    """
    order = _reachable(automaton.transitions)
    blocks = {state: int(automaton.accepting[state]) for state in order}
    count = len(set(blocks.values()))
    while True:
        signatures = {s: (blocks[s], *(blocks[t] for t in automaton.transitions[s])) for s in order}
        numbers = {signature: number for number, signature in enumerate(dict.fromkeys(signatures.values()))}
        blocks = {state: numbers[signatures[state]] for state in order}
        if len(numbers) == count:
            break
        count = len(numbers)
    # Blocks are numbered in the order of their first states, which is breadth-first since `order` is.
    firsts = dict(zip(reversed([blocks[state] for state in order]), reversed(order), strict=True))
    return Automaton(
        tuple(tuple(blocks[t] for t in automaton.transitions[firsts[block]]) for block in range(count)),
        tuple(automaton.accepting[firsts[block]] for block in range(count)),
    )


def _reachable(transitions: Sequence[Sequence[int]]) -> list[int]:
    """Return the states that can be reached from state 0, in breadth-first order."""
    found, waiting = {0: None}, deque([0])
    while waiting:
        for state in transitions[waiting.popleft()]:
            if state not in found:
                found[state] = None
                waiting.append(state)
    return list(found)


def num_states_of(numbers: Tensor) -> Tensor:
    """Return how many states the automaton of each number [M] has, int64 [M]."""
    return STATES[0] + numbers % len(STATES)


def num_symbols_of(numbers: Tensor) -> Tensor:
    """Return how many symbols the automaton of each number [M] has, int64 [M]."""
    return SYMBOLS[0] + numbers // len(STATES) % len(SYMBOLS)


def draw_automaton(number: int) -> Automaton:
    """Return the minimal automaton of a number from 0 to 2**32 - 1, with its states in breadth-first order.

    The number decides the numbers of states and symbols (`num_states_of`, `num_symbols_of`), and is the address of the
    random numbers. Random automata are drawn until one has as many reachable states as wanted, is minimal, and does not
    give more than 90% of its answers alike. The reachable part of a random automaton, given its size, is uniform among
    those of its size (Carayol and Nicaud, "Distribution of the number of accessible states in a random deterministic
    automaton", STACS 2012), and so is the result among the minimal automata of its size with such answers.
    """
    states, symbols = (int(size(torch.tensor(number))) for size in (num_states_of, num_symbols_of))
    for candidate in _random_automata(number, round(states / _REACHABLE[symbols]), symbols):
        if len(_reachable(candidate.transitions)) == states:
            automaton = minimise(candidate)
            if automaton.num_states == states and is_varied(automaton):
                return automaton
    raise AssertionError("unreachable: the candidates do not end")


def _random_automata(number: int, states: int, symbols: int) -> Iterator[Automaton]:
    """Yield random automata of a number without end; most of them have states that cannot be reached."""
    for first in itertools.count(0, _AT_ONCE):
        attempts = range(first, first + _AT_ONCE)
        words = random_bits(0, [number], Purpose.AUTOMATON, attempts, states * (symbols + 1))[0]
        accepting = to_integers(words[:, :states], 2).bool()
        targets = to_integers(words[:, states:], states).unflatten(1, (states, symbols))
        for rows, answers in zip(targets.tolist(), accepting.tolist(), strict=True):
            yield Automaton(tuple(map(tuple, rows)), tuple(answers))


def random_strings(
    automaton: Automaton, seed: int, run: int, purpose: Purpose, counter: int, shape: tuple[int, int]
) -> Tensor:
    """Return strings int64 [N, T] of an automaton's symbols, drawn uniformly, from a stream of random numbers."""
    bits = random_bits(seed, [run], purpose, [counter], shape[0] * shape[1])
    return to_integers(bits, automaton.num_symbols).view(shape)


def is_varied(automaton: Automaton) -> bool:
    """Tell whether at most 90% of the prefixes of random strings of 40 symbols get the same answer."""
    accepted = automaton.acceptance(LENGTH).mean()
    return bool(1 - MAX_SHARE <= accepted <= MAX_SHARE)
