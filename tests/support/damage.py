"""Ways to damage a zoo under right hashes: nothing but the content is wrong."""

import hashlib
import json

import pyarrow as pa

from rnn_zoos.format.files import json_bytes
from rnn_zoos.format.index import read_index, write_index
from rnn_zoos.format.manifest import seal


def change(manifest_path, edit):
    """Change the manifest and seal it again."""
    data = json.loads(manifest_path.read_text())
    del data["sha256"]
    edit(data)
    manifest_path.write_bytes(json_bytes({**data, "sha256": seal(data)}))


def rewrite_index(out, split, edit):
    """Edit the rows of an index."""
    path = out / "index" / f"{split}.parquet"
    table = read_index(path)
    rows = table.to_pylist()
    edit(rows)
    replace_index(out, split, pa.Table.from_pylist(rows, schema=table.schema))


def replace_index(out, split, table):
    """Write another index, and name it in the manifest."""
    entry = write_index(out / "index" / f"{split}.parquet", [table], table.schema)
    change(out / "zoo.json", lambda data: data["files"].update({f"index/{split}.parquet": vars(entry)}))


def replace_bytes(out, file, content):
    """Write other bytes, and their hash into the manifest; the number of rows stays."""
    (out / file).write_bytes(content)
    promise = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    change(out / "zoo.json", lambda data: data["files"][file].update(promise))
