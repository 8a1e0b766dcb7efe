"""Zoos whose author means harm: every manifest gives a ZooError or the same data, whatever its hash says.

A changed byte breaks the hash of the manifest. An author can compute it again, so the mutations here have right hashes.
"""

import copy
import random
import shutil
import time

import numpy as np
import pytest
from conftest import ZOOS
from damage import edit_manifest

from rnn_zoos.errors import FormatError, IntegrityError, ZooError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.loaders.source import map_file
from rnn_zoos.loaders.views.info import zoo_info
from rnn_zoos.loaders.zoo import open_zoo

NUMBERS = [0, -1, 1, 3, 2**31, 2**63, 10**12, 10**30, -(10**30), 0.5, float("nan"), float("inf")]
TEXTS = ["", "x", "../x", "\ud800", "\0", "\x1b[2J", "a" * 10_000, "1", "F64", "F32", "int32", "gru"]
VALUES = [None, True, False, *NUMBERS, *TEXTS, [], {}, [[]], [1, 2], [10**12] * 5, [1] * 100, {"a": 1}]


def nodes(data, path=()):
    """Yield the path of every value inside JSON data."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield (*path, key)
        yield from nodes(value, (*path, key))


def at(data, path):
    for key in path:
        data = data[key]
    return data


def mutate(data, chance):
    """Replace, remove, rename, repeat or move one random value of JSON data; return its path."""
    paths = list(nodes(data))
    path = chance.choice(paths)
    parent, key, kind = at(data, path[:-1]), path[-1], chance.randrange(6)
    if kind < 3:
        parent[key] = chance.choice(VALUES)
    elif kind == 3:
        del parent[key]
    elif kind == 4:
        parent[key] = copy.deepcopy(at(data, chance.choice(paths)))
    elif isinstance(parent, dict):
        parent[chance.choice(["x", "", "../y", "loss", "run"])] = parent.pop(key)
    else:
        parent.append(copy.deepcopy(parent[key]))
    return path


def everything(directory):
    """Return all labels and all bytes of all tensors of a zoo."""
    map_file.cache_clear()
    zoo = open_zoo(directory)
    rows = zoo.index().to_pydict()
    tensors = [array.tobytes() for kind in ("shards", "rollouts") for array in zoo.take(kind, rows).values()]
    return rows, tensors


@pytest.mark.parametrize("name", ZOOS)
def test_a_mutated_manifest_with_a_right_hash_gives_an_error_or_the_same_data(name, zoo, tmp_path):
    out = shutil.copytree(zoo(name), tmp_path / "zoo")
    whole, expected = (out / "zoo.json").read_bytes(), everything(out)
    chance, refused, accepted = random.Random(3), 0, 0
    for _ in range(150):
        (out / "zoo.json").write_bytes(whole)
        mutated = []
        edit_manifest(out / "zoo.json", lambda data, done=mutated: done.append(mutate(data, chance)))
        for read in (everything, check_zoo, lambda directory: zoo_info(open_zoo(directory))):
            try:
                found = read(out)
            except ZooError:
                refused += 1
                continue
            accepted += 1
            assert read is not everything or found == expected, mutated
    assert refused > accepted > 20


@pytest.mark.parametrize("name", ZOOS)
def test_a_changed_byte_of_the_manifest_is_an_error(name, zoo, tmp_path):
    whole, chance = (zoo(name) / "zoo.json").read_bytes(), np.random.default_rng(2)
    for place, change in zip(chance.integers(len(whole), size=500), chance.integers(1, 256, size=500), strict=True):
        changed = bytes([whole[place] ^ int(change)])
        (tmp_path / "zoo.json").write_bytes(whole[:place] + changed + whole[place + 1 :])
        with pytest.raises(ZooError):
            read_manifest(tmp_path)


def enlarge(data, hidden_size):
    """Give a manifest another hidden size, with the matching list of parameters."""
    old = data["architecture"]["hidden_size"]
    data["architecture"]["hidden_size"] = hidden_size
    for parameter in data["parameters"]:
        sizes = {old: hidden_size, 4 * old: 4 * hidden_size}
        parameter["shape"] = [sizes.get(length, length) for length in parameter["shape"]]


HUGE = {
    "hidden units": (lambda data: enlarge(data, 10**9), "would have the shape"),
    "more hidden units than fit into memory": (lambda data: enlarge(data, 10**5), "linear|lstm"),
    "a rollout that overflows": (lambda data: data["rollouts"].update(log_probs=["F16", [10**12] * 3]), "would have"),
    "a rollout of no rows": (
        lambda data: data["rollouts"].update(log_probs=["F16", [0, 10**12, 10**12]]),
        "would have",
    ),
    "a large rollout": (lambda data: data["rollouts"].update(log_probs=["F16", [10**11]]), "has log_probs as"),
    "axes": (lambda data: data["rollouts"].update(log_probs=["F16", [1] * 65]), "would have the shape"),
    "a number of steps": (lambda data: data["settings"]["snapshots"].append(2**31), "snapshots must be below"),
    "a number of runs": (lambda data: data.update(runs=10**30), "must be non-negative integers"),
    "bytes": (lambda data: data["files"]["index/train.parquet"].update(bytes=10**30), "expected a sha256, bytes"),
    "rows of an index": (lambda data: data["files"]["index/train.parquet"].update(rows=10**15), "the manifest says"),
    "rows of a split": (lambda data: data["splits"]["train"].update(rows=0), "counts 0 rows of train"),
    "a name with an escape sequence": (
        lambda data: data["files"].update({"data/\x1b[2J": data["files"]["index/train.parquet"]}),
        "has characters that no file",
    ),
}


@pytest.mark.parametrize("kind", HUGE)
def test_absurd_sizes_are_a_format_error_before_anything_is_allocated(kind, zoo, tmp_path):
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    edit, message = HUGE[kind]
    edit_manifest(out / "zoo.json", edit)
    with pytest.raises(FormatError, match=message):
        everything(out)


def test_a_shard_that_is_truncated_while_it_is_mapped_is_an_error_and_a_finding(zoo, tmp_path):
    """Reading the lost pages would kill the process with SIGBUS."""
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    opened = open_zoo(out)
    rows = opened.index("train").to_pydict()
    expected = opened.take("weights", rows)
    path = out / opened.manifest.paths("shards", "train")[0]
    whole = path.read_bytes()
    with open(path, "r+b") as file:
        file.truncate(100)
    time.sleep(0.05)  # sizes are looked up every 10 ms
    with pytest.raises(IntegrityError, match=r"truncated|has 100 bytes; expected"):
        opened.take("weights", rows)
    assert any(f"{path.name} has 100 bytes; expected {len(whole):,}" in finding for finding in check_zoo(out))
    path.write_bytes(whole)
    restored = opened.take("weights", rows)
    assert all(np.array_equal(restored[name], array) for name, array in expected.items())
