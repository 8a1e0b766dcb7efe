"""Measuring many networks of the zoo `formal-languages` at once, on any device.

`FormalLanguages.evaluate` is the reference implementation. Strings are sampled with the same numbers: networks whose
probabilities differ by rounding write the same strings, but for a few in which a number lies between the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.families.family import Measurement, to_half
from rnn_zoos.families.formal_languages import FormalLanguages, LanguageEvaluation
from rnn_zoos.families.language_strings import BOS, LENGTH, NUM_SYMBOLS, judge, one_hot_inputs, task_offsets
from rnn_zoos.families.stacks import device_of, random_words, sequences_at_once
from rnn_zoos.networks.cells import LayerState
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.randomness import Purpose, to_uniform


@torch.no_grad()
def evaluate_languages(
    stack: NetworkStack,
    seed: int,
    runs: Sequence[int],
    tasks: Sequence[int],
    steps: Sequence[int],
    evaluation: LanguageEvaluation,
) -> list[Measurement]:
    """Return what `FormalLanguages.evaluate_stack` returns."""
    device = device_of(stack)

    def uniforms(purpose: Purpose, count: int) -> Tensor:
        words = random_words(seed, runs, steps, purpose, count * (LENGTH - 1), device)
        return to_uniform(words).view(len(runs), count, LENGTH - 1)

    labels = {
        **_verdict_labels(stack, uniforms(Purpose.EVALUATION, evaluation.strings), tasks),
        "loss": _training_losses(stack, tasks),
    }
    sequences, log_probs = sample_strings(stack, uniforms(Purpose.ROLLOUTS, evaluation.rollouts))
    rollouts = {"sequences": sequences.cpu(), "log_probs": to_half(log_probs).cpu()}
    return [
        Measurement(
            {name: values[number] for name, values in labels.items()},
            {name: tensor[number] for name, tensor in rollouts.items()},
        )
        for number in range(stack.num_networks)
    ]


def sample_strings(stack: NetworkStack, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Sample B sequences from each of M networks, as `language_strings.sample_strings` does from one.

    Args:
        stack: Networks of this family.
        uniforms: One number in [0, 1) per symbol, [M, B, T].

    Returns:
        The sequences, uint8 [M, B, T+1], and the log-probabilities of all symbols at every step, [M, B, T, V].
    """
    some = uniforms.split(sequences_at_once(stack.architecture, stack.num_networks, LENGTH - 1), dim=1)
    sequences, log_probs = zip(*(_sample_at_once(stack, part) for part in some), strict=True)
    return torch.cat(sequences, dim=1), torch.cat(log_probs, dim=1)


def _sample_at_once(stack: NetworkStack, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    one_hot = torch.eye(NUM_SYMBOLS, device=uniforms.device)
    symbols, log_probs = [torch.full(uniforms.shape[:2], BOS, device=uniforms.device)], []
    state: Sequence[LayerState] | None = None
    for uniform in uniforms.unbind(dim=2):
        logits, state = stack(one_hot[symbols[-1]][:, :, None], state)
        log_probs.append(logits[:, :, 0].log_softmax(dim=-1))
        below = log_probs[-1].exp().cumsum(dim=-1) <= uniform[..., None]
        symbols.append(below.sum(dim=-1).clamp(max=NUM_SYMBOLS - 1))
    return torch.stack(symbols, dim=2).to(torch.uint8), torch.stack(log_probs, dim=2)


def _verdict_labels(stack: NetworkStack, uniforms: Tensor, tasks: Sequence[int]) -> dict[str, list[float]]:
    """Sample strings and judge them; return label -> value of each network."""
    offsets = torch.tensor([task_offsets(task) for task in tasks], device=uniforms.device).T[..., None]  # [3, M, 1]
    at_once = sequences_at_once(stack.architecture, stack.num_networks, LENGTH - 1)
    verdicts = [judge(_sample_at_once(stack, chunk)[0], offsets.unbind()) for chunk in uniforms.split(at_once, dim=1)]
    parts = {
        "accuracy": [verdict.accepted for verdict in verdicts],
        "count_accuracy": [verdict.right_counts for verdict in verdicts],
        "finished": [verdict.finished for verdict in verdicts],
    }
    return {name: torch.cat(part, dim=1).float().mean(dim=1).tolist() for name, part in parts.items()}


def _training_losses(stack: NetworkStack, tasks: Sequence[int]) -> list[float]:
    """Return the exact cross-entropy of each network, as `training_loss` does."""
    sampler = FormalLanguages().sampler(0, [0] * len(tasks), tasks, 1, str(device_of(stack)))  # seed and runs unused
    logits, _ = stack(one_hot_inputs(sampler.strings))  # [M, N, T, V]
    targets = sampler.strings[..., 1:].long()
    losses = F.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none").view_as(targets)
    exists = torch.arange(targets.shape[1], device=targets.device) < sampler.counts[:, None]  # [M, N], not padding
    sums = torch.where(exists[..., None], losses, 0).sum(dim=(1, 2))
    means: list[float] = (sums / (sampler.counts * (LENGTH - 1))).tolist()
    return means
