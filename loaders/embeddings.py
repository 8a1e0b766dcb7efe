"""Embeddings that `rnn-zoos embed` wrote, as a column of index rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from rnn_zoos.errors import FormatError, shortened
from rnn_zoos.format.files import Array
from rnn_zoos.format.manifest import zoo_title
from rnn_zoos.format.tensors import map_tensors, read_header, tensor_differences

FORMAT = 1
"""Version of the format of the file, the entry `format` of the JSON in its header."""
COLUMN = "embedding"
"""Name of the column: float32 [Z]."""
_SHOWN = 5  # missing rows that a message lists
_EXPECTED = "Expected a file that `rnn-zoos embed` wrote."


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of a file: `values` float16 [N, Z], of the snapshots with `places` (run, step) -> n.

    `encoder` and `seed` say by what.
    """

    path: Path
    encoder: str
    seed: int
    values: Array
    places: Mapping[tuple[int, int], int]

    @property
    def size(self) -> int:
        """Z, the length of an embedding."""
        return int(self.values.shape[1])

    def column(self, rows: pa.Table) -> pa.FixedSizeListArray:
        """Return the embeddings of index rows [R], float32 lists of length Z. Raises FormatError if any is missing."""
        wanted = list(zip(rows["run"].to_pylist(), rows["step"].to_pylist(), strict=True))
        missing = [f"run {run} step {step}" for run, step in wanted if (run, step) not in self.places]
        if missing:
            shown = shortened(missing, _SHOWN)
            raise FormatError(
                f"{self.path} lacks the embeddings of {len(missing)} of {len(wanted)} rows: {shown}. Make it again "
                "with: rnn-zoos embed."
            )
        found = self.values[[self.places[key] for key in wanted]].astype(np.float32)
        return pa.FixedSizeListArray.from_arrays(pa.array(found.ravel()), self.size)


def read_embeddings(path: Path, zoo_identity: str) -> Embeddings:
    """Read a file of embeddings of the zoo with this hash.

    Raises FormatError if it is not a file of embeddings, or is of another zoo.
    """
    stored, encoder, seed = _read(path, zoo_identity)
    keys = zip(stored["run"].tolist(), stored["step"].tolist(), strict=True)
    return Embeddings(path, encoder, seed, stored["embeddings"], {key: place for place, key in enumerate(keys)})


def _read(path: Path, zoo_identity: str) -> tuple[dict[str, Array], str, int]:
    """Return `embeddings` [N, Z], `run` and `step` [N], and name and seed of the encoder. Raises FormatError."""
    header, _ = read_header(path)
    try:
        about = json.loads(header["__metadata__"]["rnn_zoos"])
        version, zoo = about["format"], about["zoo"]
        made_for = zoo_title(zoo)
        rows, size = header["embeddings"]["shape"]
        by = about.get("encoder", {})  # which nothing but maps needs
        encoder, seed = str(by.get("encoder", "an encoder")), int(by.get("seed", 0))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path} has no embeddings ({error!r}). {_EXPECTED}") from error
    if version != FORMAT:
        raise FormatError(f"{path} has embeddings of format {version}; expected {FORMAT}. Update rnn-zoos.")
    if zoo["sha256"] != zoo_identity:
        raise FormatError(
            f"{path} has embeddings of another zoo, {made_for}; this one has the hash {zoo_identity[:12]}. Make "
            "embeddings of this zoo with: rnn-zoos embed."
        )
    stored = map_tensors(path)
    expected = {"embeddings": ("F16", (size,)), "run": ("I32", ()), "step": ("I32", ())}
    for difference in tensor_differences(stored, expected, rows):
        raise FormatError(f"{path} {difference}. {_EXPECTED}")
    return stored, encoder, seed
