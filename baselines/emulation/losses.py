"""How well emulated outputs match a network's: losses per step, their means, and their evaluation on a split."""

from __future__ import annotations

import torch
from torch import Tensor

from rnn_zoos.baselines.emulation.data import SplitData
from rnn_zoos.baselines.emulation.embedding import Embedder, chunks
from rnn_zoos.baselines.emulation.emulator import Emulator


def total_variation(emulated: Tensor, reference: Tensor) -> Tensor:
    """Return the total variation distance [...] of distributions given as log-probabilities [..., O].

    Half the sum of absolute differences: 0 for equal distributions, 1 for disjoint ones.
    """
    return 0.5 * (emulated.exp() - reference.exp()).abs().sum(dim=-1)


def reverse_kl(emulated: Tensor, reference: Tensor) -> Tensor:
    """Return KL(emulated || reference) [...] in nats of distributions given as log-probabilities [..., O]."""
    return (emulated.exp() * (emulated - reference)).sum(dim=-1)


def mean_over_steps(losses: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean of losses [M, B, T] over all steps, or over those where `mask` [M, B, T] is true."""
    if mask is None:
        return losses.mean()
    return (losses * mask).sum() / mask.sum().clamp(min=1)


@torch.no_grad()
def emulation_losses(emulator: Emulator, embedder: Embedder, split: str, sequences: int) -> dict[str, float]:
    """Return loss name -> mean over the first `sequences` stored sequences of all networks of a split.

    Both losses twice: over all steps, and (`_unpadded`) over those before the padding after EOS.
    """
    data: SplitData = embedder.data.splits[split]
    masks, total_variations, reverse_kls = list[Tensor](), list[Tensor](), list[Tensor]()
    count = min(sequences, data.num_rollouts)
    for rows in chunks(data):
        behaviour = data.behaviour(rows, torch.arange(count).expand(len(rows), -1))
        emulated = emulator(embedder.embed(split, rows), behaviour.inputs)
        masks.append(behaviour.unpadded)
        total_variations.append(total_variation(emulated, behaviour.log_probs))
        reverse_kls.append(reverse_kl(emulated, behaviour.log_probs))
    means = {}
    for name, chunked in (("total_variation", total_variations), ("reverse_kl", reverse_kls)):
        losses = torch.cat(chunked)
        means[name] = float(mean_over_steps(losses))
        means[f"{name}_unpadded"] = float(mean_over_steps(losses, torch.cat(masks)))
    return means
