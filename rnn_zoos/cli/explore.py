"""The command that makes the explorer's page of a zoo: explore."""

from __future__ import annotations

import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from rnn_zoos.cli.console import DirectoryOrName, Revision
from rnn_zoos.cli.explorer_page import Embeddings, Networks, make_page
from rnn_zoos.loaders.explorer.defaults import NETWORKS, PORT


def explore(
    zoo: DirectoryOrName,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory for the page.", metavar="OUT", show_default="with --serve, a temporary one"),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve the page, and the weights of all networks, until Ctrl-C.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            help="Port of --serve; 0 takes a free one.", metavar="N", min=0, max=65535, show_default=str(PORT)
        ),
    ] = None,
    networks: Networks = NETWORKS,
    embeddings: Embeddings = None,
    results: Annotated[
        Path | None,
        typer.Option(
            help="Results of the benchmark on this zoo, for the leaderboard page.",
            metavar="DIR",
            show_default="those in the checkout, if they are of this zoo or a copy",
        ),
    ] = None,
    revision: Revision = None,
) -> None:
    """Make an interactive web page of a zoo's networks.

    Writes a static page that any browser opens from the disk. It has
    pictures of labels, tasks and maps, linked with each other, and runs
    networks live; without --serve, those whose weights are inside it.

    \b
    Examples:
      rnn-zoos explore zoos/formal-languages --serve
      rnn-zoos explore zoos/formal-languages --out page
      rnn-zoos explore zoos/formal-languages --out page \\
          --embeddings embeddings.safetensors --networks 100
    """
    from rnn_zoos.baselines.benchmark.comparable import stored_results_on
    from rnn_zoos.loaders.explorer.page import check_target
    from rnn_zoos.loaders.explorer.server import check_port
    from rnn_zoos.loaders.explorer.server import serve as serve_page
    from rnn_zoos.loaders.zoo import open_zoo

    if out is None and not serve:
        raise typer.BadParameter("Give --out a directory, or --serve.")
    if port is not None and not serve:
        raise typer.BadParameter("--port is that of --serve. Give --serve, too.")
    port = PORT if port is None else port
    if out is not None:
        check_target(out)  # before the work of making the page
    if serve:
        check_port(port)
    opened = open_zoo(zoo, revision)
    local = None if opened.source.remote else Path(opened.source.address)
    board = results or stored_results_on(opened)
    page = make_page(opened, board, networks, embeddings or [], zoo_is_served=serve and local is not None)
    if page.rows < page.all_rows:
        print(f"The page shows {page.rows:,} of {page.all_rows:,} snapshots: every few runs of each split.")
    print(
        f"{page.bytes / 1e6:.1f} MB: {page.data_bytes / 1e6:.1f} MB of data, with the weights of {page.networks} "
        "networks; the rest is the page and its library."
    )
    with ExitStack() as cleanup:
        target = out or Path(cleanup.enter_context(tempfile.TemporaryDirectory())) / "page"
        page.write(target)
        if not serve:
            print(f"{target / 'index.html'}: open it in a browser.")
            return
        if local is None:
            print("The zoo is on the Hub: only networks inside the page run.", file=sys.stderr)
        for name in ("SIGTERM", "SIGHUP"):  # end as Ctrl-C does: the page is removed
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.default_int_handler)
        serve_page(target, local, port=port, started=_announce)


def _announce(url: str) -> None:
    print(f"{url}: open it in a browser. Ctrl-C ends the server.", flush=True)
