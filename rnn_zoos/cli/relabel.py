"""The command that adds labels to a finished zoo: relabel."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnn_zoos.cli.console import AsJson, Directory, Workers, print_json, resumable

if TYPE_CHECKING:
    from rnn_zoos.generation.writing.relabel import Relabelling


def relabel(
    directory: Directory,
    labels: Annotated[
        str | None,
        typer.Option(help="Which labels to add, separated by commas.", metavar="NAME,...", show_default="all missing"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say which labels are missing, and how long it would take.")
    ] = False,
    workers: Workers = None,
    mnist: Annotated[
        str | None,
        typer.Option(
            help="MNIST digits that the zoo was made with: hub, a directory of IDX files, or embedded.",
            metavar="hub|DIR|embedded",
            show_default="that of the zoo",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add labels that did not exist when a zoo was made.

    Measures them on the stored weights, and replaces the index and zoo.json.
    Labels of runs (steps_to_50, steps_to_90) follow from the index. Weights
    and rollouts stay as they are. It can be interrupted at any time: the same
    command resumes it.

    \b
    Examples:
      rnn-zoos relabel zoos/formal-languages --dry-run
      rnn-zoos relabel zoos/formal-languages
      rnn-zoos relabel zoos/sequential-mnist --labels test_accuracy --mnist hub
    """
    from rnn_zoos.generation.writing.relabel import estimate_relabelling
    from rnn_zoos.generation.writing.relabel import relabel as relabel_zoo

    names = None if labels is None else [name.strip() for name in labels.split(",")]
    with resumable():
        result = (estimate_relabelling if dry_run else relabel_zoo)(directory, names, workers, mnist)
    if as_json:
        print_json(asdict(result))
    else:
        print(_describe(directory, result))


def _describe(directory: Path, result: Relabelling) -> str:
    names = ", ".join(result.labels)
    if not names:
        return f"{directory}: nothing to add, it has all of these labels."
    if not result.workers:
        done = "lacks" if result.seconds is not None else "added"
        return f"{directory}: {done} {names}; no network has to be measured for that."
    if result.seconds is None:
        return f"{directory}: added {names}, measured on {result.snapshots:,} snapshots."
    return (
        f"{directory}: lacks {names}. Measuring {result.snapshots:,} snapshots with {result.workers} processes would "
        f"take about {_duration(result.seconds)}."
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
