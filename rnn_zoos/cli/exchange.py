"""The commands that exchange zoos with other formats and with the Hub: import, export, publish."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnn_zoos.cli.console import Directory, print_summary
from rnn_zoos.cli.explorer_page import Embeddings, Networks, make_page
from rnn_zoos.errors import UnknownNameError
from rnn_zoos.loaders.explorer.defaults import NETWORKS

if TYPE_CHECKING:
    from rnn_zoos.generation.publishing.space import Space


def import_(
    source: Annotated[
        Path,
        typer.Argument(help="Directory with the .npy files, or with subdirectories that have them.", metavar="SOURCE"),
    ],
    out: Annotated[Path, typer.Option(help="New directory for the zoo.", metavar="DIR")],
) -> None:
    """Import the zoos released by the paper's authors (.npy files).

    Subdirectories of SOURCE are parts of one zoo. Prints what was repaired or
    left out.

    \b
    Examples:
      rnn-zoos import formal_languages_tokens_4_length_42_2x32 \\
          --out zoos/paper-languages
    """
    from rnn_zoos.loaders.paper.importing import findings, import_paper

    manifest = import_paper(source, out)
    for finding in findings(manifest):
        print(finding)
    print_summary(out, manifest)


def export(
    directory: Directory,
    to: Annotated[
        str,
        typer.Option(
            help="Layout: parquet (read by `datasets` without rnn-zoos) or paper (the .npy files of the authors).",
            metavar="parquet|paper",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="New or empty directory for the files; for parquet also that of an earlier export, which is replaced.",
            metavar="OUT",
        ),
    ],
) -> None:
    """Write a zoo in another layout: Parquet, or the paper's .npy files.

    Prints what the paper's layout cannot represent. Files that no export wrote
    are never replaced or deleted.

    \b
    Examples:
      rnn-zoos export zoos/formal-languages --to parquet --out exported
      rnn-zoos export zoos/formal-languages --to paper \\
          --out formal_languages_tokens_4_length_42_2x32
    """
    from rnn_zoos.generation.publishing.export import EXPORTERS

    if to not in EXPORTERS:
        raise UnknownNameError.among("layout", to, EXPORTERS)
    print(EXPORTERS[to](directory, out))


def publish(
    directory: Directory,
    repo: Annotated[
        str, typer.Option(help="Dataset repository on the Hub; created if it does not exist.", metavar="OWNER/NAME")
    ],
    space: Annotated[
        str | None,
        typer.Option(
            help="Static Space on the Hub for the explorer of this zoo; created if it does not exist.",
            metavar="OWNER/NAME",
            show_default="none",
        ),
    ] = None,
    networks: Networks = NETWORKS,
    embeddings: Embeddings = None,
    tag: Annotated[
        str | None, typer.Option(help="Tag for this version, such as v1.", metavar="TAG", show_default="no tag")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make repositories private if they are created.")] = False,
    public: Annotated[bool, typer.Option("--public", help="At the end, make the repositories public.")] = False,
    results: Annotated[
        Path | None,
        typer.Option(
            help="Folder with results of the benchmark on this zoo, leaderboard.md and figures.",
            metavar="DIR",
            show_default="none",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make and list all files, but do not upload them.")
    ] = False,
    endpoint: Annotated[
        str | None,
        typer.Option(help="URL of another Hub.", metavar="URL", show_default="$HF_ENDPOINT or https://huggingface.co"),
    ] = None,
) -> None:
    """Publish a zoo on the Hugging Face Hub, in one commit.

    Checks the zoo, adds a dataset card, figures and Parquet files in its folder
    `published`, and uploads everything. With --space, the page of `rnn-zoos
    explore` follows as a static Space; card and page link to each other, and
    --networks and --embeddings say what it has. If it was interrupted, the
    same command resumes. Log in first, with `hf auth login` or the environment
    variable HF_TOKEN.

    \b
    Examples:
      rnn-zoos publish zoos/formal-languages --repo me/languages --dry-run
      rnn-zoos publish zoos/formal-languages --repo me/languages --tag v1
      rnn-zoos publish zoos/formal-languages --repo me/languages --tag v1 \\
          --space me/languages-explorer --embeddings embeddings.safetensors
    """
    from rnn_zoos.format.manifest import CARD, PUBLISHED
    from rnn_zoos.generation.publishing.preparing import prepare_publication, prepared_space
    from rnn_zoos.generation.publishing.publish import publish as publish_files
    from rnn_zoos.generation.publishing.space import publish_with_space, published_space

    if space is None and (embeddings or networks != NETWORKS):
        raise typer.BadParameter("--networks and --embeddings are of the explorer. Give --space OWNER/NAME, too.")
    linked = space or (prepared_space(directory) if dry_run else published_space(repo, endpoint))
    publication = prepare_publication(directory, repo, results, linked)
    for line in publication.summary():
        print(line)
    print(f"{len(publication.files)} files, {publication.bytes / 1e6:,.1f} MB, for {repo}.", flush=True)
    shown = None if space is None else _explorer(directory, repo, space, results, networks, embeddings or ())
    if dry_run:
        print(f"Nothing was uploaded. The dataset card is {directory / PUBLISHED / CARD}.")
    elif shown is None:
        print(f"Published {repo}, commit {publish_files(publication, repo, tag, private, endpoint, public)}.")
    else:
        commits = publish_with_space(publication, shown, repo, tag, private, endpoint, public)
        print(f"Published {repo}, commit {commits[0]}.\nPublished its Space {space}, commit {commits[1]}.")


def _explorer(
    directory: Path, repo: str, name: str, results: Path | None, networks: int, embeddings: Sequence[Path]
) -> Space:
    """Return the Space with the explorer of a zoo, and print its files."""
    from rnn_zoos.generation.publishing.space import prepare_space
    from rnn_zoos.loaders.zoo import open_zoo

    zoo = open_zoo(directory)
    page = make_page(zoo, results, networks, embeddings, dataset=repo)
    space = prepare_space(page, zoo.manifest, name, repo)
    for line in space.summary():
        print(line)
    print(f"{len(space.files)} files, {sum(map(len, space.files.values())) / 1e6:,.1f} MB, for the Space {name}.")
    return space
