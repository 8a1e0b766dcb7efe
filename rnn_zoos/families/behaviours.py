"""The benchmark definitions of the shipped families: what encoders imitate, and which labels are predicted."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.families.automaton import LENGTH as AUTOMATON_LENGTH
from rnn_zoos.families.automaton import SYMBOLS, AutomatonStack
from rnn_zoos.families.benchmark import SHARED_TARGETS, Behaviour, Benchmark, Labels, TargetColumns
from rnn_zoos.families.language_strings import LENGTH, LETTERS, before_padding, judge, one_hot_inputs
from rnn_zoos.families.named_automata import automaton_of
from rnn_zoos.families.rotation import NUM_TILES
from rnn_zoos.families.sampler import one_hot

SHORT_STRINGS = tuple("".join(bits) for length in (1, 2, 3) for bits in product("01", repeat=length))
"""The strings whose answers are the target `task` of automata."""


def _written_strings(rollouts: Mapping[str, Tensor], _labels: Labels) -> Behaviour:
    """Return the behaviour of language networks on strings that they wrote themselves."""
    sequences = rollouts["sequences"]
    return Behaviour(one_hot_inputs(sequences), rollouts["log_probs"].float(), before_padding(sequences), None)


def _classified_digits(rollouts: Mapping[str, Tensor], _labels: Labels) -> Behaviour:
    """Return the behaviour of digit networks; the class at the last step counts."""
    log_probs = F.log_softmax(rollouts["logits"].float(), dim=-1)
    classes = torch.full(log_probs.shape[:-1], -1)
    if "labels" in rollouts:  # those of imported zoos have none
        classes[..., -1] = rollouts["labels"].long()
    return Behaviour(rollouts["sequences"], log_probs, torch.ones(log_probs.shape[:-1], dtype=torch.bool), classes)


def _judged_strings(rollouts: Mapping[str, Tensor], labels: Labels) -> Behaviour:
    """Return the behaviour of networks that judge strings; every answer counts."""
    sequences, log_probs = rollouts["sequences"], rollouts["log_probs"].float()
    automata = AutomatonStack.of([automaton_of(number) for number in labels("automaton").tolist()])
    unpadded = torch.ones(log_probs.shape[:-1], dtype=torch.bool)
    return Behaviour(one_hot(sequences, SYMBOLS[-1]), log_probs, unpadded, automata.answers(sequences.long()).long())


def _answer(string: str, labels: Labels) -> npt.NDArray[Any]:
    """Return whether the automaton of each row accepts a string, int64 [M]."""
    symbols = torch.tensor([int(symbol) for symbol in string])
    numbers, rows = np.unique(labels("automaton"), return_inverse=True)
    answers: npt.NDArray[Any] = np.array([int(automaton_of(n).answers(symbols)[-1]) for n in numbers.tolist()])
    return answers[rows]


_OFFSETS = tuple(f"m_{letter}" for letter in LETTERS[1:])


def _in_language(strings: Tensor, labels: Labels) -> Tensor:
    """Return which strings are in the language of the network that wrote them, bool [M, B]."""
    return judge(strings, [torch.from_numpy(labels(name).astype(np.int64))[:, None] for name in _OFFSETS]).accepted


LANGUAGES = Benchmark(
    _written_strings,
    MappingProxyType(
        {
            "task": TargetColumns("classes", _OFFSETS),
            **{offset: TargetColumns("classes", (offset,)) for offset in _OFFSETS},
            **SHARED_TARGETS,
        }
    ),
    "written",
    LENGTH - 1,
    starts_with_bos=True,
    accepts=_in_language,
)

DIGITS = Benchmark(
    _classified_digits,
    MappingProxyType(
        {
            "task": TargetColumns("angle", ("angle",)),
            **SHARED_TARGETS,
            "generalization_gap": TargetColumns("number", ("generalization_gap",)),
            "weight_decay": TargetColumns("classes", ("weight_decay",)),
        }
    ),
    "numbers",
    NUM_TILES + 1,
    starts_with_bos=True,
)

AUTOMATA = Benchmark(
    _judged_strings,
    MappingProxyType(
        {
            "task": TargetColumns("classes", tuple(f"answer_{string}" for string in SHORT_STRINGS)),
            "num_states": TargetColumns("number", ("num_states",)),
            "density": TargetColumns("number", ("density",)),
            "hard_accuracy": TargetColumns("number", ("hard_accuracy",)),
            **SHARED_TARGETS,
        }
    ),
    "symbols",
    AUTOMATON_LENGTH,
    derived={f"answer_{string}": partial(_answer, string) for string in SHORT_STRINGS},
)
