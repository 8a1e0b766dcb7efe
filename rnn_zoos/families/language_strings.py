"""The formal languages a^n b^(n+m_b) c^(n+m_c) d^(n+m_d): their strings, networks that write them, and verdicts.

Strings start with BOS, end with EOS, and are padded with EOS to 42 symbols.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.sampler import one_hot
from rnn_zoos.networks.cells import network_step, zero_state
from rnn_zoos.networks.model import RecurrentNetwork

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


def before_padding(sequences: Tensor) -> Tensor:
    """Return for strings [..., T+1] which steps have not read EOS yet, bool [..., T]."""
    ended: Tensor = (sequences[..., :-1] == EOS).cumsum(dim=-1) > 0
    return ~ended


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
