"""Networks that read random strings and say after every symbol whether an automaton accepts what they have read.

A task is a number from 0 to 2**32 - 1. Tasks 0 to 13 are well-known automata (`named_automata`). The number of another
task draws a minimal automaton with 3 to 24 states and 2 to 4 symbols (`automaton.draw_automaton`). Networks are trained
on strings of 40 symbols, drawn uniformly. This family is not in the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.errors import PresetError
from rnn_zoos.families import automata_labels, behaviours
from rnn_zoos.families.automaton import LENGTH, STATES, SYMBOLS, AutomatonStack, num_states_of, random_strings
from rnn_zoos.families.columns import Column
from rnn_zoos.families.family import Measurement, TaskFamily, assign_in_blocks, to_half
from rnn_zoos.families.labels import Label
from rnn_zoos.families.landscape import LANDSCAPE
from rnn_zoos.families.named_automata import NAMED, automaton_of, number_of_language
from rnn_zoos.families.sampler import SymbolSampler, one_hot
from rnn_zoos.families.view import View
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.randomness import Purpose, random_bits, to_integers

OOD_STATES = 21
"""Automata with at least so many states are out of distribution, as are the named ones."""
_NAMED_EVERY = 140  # runs, of which the first are of the named automata, one each
_SIZES = len(STATES) * len(SYMBOLS)  # consecutive numbers have all sizes
_KIND, _NUMBER = 0, 2  # counters of Purpose.TASK; 1 draws the weight decay
_STRINGS_AT_ONCE = 64  # of 160 symbols, that a network reads together


@dataclass(frozen=True)
class AutomataEvaluation:
    """Sizes of the evaluation of a snapshot.

    Attributes:
        strings: Random strings of 160 symbols, for accuracies and loss.
        hard_pairs: Pairs of strings of which the automaton accepts one.
        traced_strings: Random strings whose hidden states are analysed.
        rollouts: Random strings that are stored with the network's answers.
    """

    strings: int
    hard_pairs: int
    traced_strings: int
    rollouts: int


@dataclass(frozen=True)
class AutomataSampler(SymbolSampler):
    """Random strings of M runs, each with the answers of the run's automaton behind it.

    Attributes:
        automata: The automata of the runs.
        counts: Number of symbols of each run's automaton, [M].
        seed: Seed of the zoo.
        runs: Numbers of the runs, [M].
        batch_size: B, strings per update.
    """

    automata: AutomatonStack
    counts: Tensor
    seed: int
    runs: Tensor
    batch_size: int
    num_symbols: ClassVar[int] = SYMBOLS[-1]
    target_offset: ClassVar[int] = LENGTH

    def draw(self, first_update: int, num_updates: int) -> Tensor:
        """Draw K batches of strings with their answers, uint8 [M, K, B, 2 * T]."""
        updates, count = range(first_update, first_update + num_updates), len(self.runs)
        words = self.batch_size * LENGTH
        bits = random_bits(self.seed, self.runs, Purpose.DATA, updates, words, self.runs.device)
        strings = to_integers(bits, self.counts[:, None, None]).view(count, -1, LENGTH)
        read_and_answered = [strings.to(torch.uint8), self.automata.answers(strings).to(torch.uint8)]
        return torch.cat(read_and_answered, dim=-1).view(count, num_updates, self.batch_size, 2 * LENGTH)


class Automata(TaskFamily):
    """The task family of the zoo `automata`."""

    name = "automata"
    input_size = SYMBOLS[-1]
    output_size = 2
    evaluation_type = AutomataEvaluation
    task_columns: ClassVar[Mapping[str, Column]] = MappingProxyType(
        {
            "automaton": Column("int64", "number of the automaton; 0 to 13 are the named ones"),
            "num_states": Column("int32", "states of the minimal automaton"),
            "num_symbols": Column("int32", "symbols of its strings; the network has inputs for 4"),
            "density": Column("float64", "fraction of the beginnings of random strings of 40 symbols that it accepts"),
            "transitions": Column("string", "per state from 0, the start: the next state for each symbol"),
            "accepting": Column("string", "the states that accept"),
        }
    )
    benchmark = behaviours.AUTOMATA
    view = View("automaton", tuple("0123"), ("rejected", "accepted"), "axis", ("num_states",))
    main_column = "num_states"
    label_columns: ClassVar[Mapping[str, Column]] = MappingProxyType(
        {
            "accuracy": Column("float32", "fraction of right answers at symbols 1 to 40 of random strings"),
            "accuracy_80": Column("float32", "the same at symbols 41 to 80, up to twice the length of training"),
            "accuracy_160": Column("float32", "the same at symbols 81 to 160, up to four times that length"),
            "loss": Column("float32", "cross-entropy at symbols 1 to 40", "nats"),
        }
    )
    fraction_labels = ("accuracy", "accuracy_80", "accuracy_160")
    further_labels: ClassVar[Mapping[str, Label]] = MappingProxyType(
        {
            "hard_accuracy": Label(
                Column("float32", "fraction of right answers to pairs of strings one symbol apart, one accepted"),
                automata_labels.hard_accuracy,
                fraction=True,
            ),
            "state_accuracy": Label(
                Column("float32", "fraction of the automaton's states that a linear probe reads from the hidden state"),
                automata_labels.state_accuracy,
                fraction=True,
            ),
            "extracted_agreement": Label(
                Column("float32", "fraction of the network's answers that an automaton of clustered states gives, too"),
                automata_labels.extracted_agreement,
                fraction=True,
            ),
            **LANDSCAPE,
        }
    )

    def assign_tasks(self, seed: int, runs: Tensor, stratified: bool = False) -> Tensor:
        """Assign named automata to the first 14 of every 140 runs, and numbers to the others, all sizes equally often.

        Each block of 66 of the other runs has one automaton of each number of states and symbols; this is stratified
        in either case.
        """
        named = runs % _NAMED_EVERY < len(NAMED)
        others = runs - len(NAMED) * (runs // _NAMED_EVERY + 1)  # how many runs before are not of named automata
        kinds = assign_in_blocks(seed, others.clamp(min=0), _KIND, _SIZES)
        words = random_bits(seed, runs, Purpose.TASK, [_NUMBER], 1)[:, 0, 0]
        # Below 66 are the named ones, which cannot be drawn.
        numbers = _SIZES * (1 + to_integers(words, 2**32 // _SIZES - 1)) + kinds
        return torch.where(named, runs % _NAMED_EVERY, numbers)

    def task_name(self, task: int) -> str:
        """Return the name of a named automaton, else its size and number, for example `automaton 7 x 2 no. 4294`."""
        if task < len(NAMED):
            return tuple(NAMED)[task]
        automaton = automaton_of(task)
        return f"automaton {automaton.num_states} x {automaton.num_symbols} no. {task}"

    def task_values(self, task: int) -> dict[str, Any]:
        """Return the number, the sizes, the density and the table of the automaton."""
        automaton = automaton_of(task)
        return {
            "automaton": task,
            "num_states": automaton.num_states,
            "num_symbols": automaton.num_symbols,
            "density": float(automaton.acceptance(LENGTH).mean()),
            "transitions": " | ".join(" ".join(map(str, row)) for row in automaton.transitions),
            "accepting": " ".join(str(state) for state, accepts in enumerate(automaton.accepting) if accepts),
        }

    def task_of(self, values: Mapping[str, Any]) -> int:
        """Return the number of the automaton. Raises ValueError if there is none."""
        if not 0 <= values["automaton"] < 2**32:
            raise ValueError(f"automaton {values['automaton']} is not from 0 to 2**32 - 1")
        return int(values["automaton"])

    def is_ood(self, tasks: Tensor) -> Tensor:
        """Tell which tasks are out of distribution: automata that are a named one, or have 21 states or more."""
        named = torch.tensor([number_of_language(task) < len(NAMED) for task in tasks.tolist()], dtype=torch.bool)
        return named | (num_states_of(tasks) >= OOD_STATES)

    def split_keys(self, tasks: Tensor) -> Tensor:
        """Return a number for each task, the same for all that are the same automaton: they are in the same split."""
        return torch.tensor([number_of_language(task) for task in tasks.tolist()], dtype=torch.int64)

    def sampler(
        self, seed: int, runs: Sequence[int], tasks: Sequence[int], batch_size: int, device: str = "cpu"
    ) -> AutomataSampler:
        """Return a sampler of random strings with the answers of the automata of M runs."""
        automata = [automaton_of(task) for task in tasks]
        return AutomataSampler(
            AutomatonStack.of(automata, device),
            torch.tensor([automaton.num_symbols for automaton in automata], device=device),
            seed,
            torch.tensor(runs, device=device),
            batch_size,
        )

    def check_evaluation(self, evaluation: AutomataEvaluation) -> None:
        """Raise PresetError if there are too few traced strings: half of them are for fitting, half for measuring."""
        if evaluation.traced_strings < 2:
            raise PresetError(f"evaluation.traced_strings is {evaluation.traced_strings}; expected 2 or more.")

    @torch.no_grad()
    def evaluate(
        self, network: RecurrentNetwork, seed: int, run: int, task: int, step: int, evaluation: AutomataEvaluation
    ) -> Measurement:
        """Compare the network's answers with the automaton's on random strings, which differ between snapshots.

        The rollouts are further strings, the same for all snapshots of a run: `sequences`, and the log-probabilities of
        both answers after every symbol, `log_probs`.
        """
        automaton = automaton_of(task)
        strings = random_strings(automaton, seed, run, Purpose.EVALUATION, step, (evaluation.strings, 4 * LENGTH))
        answers = automaton.answers(strings).long()
        logits = torch.cat([network(one_hot(chunk, self.input_size)) for chunk in strings.split(_STRINGS_AT_ONCE)])
        right = (logits.argmax(dim=-1) == answers).float()
        shown = random_strings(automaton, seed, run, Purpose.ROLLOUTS, 0, (evaluation.rollouts, LENGTH))
        early = logits[:, :LENGTH].flatten(0, 1), answers[:, :LENGTH].flatten()
        return Measurement(
            {
                "accuracy": right[:, :LENGTH].mean().item(),
                "accuracy_80": right[:, LENGTH : 2 * LENGTH].mean().item(),
                "accuracy_160": right[:, 2 * LENGTH :].mean().item(),
                "loss": F.cross_entropy(*early).item(),
            },
            {
                "sequences": shown.to(torch.uint8),
                "log_probs": to_half(network(one_hot(shown, self.input_size)).log_softmax(dim=-1)),
            },
        )

    def fraction_denominators(self, evaluation: AutomataEvaluation) -> dict[str, int]:
        """Return the number of answers that labels are a fraction of."""
        answers = evaluation.strings * LENGTH
        traced = (evaluation.traced_strings + 1) // 2 * LENGTH
        return {
            "accuracy": answers,
            "accuracy_80": answers,
            "accuracy_160": 2 * answers,
            "hard_accuracy": 2 * evaluation.hard_pairs,
            "state_accuracy": traced,
            "extracted_agreement": traced,
        }

    def samples(
        self, network: RecurrentNetwork, seed: int, row: Mapping[str, Any], count: int
    ) -> tuple[str, list[dict[str, Any]]]:
        """Show random strings, with its answer after every symbol."""
        from rnn_zoos.families.samples import automaton_samples

        rows = automaton_samples(network, seed, row, self.task_of(row), count)
        return "random strings, with its answer after every symbol", rows

    def rollout_shapes(self, evaluation: AutomataEvaluation) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Describe the rollouts: strings [N, T], and log-probabilities [N, T, 2] of being rejected and accepted."""
        count = evaluation.rollouts
        return {"sequences": ("U8", (count, LENGTH)), "log_probs": ("F16", (count, LENGTH, self.output_size))}

    def check_rollouts(self, rollouts: Mapping[str, npt.NDArray[Any]]) -> Iterator[str]:
        """Yield impossible values: unknown symbols, positive log-probabilities."""
        if (rollouts["sequences"] >= SYMBOLS[-1]).any():
            yield "sequences contain unknown symbols"
        if (rollouts["log_probs"] > 0).any():
            yield "log_probs are above zero"
