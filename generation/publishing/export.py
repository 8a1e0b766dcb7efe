"""Writing a zoo in other layouts: parquet files with a dataset card, or the .npy files of the paper's authors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from rnn_zoos.families.family import SPLITS
from rnn_zoos.format.files import write_atomically
from rnn_zoos.format.index import write_index
from rnn_zoos.format.manifest import CARD, PRESET, index_path
from rnn_zoos.generation.publishing.card import make_card, preset_yaml
from rnn_zoos.generation.publishing.parquet import DATA, write_data
from rnn_zoos.loaders.paper.exporting import export_paper
from rnn_zoos.loaders.views.figures import draw_zoo
from rnn_zoos.loaders.zoo import open_zoo


def export_parquet(directory: Path, out: Path, name: str | None = None) -> list[Path]:
    """Write a zoo in the layout that plain `datasets` reads, without this package.

    `data/` has every row with its weights as flat lists (config `full`), `index/` the labels alone (config `index`);
    the dataset card `README.md` declares both.

    Args:
        directory: Directory of a zoo.
        out: Directory to write to. Parquet files of an earlier export of this zoo are replaced.
        name: Name of the zoo in the examples of the card; by default the path `out`.

    Returns:
        The paths of all written files.

    Raises:
        FormatError: `directory` is not a zoo.
        IntegrityError: A file of the zoo is damaged.
        StorageError: `out` cannot be written, or the disk is full.

    Example:
        >>> from pathlib import Path
        >>> import datasets
        >>> from rnn_zoos.generation import export_parquet
        >>> paths = export_parquet(Path("zoos/formal-languages"), Path("exported"))
        >>> labels = datasets.load_dataset("exported", "index", split="train")
    """
    zoo = open_zoo(directory)
    for split in SPLITS:
        for stale in (out / DATA).glob(f"{split}-*-of-*.parquet"):
            stale.unlink()  # an export of another size has other file names: readers would read both
    written = []
    for split in zoo.splits():
        written += [out / path for path, _ in write_data(zoo, split, out)]
        index = zoo.index(split)
        write_index(out / index_path(split), [index], index.schema)
        written.append(out / index_path(split))
    figures = draw_zoo(directory, out / "figures")
    card = make_card(zoo, name or str(out), [path.relative_to(out).as_posix() for path in figures])
    texts = {CARD: card} if zoo.manifest.imported else {CARD: card, PRESET: preset_yaml(zoo.manifest)}
    for path, text in texts.items():
        write_atomically(out / path, text.encode())
    return [*written, *figures, *(out / path for path in texts)]


def _export_parquet(directory: Path, out: Path) -> str:
    written = export_parquet(directory, out)
    return f"{out}: {len(written)} files, {sum(path.stat().st_size for path in written) / 1e6:,.1f} MB."


EXPORTERS: Mapping[str, Callable[[Path, Path], str]] = MappingProxyType(
    {"parquet": _export_parquet, "paper": export_paper}
)
"""The layouts of `rnn-zoos export --to`: name -> function (zoo, output directory) -> message for the user."""
