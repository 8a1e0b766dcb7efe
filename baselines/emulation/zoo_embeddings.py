"""The embeddings of all rows of a zoo by a saved encoder, as one file; and which encoders the project has stored."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from rnn_zoos.baselines.emulation.data import merge_stacks, zoo_reference
from rnn_zoos.baselines.emulation.saved_encoder import SavedEncoder
from rnn_zoos.baselines.encoders.encoder import embeddings_of
from rnn_zoos.errors import EncoderError, FormatError, StorageError, UnknownNameError
from rnn_zoos.format.files import Array
from rnn_zoos.format.tensors import read_header, write_tensors
from rnn_zoos.loaders.embeddings import FORMAT
from rnn_zoos.loaders.zoo import Zoo
from rnn_zoos.networks.architecture import Architecture

STORED = Path(__file__).resolve().parents[1] / "results"
"""Folder of the project's stored results by preset, in a checkout; an installed package does not have it."""
STORED_ENCODERS = STORED / "cpu"
"""Folder of the project's stored encoders."""
_SUFFIX = ".safetensors"
_BATCH = 256  # networks that are embedded at once


def find_encoder(name_or_file: str, zoo: str, stored: Path | None = None) -> Path:
    """Return the file of a saved encoder.

    Args:
        name_or_file: A path that exists or ends in .safetensors; or the name of an encoder that is stored for this zoo,
            with its seed (`flat.1`) or without, which stands for the lowest seed.
        zoo: Name of the zoo, `formal-languages` or `sequential-mnist`.
        stored: Folder of the stored encoders; None is `STORED_ENCODERS`.

    Raises:
        UnknownNameError: No such encoder is stored; the message lists those that are.
    """
    if name_or_file.endswith(_SUFFIX) or Path(name_or_file).is_file():
        return Path(name_or_file)
    folder = (stored or STORED_ENCODERS) / zoo
    found = {path.name.removesuffix(_SUFFIX): path for path in sorted(folder.glob(f"*{_SUFFIX}"))}
    pattern = re.compile(rf"{re.escape(name_or_file)}\.(\d+)")
    seeds = sorted((int(match[1]), match[0]) for match in map(pattern.fullmatch, found) if match)
    if name_or_file in found:
        return found[name_or_file]
    if seeds:
        return found[seeds[0][1]]
    known = UnknownNameError.among("stored encoder", name_or_file, found)
    raise UnknownNameError(
        f"{known} Train it with: rnn-zoos benchmark --zoo DIR --encoder {name_or_file} --out OUT. Then give the file "
        f"OUT/{zoo}/{name_or_file.replace(':', '.')}.0{_SUFFIX} instead of the name."
    )


def embed_zoo(zoo: Zoo, saved: SavedEncoder, progress: Callable[[float], None] = lambda fraction: None) -> Array:
    """Return the embeddings of all rows of a zoo, float32 [R, Z], in the order of `zoo.index()`.

    Biases are merged first if the encoder was trained on merged biases. Raises EncoderError if the encoder was trained
    on networks of another architecture.

    Args:
        zoo: The zoo. It need not be the one that the encoder was trained on.
        saved: The encoder.
        progress: Called with the fraction of rows that is done.
    """
    about = saved.description
    for architecture in zoo.manifest.architectures:
        if not _can_embed(saved, architecture):
            raise EncoderError(
                f"The encoder {about.encoder} embeds networks of {about.architecture}, but those of this zoo have "
                f"{architecture}. Use an encoder that was trained on networks of this architecture."
            )
    index = zoo.index()
    batches = [np.empty((0, about.embedding_size), np.float32)]
    for first in range(0, len(index), _BATCH):
        stack = merge_stacks(zoo.stacks(index.slice(first, _BATCH)), about.biases)
        with torch.no_grad():
            batches.append(embeddings_of(saved.encoder, stack.weights, stack).numpy())
        progress(min(1.0, (first + _BATCH) / len(index)))
    return np.concatenate(batches)


def _can_embed(saved: SavedEncoder, architecture: Architecture) -> bool:
    known = saved.description.architecture
    ends = (architecture.input_size, architecture.output_size) == (known.input_size, known.output_size)
    return architecture == known or (saved.encoder.mixed and ends)


def check_replaceable(path: Path) -> None:
    """Raise StorageError if a file exists that is not one of embeddings, which `write_embeddings` would replace."""
    if not path.exists():
        return
    try:
        about = json.loads(read_header(path)[0]["__metadata__"]["rnn_zoos"])
        own = "encoder_sha256" in about
    except (FormatError, KeyError, TypeError, ValueError):
        own = False
    if not own:
        raise StorageError(
            f"{path} exists and is not a file of embeddings, so it is not replaced. Give --out the name of a new file."
        )


def write_embeddings(path: Path, zoo: Zoo, saved: SavedEncoder, embeddings: Array) -> None:
    """Write embeddings [R, Z] of the rows of `zoo.index()` as a safetensors file, atomically. Raises StorageError.

    The file has `embeddings` float16 [R, Z], and `run` and `step` int32 [R], which identify the rows. The JSON text
    `rnn_zoos` in its header has `format`, `zoo` (name, preset and hash of the embedded zoo), `encoder` (its
    description, see `EncoderDescription`) and `encoder_sha256` (of the encoder's file).
    """
    index = zoo.index()
    rows = {name: index[name].to_numpy().astype(np.int32) for name in ("run", "step")}
    about = {
        "format": FORMAT,
        "zoo": zoo_reference(zoo),
        "encoder": asdict(saved.description),
        "encoder_sha256": saved.sha256,
    }
    write_tensors(path, {"embeddings": embeddings.astype(np.float16), **rows}, about)
