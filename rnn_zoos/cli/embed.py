"""The command that embeds the networks of a zoo by a trained encoder: embed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rnn_zoos.cli.console import DirectoryOrName, Revision
from rnn_zoos.progress import progress_bar


def embed(
    zoo: DirectoryOrName,
    encoder: Annotated[
        str,
        typer.Option(
            help="File of a trained encoder, from `rnn-zoos benchmark`; or the name of one stored in the checkout.",
            metavar="NAME|FILE",
        ),
    ],
    out: Annotated[Path, typer.Option(help="File for the embeddings (.safetensors).", metavar="FILE")],
    revision: Revision = None,
) -> None:
    """Embed all networks of a zoo by a trained encoder.

    Nothing is trained. FILE gets `embeddings`, float16 [R, 16] for R snapshots
    in the order of the index, and their `run` and `step`, int32 [R].

    \b
    Examples:
      rnn-zoos embed zoos/formal-languages --encoder self-rollout \\
          --out embeddings.safetensors
      rnn-zoos embed zoos/formal-languages \\
          --encoder results/formal-languages/flat.0.safetensors \\
          --out flat.safetensors
    """
    from rnn_zoos.baselines.emulation.saved_encoder import read_encoder
    from rnn_zoos.baselines.emulation.zoo_embeddings import (
        check_replaceable,
        embed_zoo,
        find_encoder,
        write_embeddings,
    )
    from rnn_zoos.format.manifest import zoo_title
    from rnn_zoos.loaders.zoo import open_zoo

    check_replaceable(out)
    opened = open_zoo(zoo, revision)
    path = find_encoder(encoder, opened.manifest.zoo)
    saved = read_encoder(path)
    about = saved.description
    with progress_bar(f"{about.encoder}, seed {about.seed}") as progress:
        embeddings = embed_zoo(opened, saved, progress)
    if about.zoo["sha256"] != opened.identity:
        print(
            f"Note: {path} was trained on another zoo, {zoo_title(about.zoo)}. The splits of {zoo} are not its splits.",
            file=sys.stderr,
        )
    write_embeddings(out, opened, saved, embeddings)
    rows, size = embeddings.shape
    print(f"{out}: {rows} embeddings of {size} numbers by {about.encoder}, seed {about.seed}.")
