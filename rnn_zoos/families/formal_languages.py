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
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.family import Column, Measurement, TaskFamily, assign_in_blocks, to_half
from rnn_zoos.families.sampler import SymbolSampler, one_hot
from rnn_zoos.networks.cells import network_step, zero_state
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.randomness import Purpose, random_bits, to_integers, to_uniform

LETTERS = "abcd"
"""The letters a to d are the symbols 0 to 3."""
BOS, EOS = 4, 5
NUM_SYMBOLS = 6
LENGTH = 42
"""Symbols of a sequence, including BOS; a network predicts LENGTH - 1 of them."""
MAX_N = 9
OFFSETS = range(-3, 3)
NUM_TASKS = len(OFFSETS) ** 3

Offsets = tuple[int, int, int]
"""(m_b, m_c, m_d)."""


def task_offsets(task: int) -> Offsets:
    """Return (m_b, m_c, m_d) of a task 0..215. Inverse of `task_number`."""
    if not 0 <= task < NUM_TASKS:
        raise UnknownNameError.among("language", task, range(NUM_TASKS))
    return OFFSETS[task // 36], OFFSETS[task // 6 % 6], OFFSETS[task % 6]


def task_number(offsets: Offsets) -> int:
    """Return the task 0..215 of (m_b, m_c, m_d). Inverse of `task_offsets`. Raises ValueError for other offsets."""
    m_b, m_c, m_d = (OFFSETS.index(m) for m in offsets)
    return (m_b * 6 + m_c) * 6 + m_d


def training_strings(offsets: Offsets) -> Tensor:
    """Return all training strings of a language, uint8 [N, 42]: one for each n from max(0, -min m) to 9, so N is 7..10.

    The longest string of four of the languages has no room for EOS: it is truncated to 41 letters.
    """
    strings = []
    for n in range(max(0, -min(offsets)), MAX_N + 1):
        letters = [symbol for symbol, m in enumerate((0, *offsets)) for _ in range(n + m)]
        strings.append([BOS, *letters, *[EOS] * LENGTH][:LENGTH])
    return torch.tensor(strings, dtype=torch.uint8)


def one_hot_inputs(sequences: Tensor) -> Tensor:
    """Return the inputs for sequences [..., T+1]: all symbols but the last, one-hot, float32 [..., T, V]."""
    return one_hot(sequences[..., :-1], NUM_SYMBOLS)


def as_text(sequence: Tensor) -> str:
    """Return a sequence [T] as text: the letters before the first EOS.

    `^` marks a BOS after the first symbol, a final `...` a sequence without EOS.
    """
    text = "".join((LETTERS + "^$")[symbol] for symbol in sequence[1:].tolist())
    string, end, _ = text.partition("$")
    return string if end else string + "..."


@dataclass(frozen=True)
class Verdict:
    """Properties of B generated sequences, bool [B] each, or [M, B] of those of M networks.

    Attributes:
        finished: The sequence has an EOS.
        right_counts: Finished, and before the first EOS the letters occur n, n+m_b, n+m_c and n+m_d times for some
            n >= 0, in any order. This is the criterion of the paper's code.
        accepted: Right counts, in order, and no other symbols: the string is in the language.
    """

    finished: Tensor
    right_counts: Tensor
    accepted: Tensor


def judge(sequences: Tensor, offsets: Sequence[int | Tensor]) -> Verdict:
    """Judge sequences [B, T], which start with BOS, by their symbols before the first EOS.

    With offsets as three tensors [M, 1], it judges sequences [M, B, T] of M networks.
    """
    written = sequences[..., 1:].long()
    ended = (written == EOS).cumsum(dim=-1) > 0
    finished = ended[..., -1]
    counts = [((written == symbol) & ~ended).sum(dim=-1) for symbol in range(len(LETTERS))]
    right_counts = finished.clone()
    for count, offset in zip(counts[1:], offsets, strict=True):
        right_counts &= count == counts[0] + offset
    in_order = ((written[..., 1:] >= written[..., :-1]) | ended[..., 1:]).all(dim=-1)
    only_letters = ((written != BOS) | ended).all(dim=-1)
    return Verdict(finished, right_counts, right_counts & in_order & only_letters)


def verdict_labels(verdict: Verdict) -> dict[str, float]:
    """Return the labels that follow from a verdict: accuracy, count_accuracy, finished."""
    return {
        "accuracy": verdict.accepted.float().mean().item(),
        "count_accuracy": verdict.right_counts.float().mean().item(),
        "finished": verdict.finished.float().mean().item(),
    }


@torch.no_grad()
def training_loss(network: RecurrentNetwork, offsets: Offsets) -> float:
    """Return the exact cross-entropy in nats: the mean over all 41 steps of all training strings, equally weighted."""
    strings = training_strings(offsets)
    logits = network(one_hot_inputs(strings))
    return F.cross_entropy(logits.flatten(0, 1), strings[:, 1:].flatten().long()).item()


def sample_strings(network: RecurrentNetwork, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Sample B sequences from a network at temperature 1.

    Args:
        network: A network of this family.
        uniforms: One number in [0, 1) per symbol, [B, T]. Symbol t is the first whose cumulative probability exceeds
            `uniforms[:, t]`.

    Returns:
        The sequences, uint8 [B, T+1], which start with BOS and go on after an EOS; and the log-probabilities of all
        symbols at every step, [B, T, V].
    """
    weights = network.weights()
    one_hot = torch.eye(NUM_SYMBOLS)
    state = zero_state(network.architecture, len(uniforms), like=uniforms)
    symbols, log_probs = [torch.full((len(uniforms),), BOS)], []
    for uniform in uniforms.unbind(dim=1):
        logits, state = network_step(network.architecture, weights, one_hot[symbols[-1]], state)
        log_probs.append(logits.log_softmax(dim=-1))
        below = log_probs[-1].exp().cumsum(dim=-1) <= uniform[:, None]
        symbols.append(below.sum(dim=-1).clamp(max=NUM_SYMBOLS - 1))
    return torch.stack(symbols, dim=1).to(torch.uint8), torch.stack(log_probs, dim=1)


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

    def counted(self, evaluation: LanguageEvaluation) -> dict[str, int]:
        """Return the number of strings that labels are a fraction of."""
        return dict.fromkeys(("accuracy", "count_accuracy", "finished"), evaluation.strings)

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
