"""Places: references to tensors, as table values (zoo, file, row) from which a row's tensors are read later.

A place names a zoo by its address and the hash of its manifest, a shard that the manifest lists, and a row of it. So a
dataset with places can only make readers open verified files of that very zoo.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import safetensors
import safetensors.numpy

from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import Array
from rnn_zoos.format.manifest import index_path
from rnn_zoos.loaders.hub import HubRevision
from rnn_zoos.loaders.mapping import REMEDY
from rnn_zoos.loaders.rollouts import decode_pixels, replace_numbers, row_angles
from rnn_zoos.loaders.source import Directory, Source
from rnn_zoos.loaders.zoo import Zoo

STORAGE = pa.struct([("bytes", pa.binary()), ("zoo", pa.string()), ("file", pa.string()), ("row", pa.int32())])
"""How tensors are stored in a table: as the `bytes` of a safetensors file, or, if null, as a place.

`zoo` is ADDRESS#HASH: a directory or hf://datasets/OWNER/NAME@COMMIT, and the zoo's `identity`.
"""

_opened: dict[str, Zoo] = {}  # the zoos of this process, by their name in places


def places_of(zoo: Zoo, kind: str, split: str, rows: pa.Table) -> pa.StructArray:
    """Return the places of index rows [R] of one split, as `STORAGE`; `kind` is shards (weights) or rollouts.

    Raises FormatError if the index names shards that the zoo does not have.
    """
    files, shards = zoo.manifest.paths(kind, split), rows["shard"].combine_chunks()
    if len(rows) and not 0 <= pc.min(shards).as_py() <= pc.max(shards).as_py() < len(files):
        raise FormatError(f"{index_path(split)} names shards that the zoo does not have. {REMEDY}")
    names = pa.array(files, pa.string()).take(shards)
    zoos = pa.array([_name(zoo)]).take(pa.array(np.zeros(len(rows), np.int32)))
    columns = [pa.nulls(len(rows), pa.binary()), zoos, names, rows["row"].combine_chunks()]
    return pa.StructArray.from_arrays(columns, fields=list(STORAGE))


def read_weights(stored: Mapping[str, Any]) -> dict[str, Array]:
    """Read the weights that a value of `STORAGE` stores: name -> float32 [*shape].

    Raises:
        FormatError: if it is neither the bytes of a safetensors file nor a place of an existing zoo.
        IntegrityError: if a file of the zoo is missing or damaged.
        HubError: if a file cannot be downloaded.
    """
    if stored["bytes"] is not None:
        return _load(stored["bytes"])
    zoo, file, row = _place(stored)
    return zoo.read_row("weights", file, row)


def read_rollouts(stored: Mapping[str, Any]) -> dict[str, Array]:
    """Read the rollouts that a value of `STORAGE` stores, as the network read them. Raises the same as `read_weights`.

    How digits were rotated comes from the zoo's own index, not from a column that users may have edited.
    """
    return decode_pixels(read_stored_rollouts(stored))


def read_stored_rollouts(stored: Mapping[str, Any]) -> dict[str, Array]:
    """Read rollouts in the form in which they are stored outside a zoo: digits as rotated pixels, `seen`."""
    if stored["bytes"] is not None:
        return _load(stored["bytes"])
    zoo, file, row = _place(stored)
    split, number = zoo.files.locate("rollouts", file)
    arrays = {name: array[None] for name, array in zoo.read_row("rollouts", file, row).items()}
    known = row_angles(zoo, split)
    if known is not None and (number, row) not in known:
        raise FormatError(f"{index_path(split)} has no row {row} of shard {number}. {REMEDY}")
    angles = None if known is None else [known[number, row]]
    return {name: array[0] for name, array in replace_numbers(zoo, arrays, angles).items()}


def _load(data: bytes) -> dict[str, Array]:
    try:
        return safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise FormatError(f"The bytes of a row are not those of a safetensors file ({error}).") from error


def _place(stored: Mapping[str, Any]) -> tuple[Zoo, str, int]:
    """Return the zoo, file and row of a place."""
    zoo, file, row = stored["zoo"], stored["file"], stored["row"]
    if zoo is None or file is None or row is None:
        raise FormatError(f"A row has neither bytes nor a place in a zoo: {dict(stored)}.")
    return _zoo(zoo), file, row


def _name(zoo: Zoo) -> str:
    """Return the name of a zoo in places, and keep it open for them: it may have a token, which places do not hold.

    A token that is given later replaces an earlier one, or none. A zoo that is opened again without one does not.
    """
    name = f"{zoo.source.address}#{zoo.identity}"
    if name not in _opened or (isinstance(zoo.source, HubRevision) and zoo.source.token is not None):
        _opened[name] = zoo
    return name


def _zoo(name: str) -> Zoo:
    """Return the zoo with this name in places, opened once per process."""
    if name not in _opened:
        address, _, identity = name.rpartition("#")
        zoo = Zoo(_source(address))
        if zoo.identity != identity:
            raise FormatError(
                f"These rows were loaded from {address}, which holds another zoo now: its hash is "
                f"{zoo.identity[:12]}; expected {identity[:12]}. Load them again, or restore that zoo."
            )
        _opened[name] = zoo
    return _opened[name]


def _source(address: str) -> Source:
    """Return the source with this address. Raises FormatError for a malformed address."""
    source = HubRevision.at(address) if address.startswith("hf://") else Directory(Path(address))
    if source.address != address:
        raise FormatError(f"A row names the zoo {address!r}; expected a directory or hf://datasets/OWNER/NAME@COMMIT.")
    return source
