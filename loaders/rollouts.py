"""Rollouts as the networks saw them: digits are stored by their numbers, and turned into inputs when they are read."""

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


def read_by_networks(zoo: Zoo, stored: dict[str, Array], angles: Sequence[float] | None) -> dict[str, Array]:
    """Return stored rollouts [rows, B, ...] with `sequences`: for digits, inputs [rows, B, 50, 16] at the rows' angles.

    Raises FormatError if digits are asked for without angles, or are not among those that the zoo has.
    """
    others = dict(stored)
    if "seen" in others:  # an imported zoo has the pixels as they were read: turned already
        seen = _with_black(others.pop("seen"))
        return {"sequences": tile_inputs(seen, _table(0)[None]).numpy(), **others}
    if "images" not in others:
        return others
    if angles is None:
        raise FormatError("Rollouts of digits need the column 'angle', which was removed. Keep it.")
    images = _images(zoo, others.pop("images"))
    tables = torch.stack([_table(angle) for angle in angles] or [_table(0)])[: len(images)]
    return {"sequences": tile_inputs(images, tables).numpy(), **others}


def _images(zoo: Zoo, numbers: Array) -> Tensor:
    """Look digits [...] up by their number in MNIST: uint8 [..., 785] as `tile_inputs` takes them."""
    digits = zoo.file(DIGITS, DIGIT_TENSORS).tensors
    known = digits["numbers"]
    places = np.searchsorted(known, numbers)
    if numbers.size and (not len(known) or (known.take(places, mode="clip") != numbers).any()):
        raise FormatError(f"The rollouts show digits that {DIGITS} has not. `rnn-zoos check` lists all damage.")
    return _with_black(digits["images"][places])


def _with_black(images: Array) -> Tensor:
    """Turn pixels [..., 28, 28] into [..., 785], the last one black, as `tile_inputs` takes them."""
    return torch.nn.functional.pad(torch.from_numpy(images).flatten(-2), (0, 1))


_table: Callable[[float], Tensor] = lru_cache(maxsize=4096)(rotation_table)
