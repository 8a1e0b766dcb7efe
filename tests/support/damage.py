"""Functions that change the contents of a zoo and then correct all hashes, so that only the contents are wrong."""

import hashlib
import json

import numpy as np
import pyarrow as pa

from rnn_zoos.format.files import json_bytes
from rnn_zoos.format.index import read_index, write_index
from rnn_zoos.format.manifest import manifest_hash
from rnn_zoos.format.tensors import map_tensors, write_tensors


def edit_manifest(manifest_path, edit):
    """Apply `edit` to the data of a manifest, and correct the manifest's own hash."""
    data = json.loads(manifest_path.read_text())
    del data["sha256"]
    edit(data)
    manifest_path.write_bytes(json_bytes({**data, "sha256": manifest_hash(data)}))


def edit_index(out, split, edit):
    """Apply `edit` to the rows (dicts) of an index."""
    table = read_index(out / "index" / f"{split}.parquet")
    rows = table.to_pylist()
    edit(rows)
    replace_index(out, split, pa.Table.from_pylist(rows, schema=table.schema))


def keep_rows(out, split, wanted):
    """Remove the rows of an index for which `wanted` is false, from the index only; return how many are left."""
    table = read_index(out / "index" / f"{split}.parquet")
    rows = [row for row in table.to_pylist() if wanted(row)]
    replace_index(out, split, pa.Table.from_pylist(rows, schema=table.schema))
    return len(rows)


def replace_index(out, split, table):
    """Replace an index by another table."""
    entry = write_index(out / "index" / f"{split}.parquet", [table], table.schema)
    _replace_entry(out, f"index/{split}.parquet", entry)


def edit_tensors(out, file, edit):
    """Apply `edit` to the tensors (name -> array) of a safetensors file."""
    tensors = {name: np.array(tensor) for name, tensor in map_tensors(out / file).items()}
    edit(tensors)
    _replace_entry(out, file, write_tensors(out / file, tensors, {}))


def replace_file(out, file, content):
    """Replace the bytes of a file. The number of rows in its manifest entry stays the same."""
    (out / file).write_bytes(content)
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit_manifest(out / "zoo.json", lambda data: data["files"][file].update(entry))


def _replace_entry(out, file, entry):
    edit_manifest(out / "zoo.json", lambda data: data["files"].update({file: vars(entry)}))
