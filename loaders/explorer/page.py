"""`build_page`: the explorer of a zoo, a static page in which one walks among its networks and runs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rnn_zoos.errors import StorageError, UnknownNameError
from rnn_zoos.families.digits import load_digits
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.registry import task_family
from rnn_zoos.families.rotation import SIDE
from rnn_zoos.format.columns import columns_of
from rnn_zoos.format.files import Array, new_directory, replaceable_path
from rnn_zoos.loaders.explorer.assets import html_page, page_assets
from rnn_zoos.loaders.explorer.columns import MAX_ROWS, pack_columns, shown_rows
from rnn_zoos.loaders.explorer.data_files import Arrays, data_script
from rnn_zoos.loaders.explorer.defaults import NETWORKS, ZOO_FOLDER
from rnn_zoos.loaders.explorer.maps import MapFeatures, pack_map
from rnn_zoos.loaders.explorer.networks import choose_networks, pack_networks
from rnn_zoos.loaders.hub import check_hub_name
from rnn_zoos.loaders.views.info import zoo_info
from rnn_zoos.loaders.zoo import Zoo

MARKER = "explorer.txt"
"""File that every page has, with the list of its files: they are replaced when the page is made again."""
_MADE = "A page of the explorer of rnn-zoos, made by `rnn-zoos explore`. Its files:"
_RESULTS = "data/results.js"
_DIGITS = 60  # pictures to choose from


@dataclass(frozen=True)
class Page:
    """A page that has been made, but not written.

    Attributes:
        files: Path inside the page's directory -> content.
        rows: Snapshots that it shows.
        all_rows: Snapshots of the zoo.
        networks: Networks that run where the zoo's files are not served.

    Example:
        >>> from rnn_zoos.loaders import build_page, open_zoo
        >>> build_page(open_zoo("zoos/formal-languages"), networks=0).networks
        0
    """

    files: Mapping[str, bytes]
    rows: int
    all_rows: int
    networks: int

    @property
    def data_bytes(self) -> int:
        """Size of the data of the page, without its code and libraries."""
        return sum(len(content) for path, content in self.files.items() if path.startswith("data/"))

    @property
    def bytes(self) -> int:
        """Size of the page."""
        return sum(map(len, self.files.values()))

    def write(self, out: str | Path) -> None:
        """Write the page into a directory; a page that is there is replaced when the new one is complete.

        Args:
            out: The directory; missing parents are created.

        Raises:
            StorageError: The directory is the current one, has something else in it, or cannot be written. Nothing in
                it was changed.

        Example:
            >>> from rnn_zoos.loaders import build_page, open_zoo
            >>> build_page(open_zoo("zoos/formal-languages")).write("page")
        """
        out = Path(out)
        check_target(out)
        old = out.is_dir() and any(out.iterdir())
        if old and (others := self._other_files(out)):
            raise StorageError(
                f"{out} has files that are not of its page, such as {others[0]}; nothing was changed. Move them away, "
                "or give --out a new directory."
            )
        target = replaceable_path(out)
        complete = target.with_name(f".{target.name}.{os.getpid()}.page")
        with new_directory(complete) as directory:
            for path, content in self.files.items():
                file = directory / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        try:
            shutil.rmtree(target, ignore_errors=not old)
            os.replace(complete, target)
        except OSError as error:
            raise StorageError(
                f"{out} could not be replaced: {error.strerror or error}. The new page is in {complete}."
            ) from error

    def _other_files(self, out: Path) -> list[str]:
        """Return the files of a directory with a page that are neither of that page nor of this one."""
        known = {*self.files, *(out / MARKER).read_text(encoding="utf-8", errors="replace").splitlines()}
        return sorted(own for path in out.rglob("*") if path.is_file() and (own := _name_in(out, path)) not in known)


def check_target(out: Path) -> None:
    """Raise StorageError if a path is neither free, nor an empty directory, nor a page of the explorer."""
    old = out.is_dir() and any(out.iterdir())
    if (old and not (out / MARKER).is_file()) or (out.exists() and not out.is_dir()):
        raise StorageError(
            f"{out} exists and is not a page of the explorer; nothing was changed. Give --out a new directory."
        )


def build_page(
    zoo: Zoo,
    networks: int = NETWORKS,
    features: Sequence[MapFeatures] = (),
    results: Mapping[str, Any] | None = None,
    zoo_is_served: bool = False,
    most_rows: int = MAX_ROWS,
    dataset: str | None = None,
) -> Page:
    """Make the explorer's page of a zoo.

    Args:
        zoo: The zoo.
        networks: Networks whose weights are inside the page; see `choose_networks`.
        features: Maps of the networks, each from numbers for all rows of `zoo.index()`.
        results: Data of the leaderboard page; None leaves that page out.
        zoo_is_served: Whether `ZOO_FOLDER` beside the page has the zoo's files, so that every network runs.
        most_rows: Rows of the index that the page has at most; whole runs are left out of a larger zoo.
        dataset: OWNER/NAME of the zoo on the Hub; the page has a link to it.

    Returns:
        The page.

    Raises:
        UnknownNameError: Two of the features have the same name.
        FormatError: Features are not finite, or the index and the shards disagree.
        IntegrityError: A file of the zoo is missing or damaged.
        MissingExtraError: plotly, whose library draws the pictures, is not installed.
        HubError: A file cannot be downloaded, or `dataset` is not of the form OWNER/NAME.

    Example:
        >>> from rnn_zoos.loaders import build_page, open_zoo
        >>> page = build_page(open_zoo("zoos/formal-languages"), networks=12)
        >>> page.write("page")
    """
    if dataset is not None:
        check_hub_name(dataset)
    names = [map_features.name for map_features in features]
    if len({*names}) < len(names):
        raise UnknownNameError(f"Two of the maps {', '.join(names)} have the same name. Leave one out.")
    index, family = zoo.index(), task_family(zoo.manifest.zoo)
    rows = shown_rows(index, most_rows)
    shown = index.take(pa.array(rows))
    chosen = choose_networks(shown, networks)
    files = {
        "data/zoo.js": _zoo_data(zoo, family, shown, len(index), zoo_is_served, dataset),
        "data/networks.js": _network_data(zoo, shown, chosen),
        "data/maps.js": _map_data(features, rows),
    }
    if family.view.live == "digits":
        files["data/digits.js"] = _digit_data()
    if results is not None:
        files[_RESULTS] = data_script("results", dict(results))
    own = [path for path in files if path != _RESULTS]
    links = {"leaderboard.html": "Leaderboard"} if results is not None else {}
    files["index.html"] = html_page("index.html", "main", own, links)
    if results is not None:
        files["leaderboard.html"] = html_page("leaderboard.html", "leaderboard", [_RESULTS], {})
    files |= page_assets()
    files[MARKER] = "\n".join([_MADE, MARKER, *sorted(files), ""]).encode()
    return Page(files, len(shown), len(index), len(chosen))


def _name_in(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _zoo_data(zoo: Zoo, family: TaskFamily, shown: pa.Table, all_rows: int, served: bool, dataset: str | None) -> bytes:
    """Return the script with what the zoo is and the columns of its index."""
    manifest, arrays = zoo.manifest, Arrays()
    info = zoo_info(zoo)
    columns = pack_columns(shown, columns_of(manifest), arrays)
    head = {
        "name": manifest.zoo,
        "preset": manifest.preset,
        "seed": str(manifest.seed),  # up to 64 bits, more than a number of JavaScript holds
        "about": info["zoo"],
        "splits": info["splits"],
        "labels": [entry["label"] for entry in info["labels"]],
        "architectures": [
            {"name": architecture.name, **asdict(architecture)} for architecture in manifest.architectures
        ],
        "steps": manifest.snapshots,
        "rows": len(shown),
        "all_rows": all_rows,
        "columns": columns,
        "view": asdict(family.view) | {"axes": list(family.view.axes) or [family.main_column]},
        "shards": {split: manifest.paths("shards", split) for split in zoo.splits()},
        "weights": ZOO_FOLDER if served else None,
        "dataset": dataset,
    }
    return data_script("zoo", head, arrays.block())


def _network_data(zoo: Zoo, shown: pa.Table, chosen: Array) -> bytes:
    arrays = Arrays()
    head = pack_networks(zoo, shown, chosen, arrays)
    return data_script("networks", head, arrays.block())


def _map_data(features: Sequence[MapFeatures], rows: Array) -> bytes:
    arrays = Arrays()
    head = {"maps": [pack_map(map_features, rows, arrays) for map_features in features]}
    return data_script("maps", head, arrays.block())


def _digit_data() -> bytes:
    """Return the script with digits that no network was trained on, in turns of their classes."""
    digits, arrays = load_digits("embedded"), Arrays()
    validation = digits.validation.numpy()
    labels = digits.labels.numpy()[validation]
    chosen = validation[np.lexsort((labels, _turn(labels)))[:_DIGITS]]
    images = digits.images.numpy()[chosen, : SIDE**2]
    head = {
        "labels": digits.labels.numpy()[chosen].tolist(),
        "numbers": digits.numbers.numpy()[chosen].tolist(),
        **arrays.add(images),
    }
    return data_script("digits", head, arrays.block())


def _turn(labels: Array) -> Array:
    """Return how many digits of the same class come before each digit."""
    seen: dict[int, int] = {}
    turns = np.empty(len(labels), np.int64)
    for place, label in enumerate(labels.tolist()):
        turns[place] = seen[label] = seen.get(label, -1) + 1
    return turns
