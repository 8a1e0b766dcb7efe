"""Rotated digits as networks read them, tile by tile, and what networks make of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from rnn_zoos.families.rotation import NUM_TILES, TILE, to_tiles
from rnn_zoos.networks.model import RecurrentNetwork

MEAN, STD = 0.1307, 0.3081
"""Mean and standard deviation of the pixels of MNIST's training digits, where black is 0 and white is 1."""
NUM_CLASSES = 10
MICRODEGREES = 1_000_000
_CHUNK = 1000  # digits evaluated at once; the 50 steps of this many stay in cache


def tile_inputs(images: Tensor, tables: Tensor) -> Tensor:
    """Rotate, cut and normalise digits.

    Args:
        images: uint8 [..., B, 785], as in `Digits.images`.
        tables: Rotation tables, int64 [..., 784], one for each batch of B digits.

    Returns:
        Inputs, float32 [..., B, 50, 16]. The first step is BOS, a tile of zeros; the others are the 49 tiles.
    """
    sources = to_tiles(tables).flatten(-2)[..., None, :]
    tiles = images.take_along_dim(sources, dim=-1).unflatten(-1, (NUM_TILES, TILE**2))
    inputs = torch.zeros(*images.shape[:-1], NUM_TILES + 1, TILE**2, device=images.device)
    inputs[..., 1:, :] = (tiles / 255 - MEAN) / STD
    return inputs


@runtime_checkable
class MeasuresDigits(Protocol):
    """A network with a faster implementation of `measure_digits`, which is its reference implementation."""

    def measure_digits(self, images: Tensor, labels: Tensor, positions: Tensor, table: Tensor) -> tuple[float, float]:
        """Return what the function `measure_digits` returns for this network, up to rounding."""
        ...


@torch.no_grad()
def measure_digits(
    network: RecurrentNetwork, images: Tensor, labels: Tensor, positions: Tensor, table: Tensor
) -> tuple[float, float]:
    """Measure a network on some digits.

    Args:
        network: A network of this family.
        images: Images of all digits, uint8 [N, 785].
        labels: Classes of all digits, int64 [N].
        positions: Positions of the digits to measure on.
        table: Rotation table, int64 [784].

    Returns:
        Cross-entropy in nats, mean over digits and all 50 steps; and accuracy after the last step.
    """
    loss, correct = 0.0, 0
    for chunk in positions.split(_CHUNK):
        logits = network(tile_inputs(images[chunk], table))  # [B, 50, 10]
        targets = labels[chunk, None].expand(logits.shape[:2])
        loss += F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
        correct += int((logits[:, -1].argmax(dim=-1) == labels[chunk]).sum())
    return loss / (len(positions) * (NUM_TILES + 1)), correct / len(positions)


def digit_measure(network: RecurrentNetwork) -> Callable[[Tensor, Tensor, Tensor, Tensor], tuple[float, float]]:
    """Return the fastest implementation of `measure_digits` for a network, without its first argument."""
    return network.measure_digits if isinstance(network, MeasuresDigits) else partial(measure_digits, network)
