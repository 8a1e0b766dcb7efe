"""What encoders share that run the networks on probe sequences: forms of questions, and forms of answers."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.benchmark import InputKind
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.stack import NetworkStack

Questions: TypeAlias = Literal["symbols", "soft", "sigmoid", "raw"]
"""How logits [..., I] become inputs of a network; see `ask`."""

Answers: TypeAlias = Literal["log", "probabilities", "both"]
"""How outputs [..., O] of a network are read; see `read_answers`."""

SHARPNESS = 4.0
"""Factor of the logits of a question before their softmax, whose gradient `straight_through_symbols` uses."""
FIT_NETWORKS = 2048
"""Number of training networks used to standardise fixed features."""
LEAST_DEVIATION = 0.03
"""Added to the standard deviation of fixed features, so that nearly constant ones stay small."""
_LOWEST = -8.0  # log-probabilities below it are read as this: the networks are not trained to tell them apart


def input_kind(architecture: Architecture, inputs: InputKind | None = None) -> InputKind:
    """Return what networks read: `inputs`, or by default what the architecture suggests.

    An architecture does not record what its inputs mean. Networks with as many outputs as inputs are taken for networks
    that predict the next symbol, as the languages' do; the inputs of others for any real numbers.
    """
    return inputs or ("written" if architecture.input_size == architecture.output_size else "numbers")


def responses(stack: NetworkStack, probes: Tensor) -> Tensor:
    """Run M networks on probe sequences [N, T, I] or [M, N, T, I]; return output probabilities [M, N, T, O]."""
    outputs, _ = stack(probes)
    return outputs.softmax(dim=-1)


def ask(logits: Tensor, questions: Questions) -> Tensor:
    """Return what the networks read, [..., I].

    Args:
        logits: Logits, [..., I].
        questions: `symbols`, one-hot (see `straight_through_symbols`); `soft`, their softmax; `sigmoid`; `raw`, the
            numbers themselves.
    """
    if questions == "symbols":
        return straight_through_symbols(logits)
    if questions == "soft":
        return logits.softmax(dim=-1)
    if questions == "sigmoid":
        return logits.sigmoid()
    check_questions(questions)
    return logits


def check_questions(questions: str) -> None:
    """Raise UnknownNameError unless there is such a form of questions."""
    if questions not in get_args(Questions):
        raise UnknownNameError.among("form of questions", questions, get_args(Questions))


def straight_through_symbols(logits: Tensor) -> Tensor:
    """Return the one-hot of the largest logit [..., I], with the gradient of softmax(SHARPNESS * logits).

    A straight-through estimator (Bengio et al., 2013): networks that were trained on symbols are asked symbols, and
    what to ask can be learned all the same.
    """
    symbols: Tensor = _Symbols.apply(logits)  # type: ignore[no-untyped-call]
    return symbols


class _Symbols(torch.autograd.Function):
    """As one function of autograd: interactive probing calls it at every step."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(logits)
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(dim=-1, keepdim=True), 1.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        (logits,) = ctx.saved_tensors
        soft = (SHARPNESS * logits).softmax(dim=-1)
        slope: Tensor = torch.ops.aten._softmax_backward_data(gradient, soft, -1, logits.dtype)
        return slope.mul_(SHARPNESS)


def read_answers(outputs: Tensor, answers: Answers) -> Tensor:
    """Return what an encoder reads of a network's outputs: [..., O], or [..., 2 O] for `both`.

    Args:
        outputs: Logits of the outputs, [..., O].
        answers: `log`, log-probabilities, clamped at -8 and scaled to -1 to 1; `probabilities`; `both`.
    """
    log_probs = F.log_softmax(outputs, dim=-1)
    parts = []
    if answers in ("probabilities", "both"):
        parts.append(log_probs.exp())
    if answers in ("log", "both"):
        parts.append(log_probs.clamp(min=_LOWEST) / 4 + 1)
    if not parts:  # interactive probing reads answers at every step: known forms cost no check
        check_answers(answers)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def check_answers(answers: str) -> None:
    """Raise UnknownNameError unless there is such a form of answers."""
    if answers not in get_args(Answers):
        raise UnknownNameError.among("form of answers", answers, get_args(Answers))


def answer_size(architecture: Architecture, answers: Answers) -> int:
    """Return the number of entries of `read_answers` per step. Raises UnknownNameError for an unknown form."""
    check_answers(answers)
    return (2 if answers == "both" else 1) * architecture.output_size


def evenly_spaced(networks: NetworkStack, count: int) -> NetworkStack:
    """Return at most `count` networks, evenly spaced among those of a stack."""
    return networks.select(torch.linspace(0, networks.num_networks - 1, min(count, networks.num_networks)).long())
