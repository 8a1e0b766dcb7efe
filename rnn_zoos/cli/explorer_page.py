"""Making the explorer's page of a zoo, for the commands that write, serve and publish it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnn_zoos.loaders.explorer.defaults import NETWORKS
from rnn_zoos.progress import progress_bar

if TYPE_CHECKING:
    from rnn_zoos.loaders.explorer.maps import MapFeatures
    from rnn_zoos.loaders.explorer.page import Page
    from rnn_zoos.loaders.zoo import Zoo

Networks = Annotated[
    int,
    typer.Option(help="Networks whose weights are inside the page, so that they run from a disk.", metavar="N", min=0),
]
Embeddings = Annotated[
    list[Path] | None,
    typer.Option(
        help="File of `rnn-zoos embed`: a further map. Repeat it for several.", metavar="FILE", show_default=False
    ),
]


def make_page(
    zoo: Zoo,
    results: Path | None,
    networks: int = NETWORKS,
    embeddings: Sequence[Path] = (),
    zoo_is_served: bool = False,
    dataset: str | None = None,
) -> Page:
    """Make the explorer's page of a zoo; see `build_page` for its errors.

    Args:
        zoo: The zoo.
        results: Folder with results of the benchmark, for the leaderboard page; None leaves that page out. If they are
            of another zoo, a note is printed.
        networks: Networks whose weights are inside the page.
        embeddings: Files of `rnn-zoos embed`, each a further map.
        zoo_is_served: Whether the zoo's files are beside the page.
        dataset: OWNER/NAME of the zoo on the Hub, for a link.
    """
    from rnn_zoos.loaders.explorer.page import build_page

    maps = _maps(zoo, embeddings)
    board = None if results is None else _leaderboard(zoo, results, maps)
    return build_page(zoo, networks, maps, board, zoo_is_served, dataset=dataset)


def _maps(zoo: Zoo, files: Sequence[Path]) -> list[MapFeatures]:
    """Return what the maps are made of: embeddings first, then what needs no encoder."""
    from rnn_zoos.baselines.emulation.zoo_maps import zoo_maps
    from rnn_zoos.loaders.explorer.maps import embedding_features

    given = [embedding_features(zoo, path) for path in files]
    with progress_bar("maps of the networks") as progress:
        return [*given, *zoo_maps(zoo, progress)]


def _leaderboard(zoo: Zoo, results: Path, maps: Sequence[MapFeatures]) -> dict[str, Any]:
    """Return the data of the leaderboard page; say so if the results are not of this very zoo."""
    from rnn_zoos.baselines.benchmark.comparable import plan_entries
    from rnn_zoos.baselines.benchmark.leaderboard_page import leaderboard_data
    from rnn_zoos.baselines.benchmark.result_files import is_same_plan, read_results
    from rnn_zoos.format.manifest import zoo_title

    names = {features.name.rpartition(".")[0]: features.name for features in maps}
    found = read_results(results)
    data = leaderboard_data(found, zoo.manifest.zoo, names)
    own = [result for result in found if result["zoo"]["name"] == zoo.manifest.zoo]
    made_on = own[0]["zoo"]
    if made_on["sha256"] != zoo.identity:
        plan = plan_entries(zoo)
        copy = any("by_run" in result and is_same_plan(result, plan) for result in own)
        other = zoo_title(made_on)
        kind = "a copy of this zoo" if copy else "another zoo"
        print(
            f"Note: {results} has results of {kind}, {other}. They are not of the networks of {zoo.source.address}, "
            f"which has the hash {zoo.identity[:12]}.",
            file=sys.stderr,
        )
        note = f"These are results of {kind}, {other}; the explorer shows one with the hash {zoo.identity[:12]}."
        data["notes"].append(note)
    return data
