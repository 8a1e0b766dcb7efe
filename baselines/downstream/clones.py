"""Clone fidelity: does an emulator, given a network's embedding, perform the network's task as well as the network?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.baselines.downstream.measures import kendall_tau
from rnn_zoos.baselines.downstream.protocols import EVALUATED_SPLITS
from rnn_zoos.baselines.emulation.data import SplitData, ZooData, benchmark_of
from rnn_zoos.baselines.emulation.embedding import chunks
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.errors import FormatError
from rnn_zoos.families.benchmark import Behaviour, Labels
from rnn_zoos.format.files import Array

STRINGS = 40
"""Strings that are sampled from every clone of a network that writes."""


@torch.no_grad()
def clone_fidelity(run: EmulationRun, split: str) -> tuple[dict[str, float], Array]:
    """Return the mean accuracies of a split's networks and of their clones, how they correlate, and each clone's [R].

    Networks that write: 40 strings are sampled from a clone; its accuracy is the fraction that its family accepts.
    Other zoos: a clone answers to stored sequences (digits: at the last step); its accuracy is the fraction of right
    answers, and `agreement` the fraction that are its network's. Networks without an answer that counts are left out:
    the accuracies of their clones are NaN. `correlation` is Pearson's, 0 if one side does not vary. The accuracy of a
    network is its label, of other strings or sequences.

    Raises:
        FormatError, UnknownNameError: See `check_judged`.
    """
    check_judged(run.data)
    data, accepts = run.data.splits[split], benchmark_of(run.data.zoo.manifest.zoo).accepts
    agreement = {}
    if accepts is not None:
        accuracies = [_string_accuracies(run, split, rows, accepts) for rows in chunks(data)]
    else:
        answered = [_answer_accuracies(run, split, rows) for rows in chunks(data)]
        accuracies, agreed = map(list, zip(*answered, strict=True))
        agreement = {"agreement": float(torch.cat(agreed).nanmean())}
    clones = torch.cat(accuracies).cpu().numpy()
    judged = ~np.isnan(clones)
    accuracy, original = clones[judged], np.asarray(data.labels("accuracy"), np.float64)[judged]
    fidelity = {
        "accuracy": float(accuracy.mean()),
        "accuracy_of_originals": float(original.mean()),
        "correlation": _correlation(accuracy, original),
        "kendall_tau": kendall_tau(accuracy, original),
        **agreement,
    }
    return fidelity, clones


def check_judged(data: ZooData) -> None:
    """Raise FormatError if clones of a zoo's networks cannot be judged: nothing says which of their answers are right.

    Raises UnknownNameError if the zoo has no label `accuracy`. It takes milliseconds, and is worth asking before
    encoders are trained.
    """
    name = data.zoo.manifest.zoo
    data.splits["test"].labels("accuracy")
    if benchmark_of(name).accepts is not None:
        return
    for split in EVALUATED_SPLITS:
        if not any(_has_right_answers(data.splits[split], rows) for rows in chunks(data.splits[split])):
            raise FormatError(
                f"The rollouts of this {name} zoo have no right answers in the split {split}, which clones are judged "
                "by. Use a zoo whose rollouts have them, or give its family's benchmark `accepts` or "
                "`Behaviour.classes`."
            )


def _has_right_answers(data: SplitData, rows: Tensor) -> bool:
    classes = _first_sequences(data, rows).classes
    return classes is not None and bool((classes >= 0).any())


def _first_sequences(data: SplitData, rows: Tensor) -> Behaviour:
    """Return the behaviour of rows [M] on the first stored sequence of each."""
    return data.behaviour(rows, torch.zeros(len(rows), 1, dtype=torch.int64))


def _string_accuracies(
    run: EmulationRun, split: str, rows: Tensor, accepts: Callable[[Tensor, Labels], Tensor]
) -> Tensor:
    """Return for rows [M] the fraction [M] of a clone's strings that are right."""
    data = run.data.splits[split]
    generator = torch.Generator().manual_seed(int(rows[0]))  # the same random numbers for all encoders
    steps = benchmark_of(run.data.zoo.manifest.zoo).steps
    uniforms = torch.rand(len(rows), STRINGS, steps, generator=generator).to(run.data.device)
    bos = int(_first_sequences(data, rows[:1]).inputs[0, 0, 0].argmax())
    written = run.emulator.sample_strings(run.embedder.embed(split, rows), uniforms, bos).cpu()
    return accepts(written, lambda name: data.labels(name)[rows.numpy()]).double().mean(dim=1)


def _answer_accuracies(run: EmulationRun, split: str, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return for rows [M] the fractions [M] of answers of a clone that are right, and that are its network's.

    Both are NaN where no answer counts.
    """
    data = run.data.splits[split]
    count = min(run.settings.evaluated_sequences, data.num_rollouts)
    behaviour = data.behaviour(rows, torch.arange(count).expand(len(rows), -1))
    assert behaviour.classes is not None, "checked by check_judged"
    counted = behaviour.classes >= 0
    answers = run.emulator(run.embedder.embed(split, rows), behaviour.inputs).argmax(dim=-1)
    right = (answers == behaviour.classes) & counted
    agreed = (answers == behaviour.log_probs.argmax(dim=-1)) & counted
    number = counted.sum(dim=(1, 2))
    return right.sum(dim=(1, 2)).double() / number, agreed.sum(dim=(1, 2)).double() / number


def _correlation(one: Array, other: Array) -> float:
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
