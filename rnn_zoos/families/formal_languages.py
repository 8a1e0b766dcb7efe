"""Networks that generate strings of the languages a^n b^(n+m_b) c^(n+m_c) d^(n+m_d).

A task is a triple of offsets (m_b, m_c, m_d), each in -3..2, which gives 216 languages (Herrmann et al., ICML 2024,
section 5). A network is trained as a language model: it reads a string symbol by symbol and predicts the next symbol.
Strings start with BOS, end with EOS, and are padded with EOS to 42 symbols.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy.typing as npt
import torch
from torch import Tensor

from rnn_zoos.families import behaviours
from rnn_zoos.families.columns import Column
from rnn_zoos.families.family import Measurement, TaskFamily, assign_in_blocks, to_half
from rnn_zoos.families.labels import Label
from rnn_zoos.families.landscape import LANDSCAPE
from rnn_zoos.families.language_labels import LANGUAGE_LABELS, LONG_N
from rnn_zoos.families.language_strings import (
    BOS,
    LENGTH,
    LETTERS,
    MAX_N,
    NUM_SYMBOLS,
    NUM_TASKS,
    judge,
    sample_strings,
    task_number,
    task_offsets,
    training_loss,
    training_strings,
    verdict_labels,
)
from rnn_zoos.families.sampler import SymbolSampler
from rnn_zoos.families.view import View
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.randomness import Purpose, random_bits, to_integers, to_uniform


@dataclass(frozen=True)
class LanguageEvaluation:
    """Sizes of the evaluation of a snapshot: strings sampled for the labels, and strings stored as rollouts."""

    strings: int
    rollouts: int


@dataclass(frozen=True)
class LanguageSampler(SymbolSampler):
    """Training strings of M runs; the target of a step is the next symbol.

    Attributes:
        strings: uint8 [M, 10, 42]; the first `counts[m]` are the training strings of run m, the others are padding.
        counts: Number of training strings of each run, [M].
        seed: Seed of the zoo.
        runs: Numbers of the runs, [M].
        batch_size: B, strings per update.
    """

    strings: Tensor
    counts: Tensor
    seed: int
    runs: Tensor
    batch_size: int
    num_symbols: ClassVar[int] = NUM_SYMBOLS
    target_offset: ClassVar[int] = 1

    def draw(self, first_update: int, num_updates: int) -> Tensor:
        """Draw K batches of strings, uniformly over n: symbols uint8 [M, K, B, T+1]."""
        updates = range(first_update, first_update + num_updates)
        bits = random_bits(self.seed, self.runs, Purpose.DATA, updates, self.batch_size, self.runs.device)
        chosen = to_integers(bits, self.counts[:, None, None])
        return self.strings[torch.arange(len(self.runs), device=self.runs.device)[:, None, None], chosen]


class FormalLanguages(TaskFamily):
    """The task family of the zoo `formal-languages`."""

    name = "formal-languages"
    input_size = NUM_SYMBOLS
    output_size = NUM_SYMBOLS
    evaluation_type = LanguageEvaluation
    task_columns: ClassVar[Mapping[str, Column]] = MappingProxyType(
        {f"m_{letter}": Column("int32", f"number of {letter} minus number of a") for letter in LETTERS[1:]}
    )
    benchmark = behaviours.LANGUAGES
    view = View("strings", (*LETTERS, "BOS", "EOS"), (*LETTERS, "BOS", "EOS"), "grid", ("m_b", "m_d", "m_c"))
    main_column = "m_b"
    label_columns: ClassVar[Mapping[str, Column]] = MappingProxyType(
        {
            "accuracy": Column("float32", "fraction of written strings that are in the language (order and counts)"),
            "count_accuracy": Column(
                "float32", "fraction with the right counts before EOS, in any order (paper's code)"
            ),
            "finished": Column("float32", "fraction of written strings that have an EOS"),
            "loss": Column(
                "float32", "cross-entropy on the training strings, all equally likely, all 41 steps", "nats"
            ),
        }
    )
    fraction_labels = ("accuracy", "count_accuracy", "finished", "original_accuracy")
    further_labels: ClassVar[Mapping[str, Label]] = MappingProxyType({**LANGUAGE_LABELS, **LANDSCAPE})
    # In an imported zoo, accuracy, count_accuracy and finished are measured on the stored rollouts: a source does not
    # hold the strings that its own accuracy was measured on.
    imported_label_columns: ClassVar[Mapping[str, Column]] = MappingProxyType(
        {
            **label_columns,
            "original_accuracy": Column(
                "float32", "fraction of the source's own 1,000 strings with the right counts, as the source says"
            ),
        }
    )

    def assign_tasks(self, seed: int, runs: Tensor, stratified: bool = False) -> Tensor:
        """Assign a permutation of all 216 languages to each block of 216 runs, which is stratified in either case."""
        return assign_in_blocks(seed, runs, 0, NUM_TASKS)

    def task_name(self, task: int) -> str:
        """Return the offsets as text, for example `b-1 c+0 d+2`."""
        return " ".join(f"{letter}{m:+d}" for letter, m in zip(LETTERS[1:], task_offsets(task), strict=True))

    def task_values(self, task: int) -> dict[str, int]:
        """Return m_b, m_c and m_d."""
        return dict(zip(self.task_columns, task_offsets(task), strict=True))

    def task_of(self, values: Mapping[str, Any]) -> int:
        """Return the task with these m_b, m_c and m_d."""
        return task_number((values["m_b"], values["m_c"], values["m_d"]))

    def is_ood(self, tasks: Tensor) -> Tensor:
        """Tell which tasks are among the 25 most regular languages: |m_b| + |m_c| + |m_d| <= 2."""
        near = torch.tensor([sum(map(abs, task_offsets(task))) <= 2 for task in range(NUM_TASKS)])
        return near[tasks]

    def sampler(
        self, seed: int, runs: Sequence[int], tasks: Sequence[int], batch_size: int, device: str = "cpu"
    ) -> LanguageSampler:
        """Return a sampler of the training strings of M runs."""
        languages = [training_strings(task_offsets(task)) for task in tasks]
        return LanguageSampler(
            torch.nn.utils.rnn.pad_sequence(languages, batch_first=True).to(device),
            torch.tensor([len(strings) for strings in languages], device=device),
            seed,
            torch.tensor(runs, device=device),
            batch_size,
        )

    def check_evaluation(self, evaluation: LanguageEvaluation) -> None:
        """Accept any sizes: the number of strings that can be sampled is unlimited."""

    @torch.no_grad()
    def evaluate(
        self, network: RecurrentNetwork, seed: int, run: int, task: int, step: int, evaluation: LanguageEvaluation
    ) -> Measurement:
        """Sample strings from the network and judge them; the loss is exact, over all training strings.

        The rollouts are further samples: `sequences` and the log-probabilities of all symbols at every step.
        """
        offsets = task_offsets(task)

        def sample(purpose: Purpose, count: int) -> tuple[Tensor, Tensor]:
            bits = random_bits(seed, [run], purpose, [step], count * (LENGTH - 1))
            return sample_strings(network, to_uniform(bits).view(count, LENGTH - 1))

        verdict = judge(sample(Purpose.EVALUATION, evaluation.strings)[0], offsets)
        sequences, log_probs = sample(Purpose.ROLLOUTS, evaluation.rollouts)
        return Measurement(
            {**verdict_labels(verdict), "loss": training_loss(network, offsets)},
            {"sequences": sequences, "log_probs": to_half(log_probs)},
        )

    def evaluate_stack(
        self,
        stack: NetworkStack,
        seed: int,
        runs: Sequence[int],
        tasks: Sequence[int],
        steps: Sequence[int],
        evaluation: LanguageEvaluation,
    ) -> list[Measurement]:
        """Do what `evaluate` does for M snapshots, on the device of their weights."""
        from rnn_zoos.families.language_stacks import evaluate_languages

        return evaluate_languages(stack, seed, runs, tasks, steps, evaluation)

    def fraction_denominators(self, evaluation: LanguageEvaluation) -> dict[str, int]:
        """Return the number of strings that labels are a fraction of."""
        counts = dict.fromkeys(("accuracy", "count_accuracy", "finished"), evaluation.strings)
        return {**counts, "greedy_accuracy": MAX_N + 1, "long_accuracy": LONG_N - MAX_N}

    def samples(
        self, network: RecurrentNetwork, seed: int, row: Mapping[str, Any], count: int
    ) -> tuple[str, list[dict[str, Any]]]:
        """Show strings that it writes."""
        from rnn_zoos.families.samples import language_samples

        return "strings that it writes", language_samples(network, seed, row, self.task_of(row), count)

    def rollout_shapes(self, evaluation: LanguageEvaluation) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Describe the rollouts: sequences [N, T+1] and log-probabilities [N, T, V] of N strings."""
        return self.imported_rollout_shapes(evaluation.rollouts)

    def imported_rollout_shapes(self, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Describe the rollouts of an imported zoo, which are the same."""
        return {"sequences": ("U8", (count, LENGTH)), "log_probs": ("F16", (count, LENGTH - 1, NUM_SYMBOLS))}

    def check_rollouts(self, rollouts: Mapping[str, npt.NDArray[Any]]) -> Iterator[str]:
        """Yield impossible values: unknown symbols, a first symbol other than BOS, positive log-probabilities."""
        sequences = rollouts["sequences"]
        if (sequences >= NUM_SYMBOLS).any() or (sequences[..., 0] != BOS).any():
            yield "sequences contain unknown symbols or do not start with BOS"
        if (rollouts["log_probs"] > 0).any():
            yield "log_probs are above zero"
