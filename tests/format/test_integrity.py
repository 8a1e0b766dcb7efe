"""Every changed byte, truncated file and malicious zoo is reported, without a crash and without using much memory.

`PYTHONPATH=tests:tests/support python tests/format/test_integrity.py 1000 DIR...` damages copies of finished zoos
1000 times each and prints the counts.
"""

import json
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ZOOS
from damage import edit_manifest, replace_file, replace_index

from rnn_zoos.errors import ZooError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.files import FileEntry
from rnn_zoos.format.index import read_index
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.loaders.dataset import load_dataset
from rnn_zoos.loaders.source import map_file


def read_all(directory: Path) -> int:
    """Read every row of every split with its rollouts, without cached files; return the number of rows."""
    map_file.cache_clear()
    loaded = load_dataset(directory, rollouts=True)
    return sum(len(rows[:]["run"]) for rows in loaded.values())  # which decodes every column


def findings(directory: Path) -> list[str]:
    """Return what `rnn-zoos check` would print."""
    try:
        return check_zoo(directory)
    except ZooError as error:
        return [str(error)]


def damage_and_restore(directory: Path, count: int, seed: int, truncate: bool) -> Counter[str]:
    """Damage one random file at a time and restore it; return kind of file -> how often it was damaged.

    One byte is changed, or the file is truncated. Each time `check_zoo` has to name the file, and reading has to fail.
    """
    kinds: dict[str, list[str]] = {}
    for file in ["zoo.json", *read_manifest(directory).files]:
        kinds.setdefault(Path(file).parts[0], []).append(file)
    random, counts = np.random.default_rng(seed), Counter()
    for number in range(count):
        kind = list(kinds)[number % len(kinds)]
        file = str(random.choice(kinds[kind]))
        original = (directory / file).read_bytes()
        position = int(random.integers(len(original)))
        changed = bytes([original[position] ^ int(random.integers(1, 256))])
        rest = b"" if truncate else changed + original[position + 1 :]
        (directory / file).write_bytes(original[:position] + rest)
        found = findings(directory)
        assert any(file in finding for finding in found), (file, position, found)
        with pytest.raises((ZooError, LookupError)):
            read_all(directory)
        (directory / file).write_bytes(original)
        counts[kind] += 1
    assert check_zoo(directory) == [] and read_all(directory) > 0, "the restored zoo is intact"
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOOS)
@pytest.mark.parametrize("truncate", [False, True])
def test_every_changed_byte_and_every_truncation_is_found(name, truncate, zoo, tmp_path):
    out = shutil.copytree(zoo(name), tmp_path / "zoo")
    assert sum(damage_and_restore(out, 40, seed=1, truncate=truncate).values()) == 40


def split_header(content: bytes) -> tuple[dict, bytes]:
    """Return the header of a safetensors file, parsed, and the bytes after it."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def edit_header(edit):
    """Return a function that edits the header of a shard's content."""

    def write(content: bytes) -> bytes:
        tensors, data = split_header(content)
        edit(tensors)
        text = json.dumps(tensors).encode()
        return len(text).to_bytes(8, "little") + text + data

    return write


def set_offsets(tensors: dict, begin: int, end: int) -> None:
    tensors["linear.bias"]["data_offsets"] = [begin, end]


MALICIOUS_SHARDS = {
    "a header of 2^60 bytes": lambda content: (2**60).to_bytes(8, "little") + content[8:],
    "a header longer than the file": lambda content: len(content).to_bytes(8, "little") + content[8:],
    "no header": lambda content: b"",
    "a header that is not JSON": lambda content: content[:8] + b"[" * (len(content) - 8),
    "a tensor that overlaps another": edit_header(lambda tensors: set_offsets(tensors, 72, 216)),
    "a tensor beyond the end of the file": edit_header(lambda tensors: set_offsets(tensors, 2**40, 2**40 + 144)),
    "offsets in reverse order": edit_header(lambda tensors: set_offsets(tensors, 144, 0)),
    "an absurd shape": edit_header(lambda tensors: tensors["linear.bias"].update(shape=[2**40, 2**40])),
    "a shape whose size overflows to the right one": edit_header(
        lambda tensors: tensors["linear.bias"].update(shape=[2**62, 4, 6])
    ),
    "a negative shape": edit_header(lambda tensors: tensors["linear.bias"].update(shape=[-6, -6])),
    "another tensor name": edit_header(lambda tensors: tensors.update({"../x": tensors.pop("linear.bias")})),
    "another dtype": edit_header(lambda tensors: tensors["linear.bias"].update(dtype="I32")),
    "a pickle": lambda content: b"\x80\x04cos\nsystem\n(S'true'\ntR." + content[26:],
}


