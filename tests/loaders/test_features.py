"""The features themselves: what they store, what they refuse to read, and that `datasets` knows them."""

import pickle
import shutil
import subprocess
import sys

import datasets
import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from conftest import ZOOS
from damage import edit_manifest

from rnn_zoos import Weights, load_dataset, open_zoo
from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.loaders import Embedding, Rollouts, places
from rnn_zoos.loaders.hub import HubRevision

PLACES = Weights(decode=False)
COMMIT = "0123456789" * 4


@pytest.fixture
def place(zoo):
    """Return the stored weights of a row of a zoo."""
    return load_dataset(zoo("formal-languages"), split="train").cast_column("weights", PLACES)[4]["weights"]


@pytest.fixture
def forgotten(monkeypatch):
    """Forget which zoos this process has opened, as in a new process."""
    monkeypatch.setattr(places, "_opened", {})


def test_the_bytes_of_weights_are_a_safetensors_file(place):
    feature = Weights()
    weights = feature.decode_example(place)
    stored = feature.embed_storage(pa.array([place, None], feature()))
    assert stored[1].as_py() is None and stored[0]["zoo"].as_py() is None
    plain = safetensors.torch.load(stored[0]["bytes"].as_py())
    assert plain.keys() == weights.keys() and all(torch.equal(plain[name], weights[name]) for name in weights)
    again = feature.decode_example(stored[0].as_py())
    assert list(again) == list(weights) and all(torch.equal(again[name], weights[name]) for name in weights)
    assert feature.encode_example(weights) == stored[0].as_py() == feature.encode_example(stored[0]["bytes"].as_py())
    assert feature.decode_example(weights).keys() == weights.keys(), "decoded weights stay as they are"


@pytest.mark.parametrize("name", ZOOS)
def test_the_bytes_of_rollouts_need_no_zoo(name, zoo, forgotten):
    rows = load_dataset(zoo(name), split="train", rollouts=True)
    feature, expected = rows.features["rollouts"], rows[1]["rollouts"]
    stored = rows.cast_column("rollouts", Rollouts(decode=False))[1]["rollouts"]
    embedded = feature.embed_storage(pa.array([stored], feature()))[0].as_py()
    places._opened.clear()
    for value in (embedded, feature.encode_example(feature.decode_example(embedded))):
        found = feature.decode_example(value)
        assert list(found) == list(expected) and value["zoo"] is None
        for key, tensor in expected.items():
            assert torch.equal(found[key], tensor) and found[key].dtype == tensor.dtype


def test_a_place_is_read_in_a_new_process_only_if_its_zoo_is_still_the_same(zoo, place, tmp_path, forgotten):
    assert Weights().decode_example(place)["linear.bias"].shape == (6,)
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    moved = place | {"zoo": f"{out}#{place['zoo'].partition('#')[2]}"}
    assert Weights().decode_example(moved)["linear.bias"].shape == (6,)
    places._opened.clear()
    edit_manifest(out / "zoo.json", lambda data: data["files"][place["file"]].update(sha256="0" * 64))
    with pytest.raises(FormatError, match=f"loaded from {out}, which holds another zoo now: .*Load them again"):
        Weights().decode_example(moved)
    shutil.rmtree(out)
    with pytest.raises(FormatError, match="is not a zoo"):
        Weights().decode_example(moved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../../secret.safetensors"}, "has no file"),
        ({"file": "zoo.json"}, "has no file"),
        ({"file": "index/train.parquet"}, "has no file"),
        ({"file": "rollouts/train-00000-of-00002.safetensors"}, "has no file"),
        ({"row": 999}, "has no row 999"),
        ({"row": -1}, "has no row -1"),
        ({"row": None}, "neither bytes nor a place"),
        ({"zoo": None}, "neither bytes nor a place"),
        ({"zoo": "relative/path#00"}, "expected a directory or hf://"),
        ({"zoo": "no hash"}, "expected a directory or hf://"),
        ({"zoo": "hf://datasets/owner/name#00"}, "expected hf://datasets/OWNER/NAME@COMMIT"),
        ({"zoo": f"hf://datasets/owner/../name@{COMMIT}#00"}, "expected hf://datasets/OWNER/NAME@COMMIT"),
        ({"zoo": "/nowhere#00"}, "/nowhere is not a zoo"),
        ({"bytes": b"not tensors"}, "not those of a safetensors file"),
        ({"bytes": safetensors.numpy.save({"a": np.zeros(2)})}, "not the weights of a recurrent network"),
    ],
)
def test_stored_values_that_are_no_place_of_a_zoo_are_refused(change, message, place):
    with pytest.raises(FormatError, match=message):
        Weights().decode_example(place | change)


