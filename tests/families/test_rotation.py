"""Rotation tables equal PIL; tiles are cut in reading order."""

import numpy as np
import pytest
import torch
from PIL import Image

from rnn_zoos.families.digits import load_digits
from rnn_zoos.families.rotation import BLACK, PIXELS, SIDE, from_tiles, rotation_table, to_tiles


def pil_rotation(image: np.ndarray, angle: float) -> np.ndarray:
    return np.asarray(Image.fromarray(image).rotate(angle))


def test_rotation_of_real_digits_equals_pil_pixel_for_pixel():
    images = load_digits("embedded").images
    random = np.random.default_rng(0)
    angles = [0, 90, 180, 270, 360, 1e-6, 89.999999, 90.000001, 359.999999, 45, *random.uniform(0, 360, 1000)]
    for angle in angles:
        image = images[random.integers(len(images))]
        expected = pil_rotation(image[:PIXELS].view(SIDE, SIDE).numpy(), angle)
        assert np.array_equal(image[rotation_table(angle)].view(SIDE, SIDE).numpy(), expected), angle


def test_corners_of_a_rotated_digit_are_black():
    table = rotation_table(45).view(SIDE, SIDE)
    assert [table[y, x].item() for y in (0, -1) for x in (0, -1)] == [BLACK] * 4
    assert (rotation_table(0) == torch.arange(PIXELS)).all()


def test_from_tiles_is_the_inverse_of_to_tiles():
    pixels = torch.randn(2, 3, PIXELS)
    assert to_tiles(pixels).shape == (2, 3, 49, 16)
    assert torch.equal(from_tiles(to_tiles(pixels)), pixels)


@pytest.mark.parametrize("tile", [0, 1, 7, 30, 48])
def test_tiles_are_4_by_4_squares_in_reading_order(tile):
    image = torch.arange(PIXELS).view(SIDE, SIDE)
    top, left = 4 * (tile // 7), 4 * (tile % 7)
    expected = image[top : top + 4, left : left + 4].flatten()
    assert torch.equal(to_tiles(image.flatten())[tile], expected)
