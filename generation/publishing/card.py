"""The dataset card, README.md of a published zoo: YAML metadata for the Hub, the zoo's numbers, DATASET_CARD.md."""

from __future__ import annotations

import json
import re
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCardData

from rnn_zoos.errors import StorageError
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.manifest import FORMAT, PRESET, Manifest
from rnn_zoos.generation.plan import digits_source
from rnn_zoos.generation.presets import NAME
from rnn_zoos.generation.publishing.parquet import data_path, file_rows
from rnn_zoos.loaders.hub import HUB_NAME
from rnn_zoos.loaders.views.info import zoo_info
from rnn_zoos.loaders.zoo import Zoo

_TEMPLATE = "DATASET_CARD.md"
_PLACE = "<!-- `rnn-zoos publish` puts the numbers of the zoo here -->"
_SPACE_PLACE = "<!-- `rnn-zoos publish --space` puts the link to the explorer here -->\n\n"
_SPACE_LINK = "**[Explore this zoo in the browser]({}): pictures, maps, and networks that run live.**"
_SPACE_URL = "https://huggingface.co/spaces/"
_STEPS = "Labels per step: means of fractions such as accuracies, medians of the others."
TAGS = ["weight-space-learning", "model-zoo", "recurrent-neural-networks", "rnn", "lstm"]
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def make_card(
    zoo: Zoo, name: str, figures: Sequence[str], published: bool, results: str = "", space: str | None = None
) -> str:
    """Return the card of a published zoo, or of an export, which has no manifest, shards and rollouts.

    `name` (OWNER/NAME or a directory) is what its examples load; `figures` are paths relative to the card; `results` is
    the section with the results of the benchmark; `space` is OWNER/NAME of a Space with the zoo's explorer.
    """
    numbers = _numbers(zoo, name, figures, published)
    text = _template().replace(_PLACE, f"{numbers}\n\n{results}".rstrip())
    text = text.replace(_SPACE_PLACE, f"{_SPACE_LINK.format(_SPACE_URL + space)}\n\n" if space else "")
    absent: tuple[str, ...] = () if published else ("zoo.json ", "shards/", "rollouts/", "digits.safetensors ")
    absent += ("preset.yaml ",) * bool(zoo.manifest.imported) + ("benchmark/",) * (not results)
    text = "\n".join(line for line in text.split("\n") if not line.startswith(absent))  # of the list of files
    if not published:
        text = _ROLLOUTS.sub("", text)
    return f"---\n{_metadata(zoo).to_yaml()}\n---\n\n{text}"


def linked_space(card: str) -> str | None:
    """Return OWNER/NAME of the Space that a card made by `make_card` links to, None if it links to none."""
    before, after = _SPACE_LINK.split("{}")
    found = re.search(f"^{re.escape(before + _SPACE_URL)}({HUB_NAME.pattern}){re.escape(after)}$", card, re.M | re.A)
    return found[1] if found else None


def preset_yaml(manifest: Manifest) -> str:
    """Return a preset file with every setting of a zoo: it regenerates the zoo even if the package's presets change."""
    settings: dict[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in manifest.settings.items()
    }
    settings["learning_rate"] = {int(update): rate for update, rate in settings["learning_rate"].items()}
    return yaml.safe_dump({NAME: manifest.preset, manifest.zoo: settings}, sort_keys=False)


def _template() -> str:
    """Read DATASET_CARD.md from the checkout, or from where the wheel installed it."""
    installed = Path(sysconfig.get_path("data")) / "share" / "rnn-zoos"
    places = [folder / _TEMPLATE for folder in (Path(__file__).parents[2], installed)]
    for place in places:
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise StorageError(f"The template {_TEMPLATE} is in none of {', '.join(map(str, places))}. Install rnn-zoos again.")


def _metadata(zoo: Zoo) -> DatasetCardData:
    """Return the YAML metadata, from which plain `datasets` learns configs, splits and files.

    Without numbers of rows: `datasets` would compare them after `filters=` too, and raise an error. With a version that
    follows from the content: `datasets` would otherwise give the cached rows of another directory of the same name.
    """
    version = f"{FORMAT}.0.{int(zoo.identity[:15], 16)}"
    paths = {"full": "data/{}-*.parquet", "index": "index/{}.parquet"}
    rows = sum(zoo.manifest.splits[split]["rows"] for split in zoo.splits())
    return DatasetCardData(
        pretty_name=f"rnn-zoos: {zoo.manifest.zoo}",
        license=licenses(zoo.manifest),
        tags=list(
            dict.fromkeys(
                [*TAGS, *(architecture.cell for architecture in zoo.manifest.architectures), zoo.manifest.zoo]
            )
        ),
        size_categories=[next((name for limit, name in _SIZES if rows < limit), "1M<n<10M")],
        configs=[
            {
                "config_name": config,
                "default": config == "full",
                "version": version,
                "data_files": [{"split": split, "path": path.format(split)} for split in zoo.splits()],
            }
            for config, path in paths.items()
        ],
    )