@pytest.mark.parametrize("kind", MALICIOUS_SHARDS)
def test_a_malicious_shard_is_rejected_although_its_hash_is_right(kind, zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    file = read_manifest(out).paths("shards", "train")[0]
    replace_file(out, file, MALICIOUS_SHARDS[kind]((out / file).read_bytes()))
    assert_rejected(out, file)


def assert_rejected(out: Path, file: str, named: str | None = None) -> None:
    """`check_zoo` names the file, reading fails and names it (or `named`), and neither uses more than 100 MB."""
    before = private_megabytes()
    assert any(file in finding for finding in findings(out)), findings(out)
    with pytest.raises(ZooError, match=named or Path(file).name):
        read_all(out)
    assert private_megabytes() - before < 100


def private_megabytes() -> float:
    """Return the memory of this process that is not backed by files."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("RssAnon")).split()[1]) / 1e3


@pytest.mark.parametrize(
    ("column", "value"), [("row", -1), ("row", 6), ("shard", -1), ("shard", 2), ("row", 2**31 - 1)]
)
def test_an_index_that_refers_to_a_missing_row_or_shard_is_rejected(column, value, zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    table = read_index(out / "index" / "train.parquet")
    values = [*table[column].to_pylist()[:-1], value]
    replace_index(
        out,
        "train",
        table.set_column(
            table.schema.get_field_index(column), table.schema.field(column), pa.array(values, pa.int32())
        ),
    )
    assert_rejected(out, "index/train.parquet", named=r"train(\.parquet|-0000\d-of-00002\.safetensors has no row)")


def test_an_index_that_lacks_columns_or_expands_to_gigabytes_is_rejected(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    table = read_index(out / "index" / "train.parquet")
    replace_index(out, "train", table.drop_columns(["loss"]))
    with pytest.raises(ZooError, match=r"train\.parquet has the columns .*expected"):
        read_all(out)
    zeros = pa.chunked_array([pa.array(np.zeros(20_000_000, np.int32))])
    bomb = pa.table({"run": zeros, **{name: zeros for name in "abc"}})
    pq.write_table(bomb, tmp_path / "bomb.parquet", compression="zstd")
    del bomb, zeros
    content = (tmp_path / "bomb.parquet").read_bytes()
    assert len(content) < 1_000_000
    replace_file(out, "index/train.parquet", content)
    with pytest.raises(ZooError, match="would expand to"):
        read_all(out)
    assert any("would expand to" in finding for finding in findings(out))


def test_a_manifest_that_lists_more_rows_than_a_shard_has_is_rejected(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    file = read_manifest(out).paths("shards", "train")[0]
    edit_manifest(out / "zoo.json", lambda data: data["files"][file].update(rows=10**15))
    assert_rejected(out, file)
    entry = read_manifest(out).files[file]
    assert isinstance(entry, FileEntry) and entry.rows == 10**15


if __name__ == "__main__":
    for zoo_directory in sys.argv[2:]:
        for truncate in (False, True):
            with tempfile.TemporaryDirectory() as scratch:
                copy = Path(shutil.copytree(zoo_directory, Path(scratch, "zoo")))
                counts = damage_and_restore(copy, int(sys.argv[1]), seed=0, truncate=truncate)
            print(f"{zoo_directory}: {'truncations' if truncate else 'changed bytes'}, all found: {dict(counts)}")
