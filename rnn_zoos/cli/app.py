"""The entry point of the command `rnn-zoos`: assembles the commands, and turns errors into messages.

Importing this file is fast: every command imports the code that it runs when it runs.
"""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

import typer

from rnn_zoos.cli.assemble import assemble
from rnn_zoos.cli.benchmark import benchmark, leaderboard
from rnn_zoos.cli.embed import embed
from rnn_zoos.cli.exchange import export, import_, publish
from rnn_zoos.cli.explore import explore
from rnn_zoos.cli.generate import generate, merge, plan, verify
from rnn_zoos.cli.inspection import check, info, plot, sample
from rnn_zoos.cli.relabel import relabel
from rnn_zoos.cli.release import release
from rnn_zoos.cli.speed import speed
from rnn_zoos.cli.study import study
from rnn_zoos.errors import MissingExtraError, ZooError

EXTRAS = {
    **dict.fromkeys(("pydantic", "yaml", "filelock"), "generation"),
    **dict.fromkeys(("ray", "fsspec"), "ray"),
    "matplotlib": "report",
    "plotly": "explore",
    **dict.fromkeys(("scipy", "sklearn", "threadpoolctl"), "baselines"),
}
"""Package that may be missing -> the extra that installs it."""

_GENERATE, _INSPECT, _EXCHANGE, _MEASURE = "Generate", "Inspect", "Exchange", "Benchmark"

app = typer.Typer(
    name="rnn-zoos",
    help="""Zoos of small recurrent networks: generate, inspect, publish and benchmark.

A zoo is a directory with the weights of many trained networks, labels of
every network, and a manifest with the hash of every file.

\b
Examples:
  rnn-zoos generate formal-languages --preset demo --out zoos/formal-languages
  rnn-zoos check zoos/formal-languages
  rnn-zoos info zoos/formal-languages

\b
Exit status:
  0    success
  1    an error, or findings of check, verify or leaderboard --check
  2    invalid options or arguments
  130  interrupted; the same command resumes generate, assemble and relabel
""",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command(rich_help_panel=_GENERATE)(plan)
app.command(rich_help_panel=_GENERATE)(generate)
app.command(rich_help_panel=_GENERATE)(merge)
app.command(rich_help_panel=_GENERATE)(assemble)
app.command(rich_help_panel=_GENERATE)(verify)
app.command(rich_help_panel=_GENERATE)(relabel)
app.command(rich_help_panel=_INSPECT)(check)
app.command(rich_help_panel=_INSPECT)(info)
app.command(rich_help_panel=_INSPECT)(sample)
app.command(rich_help_panel=_INSPECT)(plot)
app.command(rich_help_panel=_INSPECT)(explore)
app.command("import", rich_help_panel=_EXCHANGE)(import_)
app.command(rich_help_panel=_EXCHANGE)(export)
app.command(rich_help_panel=_EXCHANGE)(publish)
app.command(rich_help_panel=_EXCHANGE)(release)
app.command(rich_help_panel=_MEASURE)(benchmark)
app.command(rich_help_panel=_MEASURE)(leaderboard)
app.command(rich_help_panel=_MEASURE)(study)
app.command(rich_help_panel=_MEASURE)(embed)
app.add_typer(speed, name="speed", rich_help_panel=_MEASURE)


def main() -> None:
    """Run the command. A ZooError, or a missing extra, becomes one message on stderr and exit status 1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where a terminal lacks the letters of tables
    try:
        app([_with_home(word) for word in sys.argv[1:]])
    except ZooError as error:
        _fail(error)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        _fail(MissingExtraError.of(EXTRAS[error.name], error))


def _with_home(word: str) -> str:
    """Return a word of the command line with its ~, which shells leave as it is in --out=~/zoos and in quotes."""
    option, joined, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return option + joined + (os.path.expanduser(value) if value == "~" or value.startswith("~/") else value)


def _fail(error: ZooError) -> NoReturn:
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(1)
