"""Decoding stored rollouts into what the networks read.

Digits are stored by their number in MNIST; rotation and tiling are computed when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rnn_zoos.errors import FormatError
from rnn_zoos.families.digit_inputs import tile_inputs
from rnn_zoos.families.rotation import SIDE, rotation_table
from rnn_zoos.format.files import Array
from rnn_zoos.format.manifest import DIGIT_TENSORS, DIGITS, Manifest
from rnn_zoos.format.tensors import DTYPES

if TYPE_CHECKING:
    from rnn_zoos.loaders.zoo import Zoo


def require_rollouts(manifest: Manifest) -> None:
    """Raise FormatError if a zoo has no rollouts."""
    if not manifest.rollouts:
        raise FormatError("This zoo has no rollouts. Leave out `rollouts`, or use a zoo that has them.")


def decode_rollouts(zoo: Zoo, stored: Mapping[str, Array], angles: Sequence[float] | None) -> dict[str, Array]:
    """Return the stored rollouts of M rows with `sequences` as the networks read them.

    Args:
        zoo: the zoo that the rollouts come from.
        stored: rollouts as stored, name -> [M, B, ...]. Those of languages are returned unchanged.
        angles: the column `angle` of the zoo's index for the M rows, in degrees; needed for digits stored by number.

    Returns:
        The rollouts; for digits, with `sequences` as inputs float32 [M, B, 50, 16].

    Raises:
        FormatError: if digits stored by number come without angles, or the zoo lacks a digit that its rollouts name.
    """
    return decode_pixels(replace_numbers(zoo, stored, angles))


def replace_numbers(zoo: Zoo, stored: Mapping[str, Array], angles: Sequence[float] | None) -> dict[str, Array]:
    """Return rollouts as `decode_rollouts` takes them, with digits as pixels: they no longer need their zoo.

    `images`, numbers of digits [M, B], becomes `seen`, the pixels that the networks read, uint8 [M, B, 28, 28]. It is
    also how imported zoos store digits.
    """
    others = dict(stored)
    if "images" not in others:
        return others
    if angles is None:
        raise FormatError("Rollouts of digits are stored without their rotation; give the column 'angle' of the index.")
    images = _images(zoo, others.pop("images"))
    tables = torch.stack([_table(angle) for angle in angles] or [_table(0)])[: len(images)]
    seen = images.take_along_dim(tables[:, None], dim=-1).unflatten(-1, (SIDE, SIDE))
    return {"seen": seen.numpy(), **others}


def decode_pixels(stored: Mapping[str, Array]) -> dict[str, Array]:
    """Return rollouts [..., B, ...] without numbers of digits as the networks read them: `seen` becomes `sequences`."""
    others = dict(stored)
    if "seen" not in others:
        return others
    seen = _append_black(others.pop("seen"))
    upright = _table(0).expand(*seen.shape[:-2], -1)
    return {"sequences": tile_inputs(seen, upright).numpy(), **others}


def decoded_dtypes(stored: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, str]:
    """Return name -> numpy dtype of decoded rollouts, given the manifest's `rollouts`."""
    dtypes = {name: np.dtype(DTYPES[dtype]).name for name, (dtype, _) in stored.items()}
    pixels = [name for name in ("images", "seen") if dtypes.pop(name, None)]
    return {"sequences": "float32"} | dtypes if pixels else dtypes


@lru_cache(maxsize=16)
def row_angles(zoo: Zoo, split: str) -> Mapping[tuple[int, int], float] | None:
    """Return (shard, row) -> angle in degrees for the rows of a split, by the zoo's own index; None without angles."""
    index = zoo.index(split)
    if "angle" not in index.column_names:
        return None
    places = zip(index["shard"].to_pylist(), index["row"].to_pylist(), strict=True)
    return dict(zip(places, index["angle"].to_pylist(), strict=True))


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
