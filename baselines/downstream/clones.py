"""Clone fidelity: does an emulator, given a network's embedding, perform the network's task as well as the network?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.baselines.downstream.measures import kendall_tau
from rnn_zoos.baselines.emulation.data import SplitData
from rnn_zoos.baselines.emulation.embedding import chunks
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.errors import FormatError
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.language_strings import LENGTH, judge
from rnn_zoos.format.files import Array

STRINGS = 40
"""Strings that are sampled from every clone of a language network."""


@torch.no_grad()
def clone_fidelity(run: EmulationRun, split: str) -> tuple[dict[str, float], Array]:
    """Return the mean accuracies of a split's networks and of their clones, how they correlate, and each clone's [R].

    Languages: 40 strings are sampled from a clone; its accuracy is the fraction in its network's language. Other zoos:
    a clone answers to stored sequences (digits: at the last step); its accuracy is the fraction of right answers, and
    `agreement` the fraction that are its network's. `correlation` is Pearson's, 0 if one side does not vary.
    """
    data = run.data.splits[split]
    agreement = {}
    if run.data.zoo.manifest.zoo == FormalLanguages.name:
        accuracies = [_string_accuracies(run, split, rows) for rows in chunks(data)]
    else:
        answered = [_answer_accuracies(run, split, rows) for rows in chunks(data)]
        accuracies, agreed = map(list, zip(*answered, strict=True))
        agreement = {"agreement": float(torch.cat(agreed).mean())}
    clones = torch.cat(accuracies).cpu().numpy()
    originals = np.asarray(data.labels("accuracy"), np.float64)
    fidelity = {
        "accuracy": float(clones.mean()),
        "accuracy_of_originals": float(originals.mean()),
        "correlation": _correlation(clones, originals),
        "kendall_tau": kendall_tau(clones, originals),
        **agreement,
    }
    return fidelity, clones


def _string_accuracies(run: EmulationRun, split: str, rows: Tensor) -> Tensor:
    """Return for rows [M] the fraction [M] of a clone's strings that are in its network's language."""
    data = run.data.splits[split]
    generator = torch.Generator().manual_seed(int(rows[0]))  # the same random numbers for all encoders
    uniforms = torch.rand(len(rows), STRINGS, LENGTH - 1, generator=generator)
    embeddings = run.embedder.embed(split, rows)
    written = run.emulator.sample_strings(embeddings, uniforms.to(run.data.device)).cpu()
    pairs = zip(written, _offsets(data, rows), strict=True)
    return torch.stack([judge(strings, offsets).accepted for strings, offsets in pairs]).double().mean(dim=1)


def _offsets(data: SplitData, rows: Tensor) -> list[tuple[int, int, int]]:
    columns = [data.labels(name)[rows.numpy()].tolist() for name in ("m_b", "m_c", "m_d")]
    return list(zip(*columns, strict=True))


def _answer_accuracies(run: EmulationRun, split: str, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return for rows [M] the fractions [M] of answers of a clone that are right, and that are its network's."""
    data = run.data.splits[split]
    count = min(run.settings.evaluated_sequences, data.num_rollouts)
    behaviour = data.behaviour(rows, torch.arange(count).expand(len(rows), -1))
    if behaviour.classes is None or not (behaviour.classes >= 0).any():
        raise FormatError(
            f"The rollouts of this {run.data.zoo.manifest.zoo} zoo have no right answers, which clones are judged by. "
            "Use a zoo that has them, such as one that was not imported."
        )
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
