"""What the explorer's page needs to know of a family: how its tasks are drawn, and how its networks run there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Live: TypeAlias = Literal["strings", "automaton", "digits", "symbols", "none"]
"""How a network runs in the page.

- strings: reads a beginning, and writes strings symbol by symbol, each judged.
- automaton: reads a string, and answers after every symbol, beside the states of an automaton.
- digits: reads the tiles of a rotated digit, and classifies it after every tile.
- symbols: reads a string of one-hot symbols, and predicts a class after every symbol.
- none: not at all.
"""

Picture: TypeAlias = Literal["grid", "wheel", "axis"]
"""How tasks are drawn. grid: panels of cells, over three columns. wheel: by an angle. axis: along one column."""


@dataclass(frozen=True)
class View:
    """How the explorer's page shows a family.

    Attributes:
        live: How its networks run in the page.
        symbols: Name of each symbol that networks read; empty for other inputs.
        classes: Name of each output class; empty for their numbers.
        picture: How its tasks are drawn.
        axes: Columns of the index that the picture has: panel, x and y of a grid; else one.
    """

    live: Live = "none"
    symbols: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    picture: Picture = "axis"
    axes: tuple[str, ...] = ()
