"""What notebooks show: tables, and a network with a picture of its weights, as HTML without scripts and requests.

Colours of text and background are those of the notebook, so that it reads well in a light and in a dark one.
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rnn_zoos.networks.model import RecurrentNetwork

_CELL_CHARACTERS = 120
_MOST_PIXELS = 20_000  # of a picture, which compress to less than 11 kB; larger networks are shown in blocks
_GAP, _ZERO, _NOT_FINITE = 0, 8, 16  # entries of the palette; those from 1 to 15 are the weights
_LEVELS = 7  # on each side of zero
_BLUE, _WHITE, _RED, _GREY = (33, 102, 172), (247, 247, 247), (178, 24, 43), (90, 90, 90)


def table_html(head: Sequence[object], rows: Iterable[Sequence[object]], limit: int = 6000) -> str:
    """Return a table whose texts are escaped and cut after 120 characters.

    Args:
        head: What stands above the columns; empty for no line of headings.
        rows: The cells of each line.
        limit: Bytes after which lines are only counted.
    """
    cell_style = "text-align:left;padding:1px 10px 1px 0"
    lines, size, left_out = [], 0, 0
    for number, row in enumerate([head, *rows] if head else rows):
        tag = "th" if head and number == 0 else "td"
        line = "".join(f'<{tag} style="{cell_style}">{_cut(cell)}</{tag}>' for cell in row)
        size += len(line.encode("utf-8", "replace"))
        if size > limit:
            left_out += 1
        else:
            lines.append(f"<tr>{line}</tr>")
    if left_out:
        lines.append(f'<tr><td style="{cell_style}">… and {left_out:,} more</td></tr>')
    return f"<table>{''.join(lines)}</table>"


def _cut(cell: object) -> str:
    text = str(cell)
    return escape(text if len(text) <= _CELL_CHARACTERS else f"{text[: _CELL_CHARACTERS - 1]}…")


def network_html(network: RecurrentNetwork) -> str:
    """Return the sizes of a network and a picture of its weights."""
    architecture = network.architecture
    matrices = _matrices(network)
    pixels, largest, block = _pixels(matrices)
    facts = [
        ("cell", architecture.cell),
        ("layers", architecture.num_layers),
        ("hidden units", architecture.hidden_size),
        ("inputs, outputs", f"{architecture.input_size}, {architecture.output_size}"),
        ("parameters", f"{architecture.num_parameters:,}"),
    ]
    caption = (
        "Weights: a panel for each layer (of inputs, of hidden units, two columns of biases; gates below each other), "
        f"then the readout. Blue: -{largest:.3g} or less, white: 0, red: {largest:.3g} or more."
    )
    if block > 1:
        caption += f" A pixel is the largest of {block} x {block} weights."
    if not all(np.isfinite(matrix).all() for matrix in matrices):
        caption += " Grey: not finite."
    address = b64encode(_png(pixels)).decode()
    width = min(720, max(2, 480 // pixels.shape[1]) * pixels.shape[1])
    return (
        f"<b>RecurrentNetwork {escape(architecture.name)}</b>{table_html((), facts)}"
        f'<img alt="weights" width="{width}" style="image-rendering:pixelated" src="data:image/png;base64,{address}">'
        f"<div><small>{escape(caption)}</small></div>"
    )


def _matrices(network: RecurrentNetwork) -> list[NDArray[np.float64]]:
    """Return for every layer, then for the readout, its weights and biases side by side [rows, columns]."""
    architecture = network.architecture
    arrays = {name: tensor.double().cpu().numpy() for name, tensor in network.weights().items()}
    layers = [[*architecture.layer_shapes(layer)] for layer in range(architecture.num_layers)]
    return [np.column_stack([arrays[name] for name in names]) for names in (*layers, ["linear.weight", "linear.bias"])]


def _pixels(matrices: list[NDArray[np.float64]]) -> tuple[NDArray[np.uint8], float, int]:
    """Return entries of the palette [height, width], the weight of the strongest colour, and the size of blocks."""
    largest_side = max(max(matrix.shape) for matrix in matrices)
    block = next(
        size for size in range(1, largest_side + 1) if size == largest_side or _area(matrices, size) <= _MOST_PIXELS
    )
    values = np.concatenate([matrix.ravel() for matrix in matrices])
    finite = np.abs(values[np.isfinite(values)])
    strongest = float(np.quantile(finite, 0.99)) if finite.size else 0.0
    panels = [_panel(_in_blocks(matrix, block), strongest or 1.0) for matrix in matrices]
    height = max(len(panel) for panel in panels)
    padded = [np.pad(panel, ((0, height - len(panel)), (0, 1)), constant_values=_GAP) for panel in panels]
    return np.hstack(padded)[:, :-1], strongest, block


def _area(matrices: list[NDArray[np.float64]], block: int) -> int:
    """Return the number of pixels of the picture, if each stands for `block` times `block` weights."""
    sizes = [[-(-int(size) // block) for size in matrix.shape] for matrix in matrices]
    return max(height for height, _ in sizes) * sum(width + 1 for _, width in sizes)


def _in_blocks(matrix: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    """Return the entry of each block that is furthest from zero; one that is not a number wins."""
    rows, columns = (-(-size // block) for size in matrix.shape)
    spare = (rows * block - matrix.shape[0], columns * block - matrix.shape[1])
    padded = np.pad(matrix, ((0, spare[0]), (0, spare[1])))
    blocks = padded.reshape(rows, block, columns, block).swapaxes(1, 2).reshape(rows, columns, -1)
    return np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[:, :, None], axis=2)[:, :, 0]


def _panel(matrix: NDArray[np.float64], strongest: float) -> NDArray[np.uint8]:
    finite = np.isfinite(matrix)
    levels = np.rint(np.clip(np.where(finite, matrix, 0) / strongest, -1, 1) * _LEVELS)
    return np.where(finite, levels + _ZERO, _NOT_FINITE).astype(np.uint8)


def _palette() -> bytes:
    """Return red, green and blue of each entry: the gap, which is transparent, 15 weights, and what is not finite."""
    towards_white = np.linspace(0, 1, _LEVELS + 1)[:, None]
    blues, reds = (np.asarray(end) * (1 - towards_white) + np.asarray(_WHITE) * towards_white for end in (_BLUE, _RED))
    colours = np.rint(np.vstack([_WHITE, blues, reds[-2::-1], _GREY]))
    return bytes(colours.astype(np.uint8).tobytes())


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a picture [height, width] of entries of the palette as a PNG file."""
    height, width = pixels.shape
    lines = np.pad(pixels, ((0, 0), (1, 0))).tobytes()  # each line starts with its filter, 0 for none
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),  # 8 bits per pixel, of a palette
        (b"PLTE", _palette()),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
