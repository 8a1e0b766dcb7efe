"""Decoding stored rollouts into what the networks read.

Digits are stored by their number in MNIST; rotation and tiling are computed when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.families.rotation import rotation_table
from rnn_zoos.families.sequential_mnist import tile_inputs
from rnn_zoos.format.files import Array
from rnn_zoos.format.manifest import DIGIT_TENSORS, DIGITS
from rnn_zoos.loaders.zoo import Zoo


def decode_rollouts(zoo: Zoo, stored: dict[str, Array], angles: Sequence[float] | None) -> dict[str, Array]:
    """Return the stored rollouts of M rows with `sequences` as the networks read them.

    Args:
        zoo: the zoo that the rollouts come from.
        stored: rollouts as stored, name -> [M, B, ...]. Those of languages are returned unchanged.
        angles: the column `angle` of the M rows, in degrees; needed for digits that are stored by number.

    Returns:
        The rollouts; for digits, with `sequences` as inputs float32 [M, B, 50, 16].

    Raises:
        FormatError: if digits stored by number come without angles, or the zoo lacks a digit that its rollouts name.
    """
    others = dict(stored)
    if "seen" in others:  # an imported zoo stores the pixels that the network read, already rotated
        seen = _append_black(others.pop("seen"))
        return {"sequences": tile_inputs(seen, _table(0)[None]).numpy(), **others}
    if "images" not in others:
        return others
    if angles is None:
        raise FormatError("Rollouts of digits need the column 'angle', which was removed. Keep it.")
    images = _images(zoo, others.pop("images"))
    tables = torch.stack([_table(angle) for angle in angles] or [_table(0)])[: len(images)]
    return {"sequences": tile_inputs(images, tables).numpy(), **others}


def _images(zoo: Zoo, numbers: Array) -> Tensor:
    """Look up digits by their number in MNIST: [...] -> uint8 [..., 785], the layout of `tile_inputs`."""
    digits = zoo.files.map(DIGITS, DIGIT_TENSORS).tensors
    known = digits["numbers"]
    positions = np.searchsorted(known, numbers)
    if numbers.size and (not len(known) or (known.take(positions, mode="clip") != numbers).any()):
        raise FormatError(f"The rollouts name digits that {DIGITS} lacks. `rnn-zoos check` lists all damage.")
    return _append_black(digits["images"][positions])


def _append_black(images: Array) -> Tensor:
    """Turn pixels [..., 28, 28] into [..., 785], whose last pixel is black, the layout of `tile_inputs`."""
    return torch.nn.functional.pad(torch.from_numpy(images).flatten(-2), (0, 1))


_table: Callable[[float], Tensor] = lru_cache(maxsize=4096)(rotation_table)
