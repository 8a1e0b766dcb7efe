"""Clone fidelity: does an emulator that is told a network's embedding perform the network's task as well as it does?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.baselines.downstream.targets import kendall_tau
from rnn_zoos.baselines.emulation.data import SplitData
from rnn_zoos.baselines.emulation.embedding import chunks
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.families.formal_languages import LENGTH, FormalLanguages, judge
from rnn_zoos.format.files import Array

STRINGS = 40  # that every clone writes


@torch.no_grad()
def clone_fidelity(run: EmulationRun, split: str) -> dict[str, float]:
    """Return how clones of the networks of a split do: mean accuracies, and how accuracies go together over networks.

    Languages: a clone writes 40 strings, each of which is in its network's language or not. Digits: a clone reads
    stored digits, and names each at the last step; `agreement` is how often it names what its network does.
    `correlation` is Pearson's, 0 if one side does not vary.
    """
    data = run.data.splits[split]
    agreement = {}
    if run.data.zoo.manifest.zoo == FormalLanguages.name:
        found = [_written(run, split, rows) for rows in chunks(data)]
    else:
        found, agreed = map(list, zip(*(_named(run, split, rows) for rows in chunks(data)), strict=True))
        agreement = {"agreement": float(torch.cat(agreed).mean())}
    clones = torch.cat(found).cpu().numpy()
    originals = np.asarray(data.labels("accuracy"), np.float64)
    return {
        "accuracy": float(clones.mean()),
        "accuracy_of_originals": float(originals.mean()),
        "correlation": _correlation(clones, originals),
        "kendall_tau": kendall_tau(clones, originals),
        **agreement,
    }


def _written(run: EmulationRun, split: str, rows: Tensor) -> Tensor:
    """Return the fraction [M] of a clone's strings that are in its network's language."""
    data = run.data.splits[split]
    generator = torch.Generator().manual_seed(int(rows[0]))  # equal for all encoders
    uniforms = torch.rand(len(rows), STRINGS, LENGTH - 1, generator=generator)
    written = run.emulator.write(run.embedder.embed(split, rows), uniforms.to(run.data.device)).cpu()
    right = [judge(strings, offsets).accepted for strings, offsets in zip(written, _offsets(data, rows), strict=True)]
    return torch.stack(right).double().mean(dim=1)


def _offsets(data: SplitData, rows: Tensor) -> list[tuple[int, int, int]]:
    columns = [data.labels(name)[rows.numpy()].tolist() for name in ("m_b", "m_c", "m_d")]
    return list(zip(*columns, strict=True))


def _named(run: EmulationRun, split: str, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the fractions [M] of digits that a clone names right, and that it names as its network does."""
    data = run.data.splits[split]
    count = min(run.settings.evaluated_sequences, data.num_rollouts)
    behaviour = data.behaviour(rows, torch.arange(count).expand(len(rows), -1))
    assert behaviour.classes is not None, "digits have classes"
    named = run.emulator(run.embedder.embed(split, rows), behaviour.inputs)[:, :, -1].argmax(dim=-1)
    agreed = named == behaviour.log_probs[:, :, -1].argmax(dim=-1)
    return (named == behaviour.classes).double().mean(dim=1), agreed.double().mean(dim=1)


def _correlation(one: Array, other: Array) -> float:
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
