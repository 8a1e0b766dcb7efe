"""No changed byte, cut file or hostile zoo is read in silence, crashes, or takes memory.

`python tests/test_integrity.py 1000 DIR...` damages copies of finished zoos that many times and prints the counts.
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
from damage import change, replace_bytes, replace_index

from rnn_zoos.errors import ZooError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.files import FileEntry
from rnn_zoos.format.index import read_index
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.loaders.dataset import load_dataset
from rnn_zoos.loaders.zoo import open_mapped


def read_all(directory: Path) -> int:
    """Read every row of every split with its rollouts, as a new process would; return their number."""
    open_mapped.cache_clear()
    loaded = load_dataset(directory, rollouts=True)
    return sum(len(rows[:]["run"]) for rows in loaded.values())


def findings(directory: Path) -> list[str]:
    """What `rnn-zoos check` would print."""
    try:
        return check_zoo(directory)
    except ZooError as error:
        return [str(error)]


def damage(directory: Path, count: int, seed: int, cut: bool) -> Counter[str]:
    """Damage one file after the other, at random, and mend it; return how often which kind of file was damaged.

    A file that is damaged is found by `check`, by its name, and by reading; a change of one byte or a cut each time.
    """
    kinds: dict[str, list[str]] = {}
    for file in ["zoo.json", *read_manifest(directory).files]:
        kinds.setdefault(Path(file).parts[0], []).append(file)
    random, done = np.random.default_rng(seed), Counter()
    for number in range(count):
        kind = list(kinds)[number % len(kinds)]
        file = str(random.choice(kinds[kind]))
        whole = (directory / file).read_bytes()
        place = int(random.integers(len(whole)))
        changed = bytes([whole[place] ^ int(random.integers(1, 256))])
        (directory / file).write_bytes(whole[:place] if cut else whole[:place] + changed + whole[place + 1 :])
        said = findings(directory)
        assert any(file in finding for finding in said), (file, place, said)
        with pytest.raises((ZooError, LookupError)):
            read_all(directory)
        (directory / file).write_bytes(whole)
        done[kind] += 1
    assert check_zoo(directory) == [] and read_all(directory) > 0, "mended"
    return done


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOOS)
@pytest.mark.parametrize("cut", [False, True])
def test_every_changed_byte_and_every_cut_is_found(name, cut, zoo, tmp_path):
    out = shutil.copytree(zoo(name), tmp_path / "zoo")
    assert sum(damage(out, 40, seed=1, cut=cut).values()) == 40


def header(content: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(edit):
    """A shard whose header was edited."""

    def write(content: bytes) -> bytes:
        tensors, data = header(content)
        edit(tensors)
        text = json.dumps(tensors).encode()
        return len(text).to_bytes(8, "little") + text + data

    return write


def first_offsets(tensors: dict, first: int, last: int) -> None:
    tensors["linear.bias"]["data_offsets"] = [first, last]


HOSTILE_SHARDS = {
    "a header of 2^60 bytes": lambda content: (2**60).to_bytes(8, "little") + content[8:],
    "a header longer than the file": lambda content: len(content).to_bytes(8, "little") + content[8:],
    "no header": lambda content: b"",
    "a header that is no JSON": lambda content: content[:8] + b"[" * (len(content) - 8),
    "a tensor on top of another": with_header(lambda tensors: first_offsets(tensors, 72, 216)),
    "a tensor beyond the end": with_header(lambda tensors: first_offsets(tensors, 2**40, 2**40 + 144)),
    "offsets that run backwards": with_header(lambda tensors: first_offsets(tensors, 144, 0)),
    "an absurd shape": with_header(lambda tensors: tensors["linear.bias"].update(shape=[2**40, 2**40])),
    "a shape that overflows to a right size": with_header(
        lambda tensors: tensors["linear.bias"].update(shape=[2**62, 4, 6])
    ),
    "a negative shape": with_header(lambda tensors: tensors["linear.bias"].update(shape=[-6, -6])),
    "another name": with_header(lambda tensors: tensors.update({"../x": tensors.pop("linear.bias")})),
    "another dtype": with_header(lambda tensors: tensors["linear.bias"].update(dtype="I32")),
    "a pickle": lambda content: b"\x80\x04cos\nsystem\n(S'true'\ntR." + content[26:],
}


@pytest.mark.parametrize("hostile", HOSTILE_SHARDS)
def test_a_hostile_shard_is_refused_under_its_right_hash(hostile, zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    file = read_manifest(out).paths("shards", "train")[0]
    replace_bytes(out, file, HOSTILE_SHARDS[hostile]((out / file).read_bytes()))
    refused(out, file)


def refused(out: Path, file: str) -> None:
    """Neither `check` nor reading accepts the zoo, and neither takes memory."""
    before = private_megabytes()
    assert any(file in finding for finding in findings(out)), findings(out)
    with pytest.raises(ZooError, match=Path(file).name):
        read_all(out)
    assert private_megabytes() - before < 100


def private_megabytes() -> float:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("RssAnon")).split()[1]) / 1e3


@pytest.mark.parametrize(
    ("column", "value"), [("row", -1), ("row", 6), ("shard", -1), ("shard", 2), ("row", 2**31 - 1)]
)
def test_places_that_do_not_exist_are_refused(column, value, zoo, tmp_path):
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
    refused(out, "index/train.parquet")


def test_an_index_that_explodes_or_lacks_columns_is_refused(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    table = read_index(out / "index" / "train.parquet")
    replace_index(out, "train", table.drop_columns(["loss"]))
    with pytest.raises(ZooError, match=r"train\.parquet has the columns .*expected"):
        read_all(out)
    million = pa.chunked_array([pa.array(np.zeros(20_000_000, np.int32))])
    bomb = pa.table({"run": million, **{name: million for name in "abc"}})
    pq.write_table(bomb, tmp_path / "bomb.parquet", compression="zstd")
    del bomb, million
    content = (tmp_path / "bomb.parquet").read_bytes()
    assert len(content) < 1_000_000
    replace_bytes(out, "index/train.parquet", content)
    with pytest.raises(ZooError, match="would expand to"):
        read_all(out)
    assert any("would expand to" in finding for finding in findings(out))


def test_a_manifest_may_not_promise_more_than_there_is(zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    file = read_manifest(out).paths("shards", "train")[0]
    change(out / "zoo.json", lambda data: data["files"][file].update(rows=10**15))
    refused(out, file)
    entry = read_manifest(out).files[file]
    assert isinstance(entry, FileEntry) and entry.rows == 10**15


if __name__ == "__main__":
    for zoo_directory in sys.argv[2:]:
        for whether in (False, True):
            with tempfile.TemporaryDirectory() as scratch:
                copy = Path(shutil.copytree(zoo_directory, Path(scratch, "zoo")))
                counts = damage(copy, int(sys.argv[1]), seed=0, cut=whether)
            print(f"{zoo_directory}: {'cuts' if whether else 'changed bytes'}, all found: {dict(counts)}")
