"""Draws docs/images/overview.png, the picture of the README, from the two zoos of the preset `demo`.

generation/run.sh --preset demo
python docs/images/overview.py zoos docs/images/overview.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnn_zoos import load_model, open_zoo
from rnn_zoos.families.digit_inputs import tile_inputs
from rnn_zoos.families.digits import load_digits
from rnn_zoos.families.rotation import SIDE, TILE, rotation_table
from rnn_zoos.loaders import sample_network

RIGHT, WRONG = "#228833", "#ee6677"
STRINGS = 4
SHOWN_CLASS = 3


def draw_strings(axes: Axes, zoo: Path) -> None:
    """List what the most accurate language network writes after each number of updates."""
    rows = open_zoo(zoo).index().to_pylist()
    best = max(rows, key=lambda row: row["accuracy"])
    history = [row for row in rows if row["run"] == best["run"]]
    powers = " ".join(f"{letter}^{{n{best[f'm_{letter}']:+d}}}".replace("+0", "") for letter in "bcd")
    title = f"formal-languages: learning to write $a^n {powers}$ (green: right, ^: begin)"
    axes.set_title(title, loc="left", fontsize=10)
    height = len(history) * (STRINGS + 1)
    for block, row in enumerate(history):
        top = height - block * (STRINGS + 1)
        axes.text(0, top, f"{row['step']:,} updates", fontsize=8.5, weight="bold", va="top")
        axes.text(0, top - 1, f"{row['accuracy']:.0%} right", fontsize=8.5, va="top")
        _, strings = sample_network(zoo, row["run"], row["step"], STRINGS)
        for line, string in enumerate(strings):
            colour = RIGHT if string[""] == "right" else WRONG
            text = string["string"]
            axes.text(0.22, top - line, text, family="monospace", fontsize=8.5, color=colour, va="top")
    axes.set_xlim(0, 1.0)
    axes.set_ylim(0.5, height + 0.5)
    axes.axis("off")


def draw_reading(digit_axes: Axes, axes: Axes, zoo: Path) -> None:
    """Show a rotated validation digit, and the class probabilities of the best network after every tile of it."""
    rows = [row for row in open_zoo(zoo).index().to_pylist() if 60 < row["angle"] < 300]
    best = max(rows, key=lambda row: row["accuracy"])
    network = load_model(zoo, run=best["run"], step=best["step"])
    digits = load_digits("embedded")
    table = rotation_table(best["angle"])
    with torch.no_grad():
        probabilities = network(tile_inputs(digits.images[digits.validation], table)).softmax(dim=-1)
    labels = digits.labels[digits.validation]
    final = probabilities[torch.arange(len(labels)), -1, labels]
    chosen = int(torch.where(labels == SHOWN_CLASS, final, 0).argmax())
    image = digits.images[digits.validation[chosen]][table].view(SIDE, SIDE)
    digit_axes.imshow(image, cmap="gray_r")
    for line in range(0, SIDE + 1, TILE):
        digit_axes.axhline(line - 0.5, color="#4477aa", linewidth=0.5)
        digit_axes.axvline(line - 0.5, color="#4477aa", linewidth=0.5)
    digit_axes.set_title(f"A digit, rotated by {best['angle']:.0f}°", loc="left", fontsize=10)
    digit_axes.set_xticks([])
    digit_axes.set_yticks([])
    mesh = axes.imshow(probabilities[chosen].T, aspect="auto", origin="lower", cmap="viridis", vmin=0, vmax=1)
    axes.set_title(f"sequential-mnist: reading it, class {labels[chosen]}", loc="left", fontsize=10)
    axes.set_xlabel("4 x 4 tiles read, row by row")
    axes.set_ylabel("class")
    axes.set_yticks(range(10))
    axes.figure.colorbar(mesh, ax=axes, label="probability")


def main(zoos: Path, out: Path) -> None:
    """Draw the picture."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1), height_ratios=(1, 1))
    draw_strings(figure.add_subplot(grid[:, 0]), zoos / "formal-languages")
    draw_reading(figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1]), zoos / "sequential-mnist")
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
