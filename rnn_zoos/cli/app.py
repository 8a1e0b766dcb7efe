"""The command `rnn-zoos`: one door to all of it. Each command imports what it runs when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from rnn_zoos.cli.console import Revision, print_json, print_table
from rnn_zoos.cli.generate import generate, merge, plan, verify
from rnn_zoos.cli.measure import benchmark, leaderboard, speed
from rnn_zoos.errors import MissingExtraError, UnknownNameError, ZooError

app = typer.Typer(
    name="rnn-zoos",
    help="Zoos of small recurrent networks: make them, look at them, check them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Directory = Annotated[Path, typer.Argument(help="directory of a zoo", metavar="DIR")]
Readable = Annotated[str, typer.Argument(help="directory of a zoo, or its name on the Hub", metavar="DIR|OWNER/NAME")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]

app.command()(plan)
app.command()(generate)
app.command()(merge)
app.command()(verify)


@app.command()
def check(
    directory: Directory,
    repair: Annotated[
        bool, typer.Option("--repair", help="first remove the temporary files of killed processes")
    ] = False,
) -> None:
    """Check a zoo: every hash, shape, row and split against format 1. One line per finding; exit status 1 if any.

    Example: rnn-zoos check zoos/formal-languages
    """
    from rnn_zoos.format.check import check_zoo

    if repair:
        from rnn_zoos.generation.writing.workspace import repair as remove_left_over

        for path in remove_left_over(directory):
            print(f"Removed {path}.", file=sys.stderr)
    findings = check_zoo(directory)
    for finding in findings:
        print(finding)
    if findings:
        print(
            "Damaged files of a zoo that you generated: delete them and run the same `rnn-zoos generate` again. Of one "
            "that you fetched or imported: fetch or import it again.",
            file=sys.stderr,
        )
        raise typer.Exit(1)
    print(f"{directory}: conforms to format 1.")


@app.command()
def info(zoo: Readable, revision: Revision = None, as_json: AsJson = False) -> None:
    """Say what is in a zoo: tasks, runs, snapshots, splits, sizes, ranges of the labels.

    Example: rnn-zoos info zoos/sequential-mnist
    """
    from rnn_zoos.loaders.views.info import zoo_info
    from rnn_zoos.loaders.zoo import open_zoo

    summary = zoo_info(open_zoo(zoo, revision))
    if as_json:
        print_json(summary)
        return
    print_table(zoo, [{"what": key, "value": value} for key, value in summary["zoo"].items()])
    for title in ("splits", "steps", "labels"):
        print_table(title, summary[title])


@app.command()
def sample(
    zoo: Readable,
    run: Annotated[int, typer.Option(help="number of the run", min=0)],
    step: Annotated[int | None, typer.Option(help="snapshot (default: the last)", min=0)] = None,
    count: Annotated[int, typer.Option(help="strings to write or digits to read", min=1)] = 10,
    revision: Revision = None,
    as_json: AsJson = False,
) -> None:
    """Let a network work: strings that a language network writes, or digits that a digit network names.

    Example: rnn-zoos sample zoos/formal-languages --run 3 --step 1500
    """
    from rnn_zoos.loaders.views.sample import sample_network

    title, rows = sample_network(zoo, run, step, count, revision)
    if as_json:
        print_json(rows)
        return
    print_table(title, rows)


@app.command()
def plot(
    zoo: Readable,
    out: Annotated[
        Path | None, typer.Option(help="folder for the pictures (default: DIR/figures; of a zoo on the Hub, figures)")
    ] = None,
    revision: Revision = None,
) -> None:
    """Draw a zoo: accuracy against step, and the final accuracy of every task. Prints the paths of the PNGs.

    Example: rnn-zoos plot zoos/formal-languages
    """
    from rnn_zoos.loaders.views.figures import draw_zoo

    default = Path(zoo, "figures") if Path(zoo).is_dir() else Path("figures")  # OWNER/NAME would be a directory then
    for path in draw_zoo(zoo, out or default, revision):
        print(path)


@app.command("import")
def import_(
    source: Annotated[
        Path, typer.Argument(help="directory of the .npy files, or of folders with parts of them", metavar="SRC")
    ],
    out: Annotated[Path, typer.Option(help="new directory for the zoo", metavar="DIR")],
) -> None:
    """Read the data that the paper's authors released (.npy files) into a zoo, and say what had to be mended.

    Example: rnn-zoos import formal_languages_tokens_4_length_42_2x32 --out zoos/paper-languages
    """
    from rnn_zoos.loaders.paper.importing import findings, import_paper

    manifest = import_paper(source, out)
    for finding in findings(manifest):
        print(finding)
    rows = sum(split["rows"] for split in manifest.splits.values())
    print(f"{out}: {manifest.runs} runs, {rows} snapshots of {manifest.architecture.num_parameters:,} weights each.")


@app.command()
def export(
    directory: Directory,
    to: Annotated[str, typer.Option(help="parquet (what plain `datasets` reads), or paper (the authors' .npy files)")],
    out: Annotated[Path, typer.Option(help="directory for the files")],
) -> None:
    """Write a zoo in another layout, and say what that has no place for.

    Examples:

    rnn-zoos export zoos/formal-languages --to parquet --out exported

    rnn-zoos export zoos/formal-languages --to paper --out formal_languages_tokens_4_length_42_2x32
    """
    from rnn_zoos.generation.publishing.publish import EXPORTERS

    if to not in EXPORTERS:
        raise UnknownNameError.among("layout", to, EXPORTERS)
    print(EXPORTERS[to](directory, out))


@app.command()
def publish(
    directory: Directory,
    repo: Annotated[str, typer.Option(help="OWNER/NAME of a dataset on the Hub; made if it is not there")],
    tag: Annotated[str | None, typer.Option(help="name of this version, such as v1")] = None,
    private: Annotated[bool, typer.Option("--private", help="make a new repository private")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="write and list all files, send nothing")] = False,
    endpoint: Annotated[str | None, typer.Option(help="URL of another Hub", metavar="URL")] = None,
) -> None:
    """Publish a zoo on the Hugging Face Hub: all files in one commit. Stopped, the same command goes on.

    Log in first: hf auth login, or HF_TOKEN.

    Examples:

    rnn-zoos publish zoos/formal-languages --repo me/formal-languages --dry-run

    rnn-zoos publish zoos/formal-languages --repo me/formal-languages --tag v1
    """
    from rnn_zoos.format.manifest import CARD, PUBLISHED
    from rnn_zoos.generation.publishing.publish import prepare_publication
    from rnn_zoos.generation.publishing.publish import publish as publish_files

    publication = prepare_publication(directory, repo)
    for line in publication.summary():
        print(line)
    print(f"{len(publication.files)} files, {publication.bytes / 1e6:,.1f} MB, for {repo}.", flush=True)
    if dry_run:
        print(f"Nothing was sent. The card is {directory / PUBLISHED / CARD}.")
        return
    print(f"Published: {repo} at {publish_files(publication, repo, tag, private, endpoint)}.")


app.command()(benchmark)
app.command()(leaderboard)
app.add_typer(speed, name="speed")

EXTRAS = {
    **dict.fromkeys(("pydantic", "yaml", "filelock"), "generation"),
    **dict.fromkeys(("ray", "fsspec"), "ray"),
    "matplotlib": "report",
    **dict.fromkeys(("scipy", "sklearn", "threadpoolctl"), "baselines"),
}
"""Package that may be missing -> the extra that brings it."""


def main() -> None:
    """Run the command; a ZooError becomes one message on stderr and exit status 1."""
    try:
        app()
    except ZooError as error:
        _fail(error)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        _fail(MissingExtraError.of(EXTRAS[error.name], error))


def _fail(error: ZooError) -> NoReturn:
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(1)