def licenses(manifest: Manifest) -> list[str]:
    """Return the licences by the Hub's names: CC BY for generated zoos, and MNIST's own where digits are included."""
    ours = ["unknown" if manifest.imported else "cc-by-4.0"]
    return [*ours, *task_family(manifest.zoo).data_licenses]


def _numbers(zoo: Zoo, name: str, figures: Sequence[str], published: bool) -> str:
    """Return the section about this zoo: how to load it, its numbers and figures, how to regenerate it."""
    info = zoo_info(zoo)
    example = _published_example(name) if published else _export_example(zoo, name)
    facts = [{"": key, "this zoo": value} for key, value in info["zoo"].items()]
    files = {split: len(file_rows(zoo, split)) for split in zoo.splits()}
    splits = [{**row, "parquet files": files.get(row["split"], 0)} for row in info["splits"]]
    pictures = "\n".join(f"![{Path(path).stem}]({path})" for path in figures)
    made = zoo.manifest.made["seconds"]
    command = regenerate_command(zoo.manifest)
    origin = _IMPORTED if zoo.manifest.imported else _GENERATED.format(command=command, seconds=made)
    origin += "\n\n" + (_MANIFEST if published else _EXPORT)
    tables = [_table(rows) for rows in (facts, splits, info["steps"], info["architectures"]) if rows]
    tables.insert(2, _STEPS)
    return "\n\n".join([f"## {zoo.manifest.zoo}: {name}", example, *tables, pictures, origin])


def regenerate_command(manifest: Manifest) -> str:
    """Return the command that regenerates a zoo from the `preset.yaml` beside its card."""
    digits = manifest.digits
    source = "" if digits is None else f" --mnist {digits_source(digits)}"
    backend = f" --backend {manifest.made['backend']}"
    return f"rnn-zoos generate {manifest.zoo} --preset {PRESET}{backend}{source} --out {manifest.zoo}"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [[*rows[0]], ["---"] * len(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")


def _published_example(name: str) -> str:
    return f"""\
```python
import datasets, rnn_zoos

plain = datasets.load_dataset({json.dumps(name)}, split="train")  # weights as flat lists; needs no rnn_zoos
labels = datasets.load_dataset({json.dumps(name)}, "index", split="train")  # no weights
zoo = rnn_zoos.load_dataset({json.dumps(name)}, split="train")  # weights as named tensors, from memory-mapped shards
network = rnn_zoos.load_model({json.dumps(name)}, run=zoo[-1]["run"], step=zoo[-1]["step"])
```"""


def _export_example(zoo: Zoo, name: str) -> str:
    split = zoo.splits()[0]
    path = f"{name}/{data_path(split, 0, len(file_rows(zoo, split)))}"
    mixed = zoo.manifest.shard_architectures is not None
    arrays, weights = ("import numpy as np\n", _FLAT_WEIGHTS) if mixed else ("", _NAMED_WEIGHTS)
    return f"""\
```python
import json
import datasets
{arrays}import pandas as pd
import pyarrow.parquet as pq

rows = datasets.load_dataset({json.dumps(name)}, split="{split}")  # labels and weights, as flat lists
labels = datasets.load_dataset({json.dumps(name)}, "index", split="{split}")  # no weights

frame = pd.read_parquet({json.dumps(path)})
about = json.loads(pq.read_schema({json.dumps(path)}).metadata[b"rnn_zoos"])
{weights}
```"""


_NAMED_WEIGHTS = """\
weights = {p["name"]: frame[p["name"]][0].reshape(p["shape"]) for p in about["parameters"]}  # of the first row"""

_FLAT_WEIGHTS = """\
parameters = about["architectures"][frame["architecture"][0]]["parameters"]  # of the first row
ends = np.cumsum([np.prod(p["shape"]) for p in parameters])
pieces = np.split(frame["weights"][0], ends[:-1])
weights = {p["name"]: piece.reshape(p["shape"]) for p, piece in zip(parameters, pieces)}"""


_ROLLOUTS = re.compile(r"^### Rollouts\n.*?(?=^### )", re.MULTILINE | re.DOTALL)

_IMPORTED = "Converted by `rnn-zoos import` from .npy files of the paper's code."

_GENERATED = """\
Made by this command, with the [preset.yaml](preset.yaml) beside this card, in {seconds:,.0f} core seconds:

```sh
{command}
```"""

_MANIFEST = "`zoo.json` has the versions, the sha256 of every file and, if imported, what was read and repaired."

_EXPORT = (
    "This directory is an export for readers without rnn-zoos: labels and weights as Parquet files. `export.json` has "
    "the sha256 of every file. `zoo.json`, shards and rollouts are part of the zoo itself; rnn-zoos loads the zoo, and "
    "not its export."
)