def test_an_index_that_names_missing_shards_is_refused(zoo):
    opened = open_zoo(zoo("formal-languages"))
    rows = opened.index("train")
    wrong = rows.set_column(rows.column_names.index("shard"), "shard", pa.array([2] * len(rows), pa.int32()))
    with pytest.raises(FormatError, match=r"index/train\.parquet names shards that the zoo does not have"):
        places.places_of(opened, "shards", "train", wrong)


def test_a_token_is_neither_in_places_nor_in_pickles(zoo, monkeypatch):
    opened = open_zoo(zoo("formal-languages"))
    source = HubRevision("owner/name", COMMIT, token="hf_secret")
    monkeypatch.setattr(opened, "source", source)
    table = pa.table({"weights": places.places_of(opened, "shards", "train", opened.index("train"))})
    rows = datasets.Dataset(table, info=datasets.DatasetInfo(features=datasets.Features({"weights": Weights()})))
    stored = rows.cast_column("weights", PLACES)[0]["weights"]
    assert stored["zoo"] == f"hf://datasets/owner/name@{COMMIT}#{opened.identity}"
    assert HubRevision.at(source.address) == HubRevision("owner/name", COMMIT)
    assert b"hf_secret" not in pickle.dumps(rows)


def test_a_token_that_is_given_later_is_used_for_rows_that_are_read_then(zoo, forgotten, monkeypatch):
    used = []
    for token in (None, "hf_bad", "hf_good", None):
        opened = open_zoo(zoo("formal-languages"))
        monkeypatch.setattr(opened, "source", HubRevision("owner/name", COMMIT, token))
        name = places.places_of(opened, "shards", "train", opened.index("train"))[0]["zoo"].as_py()
        used.append(places._zoo(name).source.token)
    assert used == [None, "hf_bad", "hf_good", "hf_good"], "opened again without a token, it is still readable"


def test_features_survive_their_descriptions(zoo):
    features = load_dataset(zoo("sequential-mnist"), split="train", rollouts=True).features
    features["embedding"] = Embedding(3)
    assert datasets.Features.from_dict(features.to_dict()) == features
    assert datasets.Features._from_yaml_list(features._to_yaml_list()) == features
    assert datasets.Features.from_arrow_schema(features.arrow_schema) == features
    assert list(Weights(decode=False).flatten()) == ["bytes", "zoo", "file", "row"]
    for feature in (Weights, Rollouts):
        with pytest.raises(UnknownNameError, match="Unknown kind of tensors 'jax'; known: torch, numpy"):
            feature(tensors="jax")


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    ["import datasets, rnn_zoos", "import rnn_zoos.loaders.features, datasets", "from rnn_zoos import Weights"],
)
def test_datasets_reads_stored_weights_after_an_import(imports, zoo, tmp_path):
    load_dataset(zoo("formal-languages"), split="train").save_to_disk(tmp_path / "saved")
    code = (
        f"{imports}; import datasets; print(datasets.load_from_disk({str(tmp_path / 'saved')!r})[0]['weights'].keys())"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "lstm.weight_ih_l0" in done.stdout, done.stderr
