"""Rotating 28 x 28 digits and cutting them into tiles, by tables of indices.

A rotation table gives, for each output pixel, the index of the input pixel that it shows, or BLACK if that lies outside
the image. Tables for training are in the order of the tiles, so that one gather turns stored pixels into inputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SIDE = 28
PIXELS = SIDE * SIDE
BLACK = PIXELS
"""Index of the black pixel that `Digits.images` has after the last one."""
TILE = 4
NUM_TILES = PIXELS // TILE**2

_FIXED_POINT = 65536.0


def rotation_table(angle: float) -> Tensor:
    """Return the table, int64 [784], that rotates a digit by `angle` degrees counter-clockwise.

    The result equals `PIL.Image.rotate(angle)` with its defaults pixel for pixel: nearest neighbour, about the centre,
    black corners. PIL computes in 16.16 fixed point, and rotates exactly at multiples of 90 degrees; so does this.
    """
    angle = angle % 360.0
    if angle % 90 == 0:
        return torch.rot90(torch.arange(PIXELS).view(SIDE, SIDE), int(angle // 90)).flatten()
    cos, sin = round(math.cos(math.radians(angle)), 15), round(math.sin(math.radians(-angle)), 15)
    centre = SIDE / 2
    # Column and row of the source of the centre of output pixel (0, 0).
    column = cos * -centre + sin * -centre + centre + (cos + sin) * 0.5
    row = -sin * -centre + cos * -centre + centre + (cos - sin) * 0.5
    step = torch.arange(SIDE)
    columns = (_fixed(column) + _fixed(cos) * step[None, :] + _fixed(sin) * step[:, None]) >> 16
    rows = (_fixed(row) + _fixed(-sin) * step[None, :] + _fixed(cos) * step[:, None]) >> 16
    inside = (columns >= 0) & (columns < SIDE) & (rows >= 0) & (rows < SIDE)
    return torch.where(inside, rows * SIDE + columns, BLACK).flatten()


def _fixed(value: float) -> int:
    """Convert to 16.16 fixed point."""
    return math.floor(value * _FIXED_POINT + 0.5)


def to_tiles(pixels: Tensor) -> Tensor:
    """Cut [..., 784] pixels into [..., 49, 16] tiles of 4 x 4, line by line. Inverse of `from_tiles`."""
    count = SIDE // TILE
    blocks: Tensor = pixels.unflatten(-1, (count, TILE, count, TILE)).transpose(-3, -2)
    return blocks.flatten(-4, -3).flatten(-2)


def from_tiles(tiles: Tensor) -> Tensor:
    """Put [..., 49, 16] tiles back into [..., 784] pixels. Inverse of `to_tiles`."""
    count = SIDE // TILE
    blocks: Tensor = tiles.unflatten(-2, (count, count)).unflatten(-1, (TILE, TILE)).transpose(-3, -2)
    return blocks.flatten(-4)
