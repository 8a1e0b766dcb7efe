"""Networks that write the languages a^n b^(n+m_b) c^(n+m_c) d^(n+m_d).

A task is (m_b, m_c, m_d), each in -3..2: 216 languages (Herrmann et al., ICML 2024, section 5). Strings start with BOS,
end with EOS, and are padded with EOS to 42 symbols.
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
from rnn_zoos.families.family import Column, Measured, TaskFamily, assign_in_blocks, to_half
from rnn_zoos.networks.cells import network_step, zero_state
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.randomness import Purpose, random_bits, to_integers, to_uniform

LETTERS = "abcd"
BOS, EOS = 4, 5
NUM_SYMBOLS = 6
LENGTH = 42
"""Symbols of a sequence, BOS included; a network predicts LENGTH - 1 of them."""
MAX_N = 9
OFFSETS = range(-3, 3)
NUM_TASKS = len(OFFSETS) ** 3

Offsets = tuple[int, int, int]


def task_offsets(task: int) -> Offsets:
    """Return (m_b, m_c, m_d) of a task 0..215. Inverse of `task_number`."""
    if not 0 <= task < NUM_TASKS:
        raise UnknownNameError.among("language", task, range(NUM_TASKS))
    return OFFSETS[task // 36], OFFSETS[task // 6 % 6], OFFSETS[task % 6]


def task_number(offsets: Offsets) -> int:
    """Return the task 0..215 of (m_b, m_c, m_d). Inverse of `task_offsets`."""
    m_b, m_c, m_d = (OFFSETS.index(m) for m in offsets)
    return (m_b * 6 + m_c) * 6 + m_d


def language(offsets: Offsets) -> Tensor:
    """Return all training strings of a language as symbols, uint8 [7..10, 42], by n = max(0, -min m) .. 9.

    A string that is too long for its EOS (the longest of four of the languages) is cut to 41 letters.
    """
    rows = []
    for n in range(max(0, -min(offsets)), MAX_N + 1):
        letters = [symbol for symbol, m in enumerate((0, *offsets)) for _ in range(n + m)]
        rows.append([BOS, *letters, *[EOS] * LENGTH][:LENGTH])
    return torch.tensor(rows, dtype=torch.uint8)


@dataclass(frozen=True)
class Verdict:
    """What is true of each of B written sequences; bool [B] each."""

    finished: Tensor
    right_counts: Tensor
    accepted: Tensor


def judge(sequences: Tensor, offsets: Offsets) -> Verdict:
    """Judge sequences [B, T] that start with BOS by what stands before the first EOS.

    finished: there is an EOS. right_counts: finished, and for some n >= 0 there are n a, n+m_b b, n+m_c c and n+m_d d,
    in any order (the test of the paper's code). accepted: the same, in order, and nothing else: a string of the
    language.
    """
    written = sequences[:, 1:].long()
    ended = (written == EOS).cumsum(dim=1) > 0
    finished = ended[:, -1]
    counts = [((written == symbol) & ~ended).sum(dim=1) for symbol in range(len(LETTERS))]
    right_counts = finished.clone()
    for count, offset in zip(counts[1:], offsets, strict=True):
        right_counts &= count == counts[0] + offset
    in_order = ((written[:, 1:] >= written[:, :-1]) | ended[:, 1:]).all(dim=1)
    only_letters = ((written != BOS) | ended).all(dim=1)
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
    """Return the exact cross-entropy in nats on the training strings, all equally likely, mean of all 41 steps."""
    strings = language(offsets)
    logits = network(one_hot_inputs(strings))
    return F.cross_entropy(logits.flatten(0, 1), strings[:, 1:].flatten().long()).item()


def show(sequence: Tensor) -> str:
    """Return a sequence [T] as text: letters up to the first EOS; `^` is a BOS in the middle, `...` a missing EOS."""
    text = "".join((LETTERS + "^$")[symbol] for symbol in sequence[1:].tolist())
    string, end, _ = text.partition("$")
    return string if end else string + "..."


def write_strings(network: RecurrentNetwork, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Let a network write B sequences at temperature 1, one uniform number [0, 1) per symbol: uniforms [B, T].

    Returns sequences uint8 [B, T+1] (BOS first; the network goes on after its EOS) and log-probabilities [B, T, V].
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
    """Sizes of the evaluation of a snapshot: strings written for the labels, and strings stored as rollouts."""

    strings: int
    rollouts: int


@dataclass(frozen=True)
class LanguageSampler:
    """Training strings of M runs: strings uint8 [M, 10, 42], of which the first `counts` [M] are the run's language."""

    strings: Tensor
    counts: Tensor
    seed: int
    runs: Tensor
    batch_size: int

    def draw(self, first_update: int, num_updates: int) -> Tensor:
        """Draw K batches ahead, n uniform: symbols uint8 [M, K, B, T+1]."""
        updates = range(first_update, first_update + num_updates)
        bits = random_bits(self.seed, self.runs, Purpose.DATA, updates, self.batch_size, self.runs.device)
        chosen = to_integers(bits, self.counts[:, None, None])
        return self.strings[torch.arange(len(self.runs), device=self.runs.device)[:, None, None], chosen]

    def batch(self, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Turn symbols [M, B, T+1] into one-hot inputs [M, B, T, V] and the next symbols [M, B, T]."""
        return one_hot_inputs(drawn), drawn[..., 1:].long()


def one_hot_inputs(sequences: Tensor) -> Tensor:
    """Return what a network reads of sequences [..., T+1]: all symbols but the last, one-hot float32 [..., T, V]."""
    return torch.eye(NUM_SYMBOLS, device=sequences.device)[sequences[..., :-1].long()]


class FormalLanguages(TaskFamily):
    """The zoo `formal-languages`."""

    name = "formal-languages"
    input_size = NUM_SYMBOLS
    output_size = NUM_SYMBOLS
    evaluation_type = LanguageEvaluation
    task_columns: ClassVar[Mapping[str, Column]] = MappingProxyType(
        {f"m_{letter}": Column("int32", f"number of {letter} minus number of a") for letter in LETTERS[1:]}
    )
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
    imported_label_columns: ClassVar[Mapping[str, Column]] = MappingProxyType(
        {
            **label_columns,
            "original_accuracy": Column(
                "float32", "fraction of the source's own 1,000 strings with the right counts, as the source says"
            ),
        }
    )
    """The first three are measured on the stored rollouts: a source does not hold the strings that it was judged by."""

    def assign_tasks(self, seed: int, runs: Tensor, stratified: bool = False) -> Tensor:
        """Deal each block of 216 runs one shuffle of all languages, which is stratified already."""
        return assign_in_blocks(seed, runs, 0, NUM_TASKS)

    def task_name(self, task: int) -> str:
        """Return for example `b-1 c+0 d+2`."""
        return " ".join(f"{letter}{m:+d}" for letter, m in zip(LETTERS[1:], task_offsets(task), strict=True))

    def task_values(self, task: int) -> dict[str, int]:
        """Return m_b, m_c, m_d."""
        return dict(zip(self.task_columns, task_offsets(task), strict=True))

    def task_of(self, values: Mapping[str, Any]) -> int:
        """Return the task of m_b, m_c, m_d."""
        return task_number((values["m_b"], values["m_c"], values["m_d"]))

    def is_ood(self, tasks: Tensor) -> Tensor:
        """Return the 25 most regular languages: |m_b| + |m_c| + |m_d| <= 2 (no ties at the boundary)."""
        near = torch.tensor([sum(map(abs, task_offsets(task))) <= 2 for task in range(NUM_TASKS)])
        return near[tasks]

    def sampler(
        self, seed: int, runs: Sequence[int], tasks: Sequence[int], batch_size: int, device: str = "cpu"
    ) -> LanguageSampler:
        """Return the training strings of M runs."""
        languages = [language(task_offsets(task)) for task in tasks]
        return LanguageSampler(
            torch.nn.utils.rnn.pad_sequence(languages, batch_first=True).to(device),
            torch.tensor([len(strings) for strings in languages], device=device),
            seed,
            torch.tensor(runs, device=device),
            batch_size,
        )

    @torch.no_grad()
    def evaluate(
        self, network: RecurrentNetwork, seed: int, run: int, task: int, step: int, evaluation: LanguageEvaluation
    ) -> Measured:
        """Let the network write strings and judge them; the loss is exact, over all strings of the language."""
        offsets = task_offsets(task)

        def write(purpose: Purpose, count: int) -> tuple[Tensor, Tensor]:
            bits = random_bits(seed, [run], purpose, [step], count * (LENGTH - 1))
            return write_strings(network, to_uniform(bits).view(count, LENGTH - 1))

        verdict = judge(write(Purpose.EVALUATION, evaluation.strings)[0], offsets)
        sequences, log_probs = write(Purpose.ROLLOUTS, evaluation.rollouts)
        return Measured(
            {**verdict_labels(verdict), "loss": training_loss(network, offsets)},
            {"sequences": sequences, "log_probs": to_half(log_probs)},
        )

    def check_evaluation(self, evaluation: LanguageEvaluation) -> None:
        """Accept any sizes: networks write as many strings as are asked for."""

    def check_rollouts(self, rollouts: Mapping[str, npt.NDArray[Any]]) -> Iterator[str]:
        """Yield what cannot be: strings of other symbols or without BOS, log-probabilities above zero."""
        sequences = rollouts["sequences"]
        if (sequences >= NUM_SYMBOLS).any() or (sequences[..., 0] != BOS).any():
            yield "sequences have symbols that there are not, or do not begin with BOS"
        if (rollouts["log_probs"] > 0).any():
            yield "log_probs are above zero"

    def rollout_shapes(self, evaluation: LanguageEvaluation) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the tensors of a rollout: what was written, and the log-probabilities of every next symbol."""
        return self.imported_rollout_shapes(evaluation.rollouts)

    def imported_rollout_shapes(self, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the same tensors."""
        return {"sequences": ("U8", (count, LENGTH)), "log_probs": ("F16", (count, LENGTH - 1, NUM_SYMBOLS))}
