"""`load_dataset(..., embeddings=FILE)`: every row gets its embedding, and files that do not fit are explained."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from rnn_zoos import load_dataset, open_zoo
from rnn_zoos.errors import FormatError
from rnn_zoos.format.tensors import write_tensors

SIZE = 3


@pytest.fixture(scope="module")
def directory(zoo) -> Path:
    return zoo("formal-languages")


def embedding_of(run: int, step: int) -> np.ndarray:
    """Return numbers that identify a row and are exact as float16."""
    return np.array([run, -step, 0.5], np.float32)


def write(directory: Path, path: Path, keep=lambda run, step: True, about=None, **tensors) -> Path:
    """Write embeddings of the rows of a zoo, in another order than that of its index."""
    rows = [(row["run"], row["step"]) for row in reversed(open_zoo(directory).index().to_pylist())]
    rows = [row for row in rows if keep(*row)]
    runs, steps = np.array(rows, np.int32).T
    values = np.stack([embedding_of(*row) for row in rows]).astype(np.float16)
    zoo = {"name": "formal-languages", "preset": "tiny", "sha256": open_zoo(directory).identity}
    tensors = {"embeddings": values, "run": runs, "step": steps} | tensors
    write_tensors(path, tensors, {"format": 1, "zoo": zoo} | (about or {}))
    return path


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("tensors", ["torch", "numpy"])
def test_every_row_has_its_embedding(directory, tensors, streaming, tmp_path):
    path = write(directory, tmp_path / "embeddings.safetensors")
    loaded = load_dataset(directory, streaming=streaming, tensors=tensors, embeddings=path)
    count = 0
    for rows in loaded.values():
        for row in rows:
            assert isinstance(row["embedding"], torch.Tensor if tensors == "torch" else np.ndarray)
            assert row["embedding"].shape == (SIZE,) and str(row["embedding"].dtype).endswith("float32")
            assert np.array_equal(np.asarray(row["embedding"]), embedding_of(row["run"], row["step"]))
            assert "weights" in row
            count += 1
    assert count == len(open_zoo(directory).index())


def test_embeddings_are_joined_to_selected_rows_batches_and_columns(directory, tmp_path):
    path = str(write(directory, tmp_path / "embeddings.safetensors", keep=lambda run, step: step != 2))
    rows = load_dataset(directory, "train", steps=[0, 11], embeddings=path)
    batch = rows[[2, 0]]
    assert [embedding[0] for embedding in batch["embedding"]] == batch["run"]
    (loaded,) = DataLoader(rows.select_columns(["embedding", "accuracy"]), batch_size=len(rows))
    assert loaded["embedding"].shape == (len(rows), SIZE) and loaded["embedding"].dtype == torch.float32
    assert "embedding" not in load_dataset(directory, "train")[0]


def test_other_embeddings_of_the_same_rows_are_not_taken_from_a_cache(directory, tmp_path):
    def fingerprint(**options: object) -> str:
        return load_dataset(directory, "train", **options)._fingerprint

    one = write(directory, tmp_path / "one.safetensors")
    other = write(directory, tmp_path / "other.safetensors", about={"seed": 1})
    assert len({fingerprint(), fingerprint(embeddings=one), fingerprint(embeddings=other)}) == 3
    assert fingerprint(embeddings=one) == fingerprint(embeddings=str(one))


def test_missing_rows_are_listed(directory, tmp_path):
    missing = {(row["run"], row["step"]) for row in open_zoo(directory).index("train").to_pylist() if row["step"] == 2}
    path = write(directory, tmp_path / "embeddings.safetensors", keep=lambda run, step: step != 2)
    with pytest.raises(FormatError, match=f"lacks the embeddings of {len(missing)} of .* Make it again") as error:
        load_dataset(directory, "train", embeddings=path)
    listed = [f"run {run} step {step}" for run, step in missing if f"run {run} step {step}" in str(error.value)]
    assert len(listed) == min(5, len(missing))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"about": {"format": 2}}, "has embeddings of format 2; expected 1. Update"),
        (
            {"about": {"zoo": {"name": "digits", "preset": "x", "sha256": "abcd"}}},
            r"another zoo, digits, preset x \(ab",
        ),
        ({"about": {"zoo": None}}, "has no embeddings"),
        ({"embeddings": np.zeros(4, np.float16)}, "has no embeddings"),
        ({"run": np.zeros(4, np.int64)}, "has run as int64"),
        ({"embeddings": np.zeros((4, 2), np.float32)}, "has embeddings as float32"),
        ({"more": np.zeros(4, np.int32)}, "contains the tensors"),
    ],
)
def test_files_that_do_not_fit_are_explained(change, message, directory, tmp_path):
    path = write(directory, tmp_path / "embeddings.safetensors", **change)
    with pytest.raises(FormatError, match=message):
        load_dataset(directory, embeddings=path)


def test_other_files_are_explained(directory, tmp_path):
    with pytest.raises(FormatError, match="nothing cannot be read"):
        load_dataset(directory, embeddings=tmp_path / "nothing")
    (tmp_path / "text").write_text(json.dumps({}))
    with pytest.raises(FormatError, match="text is not a complete safetensors file"):
        load_dataset(directory, embeddings=tmp_path / "text")
    with pytest.raises(FormatError, match="has no embeddings .* Expected a file that `rnn-zoos embed` wrote"):
        load_dataset(directory, embeddings=next((directory / "shards").glob("*.safetensors")))
