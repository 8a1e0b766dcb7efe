"""What notebooks show of a network: HTML that is small, and a picture whose pixels are its weights."""

import base64
import io
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import CELLS
from PIL import Image

from rnn_zoos import Architecture, RecurrentNetwork
from rnn_zoos.networks.notebook import table_html

GREY = (90, 90, 90, 255)


def made(*sizes):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return RecurrentNetwork(Architecture(*sizes))


def picture_of(html):
    """Return the picture in the HTML as an array [height, width, 4] of red, green, blue and opacity."""
    (address,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address, validate=True))).convert("RGBA")).astype(int)


@pytest.mark.parametrize("cell", CELLS)
def test_a_network_shows_its_sizes_and_a_pixel_per_weight(cell):
    network = made(cell, 2, 5, 7, 3)
    html = network._repr_html_()
    assert f"{network.architecture.num_parameters:,}" in html and f"{cell}-2x7" in html
    picture = picture_of(html)
    gate_units = len(network.weights()[f"{cell}.bias_ih_l0"])
    assert picture.shape == (gate_units, (5 + 7 + 2) + 1 + (7 + 7 + 2) + 1 + (7 + 1), 4)
    opaque = picture[:, :, 3] == 255
    assert opaque.sum() == network.architecture.num_parameters  # gaps, and what is below the readout, are not


def test_red_is_positive_blue_negative_and_the_strongest_colour_is_the_largest_weight():
    network = made("rnn", 1, 2, 3, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.rnn.weight_ih_l0[0, 1] = 0.25
        network.rnn.weight_hh_l0[2, 0] = -0.5
    html = network._repr_html_()
    picture = picture_of(html)
    assert (picture[1, 0, :3] == 247).all()
    assert picture[0, 1, 0] > picture[0, 1, 2]
    assert picture[2, 2, 0] < picture[2, 2, 2]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_grey(value):
    network = made("gru", 1, 2, 3, 2)
    with torch.no_grad():
        network.linear.weight[1, 2] = value
    html = network._repr_html_()
    grey = (picture_of(html) == GREY).all(axis=2)
    assert grey.sum() == 1 and "not finite" in html
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    assert (picture_of(network._repr_html_()) == GREY).all(axis=2).sum() == network.architecture.num_parameters


@pytest.mark.parametrize("sizes", [("lstm", 2, 6, 32, 6), ("lstm", 3, 16, 300, 10), ("rnn", 400, 1, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_html_of_a_network_of_any_size_is_small_and_asks_for_nothing(sizes, dtype):
    html = made(*sizes).to(dtype)._repr_html_()
    assert len(html.encode()) < 20_000
    assert "<script" not in html and "://" not in html


def test_a_block_of_weights_shows_the_one_that_is_furthest_from_zero():
    network = made("rnn", 1, 3, 200, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.01)
        network.rnn.weight_hh_l0[0, 0] = -9
    html = network._repr_html_()
    assert "A pixel is the largest of 2 x 2 weights" in html or "A pixel is the largest of 3 x 3 weights" in html
    assert (picture_of(html)[0, :3] == (33, 102, 172, 255)).all(axis=1).any()


def test_no_matplotlib_is_imported_for_it():
    script = (
        "import sys; from rnn_zoos import Architecture, RecurrentNetwork; "
        "RecurrentNetwork(Architecture('rnn', 1, 2, 3, 2))._repr_html_(); print({'matplotlib', 'PIL'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_table_escapes_and_cuts_texts_and_counts_the_lines_that_it_leaves_out():
    html = table_html(("<b>",), [("<script>&\"'" + "x" * 500,)] * 1000, limit=5000)
    assert "<script" not in html and "<b>" not in html and "&lt;script&gt;" in html
    assert len(html) < 6000 and re.search(r"… and 9\d\d more", html)
