"""What the commands share: options, tables, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.text import Text

Revision = Annotated[str | None, typer.Option(help="branch, tag or commit, of a zoo on the Hub (default: main)")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="also write all of it to this file", metavar="FILE")]


def print_json(data: object) -> None:
    """Print data as JSON that people can read, too."""
    print(json.dumps(data, indent=2))


def print_json_rows(head: Mapping[str, object], name: str, rows: Iterable[Mapping[str, object]]) -> None:
    """Print a JSON object whose last entry, `name`, is a list of any length: one line a row, one row in memory."""
    print(json.dumps(dict(head))[:-1] + f', "{name}": [')
    separator = ""
    for row in rows:
        print(separator + json.dumps(row), end="")
        separator = ",\n"
    print("]}")


def print_table(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows as a table; numbers are rounded to what fits."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else []:
        table.add_column(name, justify="right" if isinstance(rows[0][name], (int, float)) else "left")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _cell(value: object) -> Text:
    from rich.text import Text

    return Text(f"{value:.4g}" if isinstance(value, float) else str(value))
