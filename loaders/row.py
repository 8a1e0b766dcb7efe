"""A row of a zoo as a dict that notebooks show as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from numbers import Integral, Real
from typing import Any

from rnn_zoos.networks.notebook import table_html

_LIMIT = 16_000  # bytes of the table


class Row(dict[str, Any]):
    """A row of a zoo: a dict that notebooks show as a table of its labels.

    `Zoo.row` returns one. Rows of `load_dataset` are plain dicts; `Row(row)` shows one of them.

    Example:
        >>> from rnn_zoos import load_dataset
        >>> from rnn_zoos.loaders import Row
        >>> row = Row(load_dataset("zoos/formal-languages", split="train")[-1])
        >>> row["step"]
        1000
    """

    def _repr_html_(self) -> str:
        return table_html(("column", "value"), [(name, _short(value)) for name, value in self.items()], _LIMIT)


def _short(value: object) -> str:
    """Return a value as a short text; of mappings, tensors and long lists only how much they hold."""
    if isinstance(value, Mapping):
        return f"{len(value)} entries"
    if shape := getattr(value, "shape", ()):
        return f"{type(value).__name__} {list(shape)}"
    if isinstance(value, Real) and not isinstance(value, Integral):
        return f"{float(value):.4g}"
    if isinstance(value, Sized) and not isinstance(value, str) and len(value) > 8:
        return f"{len(value)} entries"
    return str(value)
