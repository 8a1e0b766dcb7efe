"""What the commands share: arguments and options with the same meaning everywhere, tables, and JSON output."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from rnn_zoos.format.manifest import Manifest

Directory = Annotated[Path, typer.Argument(help="Directory of a zoo.", metavar="DIR")]
DirectoryOrName = Annotated[
    str, typer.Argument(help="Directory of a zoo, or its name on the Hugging Face Hub.", metavar="DIR|OWNER/NAME")
]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a zoo on the Hub.", metavar="REVISION", show_default="main")
]
Workers = Annotated[
    int | None, typer.Option(help="Number of worker processes.", metavar="N", min=1, show_default="one per core")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
MNIST_HELP = "MNIST digits: hub (download), a directory of IDX files, or embedded (5,000 digits in this package)."
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the results to this file.", metavar="FILE")]

_WIDTH = 160  # of tables that are not printed to a terminal


@contextmanager
def resumable() -> Iterator[None]:
    """Make Ctrl-C and SIGTERM end a command that makes shards with exit status 130, and say that it can be resumed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops like Ctrl-C
    try:
        yield
    except KeyboardInterrupt:
        print("Interrupted. Finished shards are kept: run the same command again to resume.", file=sys.stderr)
        raise typer.Exit(130) from None


def print_summary(directory: Path, manifest: Manifest) -> None:
    """Print how many runs and snapshots a zoo has, and the sizes of its networks."""
    rows = sum(split["rows"] for split in manifest.splits.values())
    sizes = sorted({architecture.num_parameters for architecture in manifest.architectures})
    each = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    print(f"{directory}: {manifest.runs} runs, {rows} snapshots of {each} parameters each.")


def print_json(data: object) -> None:
    """Print data as indented JSON."""
    print(json.dumps(data, indent=2))


def print_json_rows(head: Mapping[str, object], name: str, rows: Iterable[Mapping[str, object]]) -> None:
    """Print a JSON object: the entries of `head`, then the list `name` with one row per line.

    Only one row is in memory at a time.
    """
    print(json.dumps(dict(head))[:-1] + f', "{name}": [')
    separator = ""
    for row in rows:
        print(separator + json.dumps(row), end="")
        separator = ",\n"
    print("]}")


def print_table(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows as a table whose headers are the keys of all rows; without rows, the title alone.

    Floats get 4 significant digits; cells of None, and those that a row lacks, are empty. Tables that are too wide for
    the terminal are continued below, with their first column.
    """
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    headers = [*dict.fromkeys(name for row in rows for name in row)]
    if not rows:
        console.print(title)
    for number, part in enumerate(_parts(headers, rows, console.width)):
        console.print(_table(title if number == 0 else "", part, rows))


def _parts(headers: Sequence[str], rows: Sequence[Mapping[str, object]], width: int) -> Iterator[list[str]]:
    """Yield the headers in parts whose columns fit side by side; each part begins with the first header.

    A single wide column is not divided: its cells are broken into lines.
    """
    widths = {name: 3 + max(len(name), *(len(_cell(row.get(name)).plain) for row in rows)) for name in headers}
    first, part = list(headers[:1]), list(headers[:1])
    for name in headers[1:]:
        if len(part) > 1 and 1 + sum(widths[header] for header in [*part, name]) > width:
            yield part
            part = [*first]
        part.append(name)
    if part:
        yield part


def _table(title: str, headers: Sequence[str], rows: Sequence[Mapping[str, object]]) -> Table:
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for name in headers:
        known = next((row[name] for row in rows if row.get(name) is not None), None)
        table.add_column(name, justify="right" if isinstance(known, (int, float)) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in headers))
    return table


def print_properties(title: str, properties: Mapping[str, object], header: str = "property") -> None:
    """Print a mapping as a table with two columns."""
    print_table(title, [{header: name, "value": value} for name, value in properties.items()])


def _cell(value: object) -> Text:
    from rich.text import Text

    if value is None:
        return Text("")
    return Text(f"{value:.4g}" if isinstance(value, float) else str(value))
