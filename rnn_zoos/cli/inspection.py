"""The commands that inspect one zoo: check, info, sample, plot."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rnn_zoos.cli.console import (
    AsJson,
    Directory,
    DirectoryOrName,
    Revision,
    print_json,
    print_properties,
    print_table,
)


def check(
    directory: Directory,
    repair: Annotated[
        bool, typer.Option("--repair", help="First remove temporary files that killed processes left behind.")
    ] = False,
) -> None:
    """Check that a zoo conforms to its format.

    Reads every file and checks hashes, shapes, index rows, the assignment of
    tasks, and splits. Prints one line per finding. The exit status is 1 if
    there are findings, 0 otherwise. Labels that an older version did not
    measure may be missing; `rnn-zoos relabel` adds them.

    \b
    Examples:
      rnn-zoos check zoos/formal-languages
      rnn-zoos check zoos/formal-languages --repair
    """
    from rnn_zoos.families.registry import task_family
    from rnn_zoos.format.check import check_zoo
    from rnn_zoos.format.columns import relabel_hint
    from rnn_zoos.format.manifest import read_manifest

    if repair:
        from rnn_zoos.generation.writing.directory import repair as remove_left_over

        for path in remove_left_over(directory):
            print(f"Removed {path}.", file=sys.stderr)
    findings = check_zoo(directory)
    for finding in findings:
        print(finding)
    if findings:
        print(
            "To repair a zoo that you generated, delete the damaged files and run the same `rnn-zoos generate` again. "
            "Download or import any other zoo again.",
            file=sys.stderr,
        )
        raise typer.Exit(1)
    manifest = read_manifest(directory)
    print(f"{directory}: conforms to format {manifest.format}.")
    for line in relabel_hint(directory, manifest, task_family(manifest.zoo)):
        print(line)


def info(zoo: DirectoryOrName, revision: Revision = None, as_json: AsJson = False) -> None:
    """Show the contents of a zoo: tasks, runs, snapshots, splits, label ranges.

    Of a zoo on the Hub, only the manifest and the index are downloaded.

    \b
    Examples:
      rnn-zoos info zoos/sequential-mnist
      rnn-zoos info zoos/sequential-mnist --json
    """
    from rnn_zoos.loaders.views.info import zoo_info
    from rnn_zoos.loaders.zoo import open_zoo

    summary = zoo_info(open_zoo(zoo, revision))
    if as_json:
        print_json(summary)
        return
    print_properties(zoo, summary["zoo"])
    titles = {"steps": "steps: means of fractions, medians of other labels"}
    for part in ("splits", "steps", "architectures", "labels"):
        if summary[part]:
            print_table(titles.get(part, part), summary[part])


def sample(
    zoo: DirectoryOrName,
    run: Annotated[int, typer.Option(help="Number of the run.", metavar="N", min=0)],
    step: Annotated[
        int | None,
        typer.Option(help="Step of the snapshot.", metavar="N", min=0, show_default="the last snapshot of the run"),
    ] = None,
    count: Annotated[int, typer.Option(help="Number of strings, digits or other inputs.", metavar="N", min=1)] = 10,
    revision: Revision = None,
    as_json: AsJson = False,
) -> None:
    """Run one network: let it write strings, classify digits, or judge strings.

    \b
    Examples:
      rnn-zoos sample zoos/formal-languages --run 3
      rnn-zoos sample zoos/sequential-mnist --run 0 --step 1000 --count 20
    """
    from rnn_zoos.loaders.views.sample import sample_network

    title, rows = sample_network(zoo, run, step, count, revision)
    if as_json:
        print_json(rows)
        return
    print_table(title, rows)


def plot(
    zoo: DirectoryOrName,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Directory for the figures.", metavar="OUT", show_default="DIR/figures; figures for a zoo on the Hub"
        ),
    ] = None,
    revision: Revision = None,
) -> None:
    """Draw the accuracy of a zoo's networks: against the step, and per task.

    Writes two PNG files and prints their paths.

    \b
    Examples:
      rnn-zoos plot zoos/formal-languages
      rnn-zoos plot zoos/formal-languages --out figures
    """
    from rnn_zoos.loaders.views.figures import draw_opened
    from rnn_zoos.loaders.zoo import open_zoo

    opened = open_zoo(zoo, revision)
    # The figures of a zoo on the Hub do not go into OWNER/NAME/figures: it would look like a local zoo.
    folder = Path() if opened.source.remote else Path(opened.source.address)
    for path in draw_opened(opened, out or folder / "figures"):
        print(path)
