"""Writing a zoo in other layouts: parquet files with a dataset card, or the .npy files of the paper's authors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from rnn_zoos import __version__
from rnn_zoos.errors import FormatError
from rnn_zoos.format.manifest import CARD, PRESET, index_path
from rnn_zoos.generation.publishing.card import make_card, preset_yaml
from rnn_zoos.generation.publishing.export_directory import MARK, ExportDirectory, begin_export
from rnn_zoos.generation.publishing.parquet import data_files
from rnn_zoos.loaders.paper.exporting import export_paper
from rnn_zoos.loaders.views.figures import png_bytes, zoo_figures
from rnn_zoos.loaders.zoo import Zoo, open_zoo


def export_parquet(directory: str | Path, out: str | Path, name: str | None = None) -> list[Path]:
    """Write a zoo in the layout that plain `datasets` reads, without this package.

    `data/` has every row with its weights as flat lists (config `full`), `index/` the labels alone (config `index`);
    the dataset card `README.md` declares both. The metadata of the files in `data/` has the shapes of the parameters,
    as a JSON text under the key `rnn_zoos`. `export.json` lists all other files with their sha256.

    Args:
        directory: Directory of a zoo.
        out: Directory to write to: a new or an empty one, or that of an earlier export, whose files are replaced if
            none was added or edited since.
        name: What the examples of the card load; by default the path `out`.

    Returns:
        The paths of all written files.

    Raises:
        FormatError: `directory` is not a zoo, or has no snapshots.
        IntegrityError: A file of the zoo is damaged.
        StorageError: `out` has other files than an earlier export wrote, in which case nothing is changed; or it cannot
            be written, or the disk is full.

    Example:
        >>> import datasets
        >>> from rnn_zoos.generation import export_parquet
        >>> paths = export_parquet("zoos/formal-languages", "exported")
        >>> labels = datasets.load_dataset("exported", "index", split="train")
    """
    zoo, out = open_zoo(Path(directory)), Path(out)
    if not zoo.splits():
        raise FormatError(f"{directory} has no snapshots, so there is nothing to export.")
    exported = write_export(zoo, out, name or str(out))
    for split in zoo.splits():
        path = index_path(split)
        exported.write(path, zoo.source.path(path, zoo.manifest.files[path]).read_bytes())
    exported.finish()
    return [out / path for path in (*exported.files, MARK)]


def write_export(
    zoo: Zoo, out: Path, name: str, published: bool = False, results: str = "", space: str | None = None
) -> ExportDirectory:
    """Write data/, figures, card and preset, but not index/, which a published zoo has itself; the caller finishes it.

    Args:
        zoo: The zoo.
        out: Directory to write to; see `export_parquet`.
        name: What the examples of the card load.
        published: Whether the card is that of a published zoo, which has the zoo's own files, too.
        results: Section of the card with results of the benchmark.
        space: OWNER/NAME of the Space that the card links to.

    Raises IntegrityError if a file of the zoo is damaged, and StorageError.
    """
    about = {"zoo": {"name": zoo.manifest.zoo, "preset": zoo.manifest.preset, "sha256": zoo.identity}}
    directory = begin_export(out, {"layout": "parquet", "made_by": f"rnn-zoos {__version__}", **about})
    for split in zoo.splits():
        for path, data in data_files(zoo, split):
            directory.write(path, data)
    figures = {f"figures/{title}.png": png_bytes(figure) for title, figure in zoo_figures(zoo).items()}
    texts = {CARD: make_card(zoo, name, list(figures), published, results, space)}
    if not zoo.manifest.imported:
        texts[PRESET] = preset_yaml(zoo.manifest)
    for path, content in (figures | {path: text.encode() for path, text in texts.items()}).items():
        directory.write(path, content)
    return directory


def _export_parquet(directory: Path, out: Path) -> str:
    written = export_parquet(directory, out)
    return f"{out}: {len(written)} files, {sum(path.stat().st_size for path in written) / 1e6:,.1f} MB."


EXPORTERS: Mapping[str, Callable[[Path, Path], str]] = MappingProxyType(
    {"parquet": _export_parquet, "paper": export_paper}
)
"""The layouts of `rnn-zoos export --to`: name -> function (zoo, output directory) -> message for the user."""
