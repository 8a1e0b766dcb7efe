"""Embeddings of a zoo by a saved encoder: the rows that they belong to, biases, and which encoders are found."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from rnn_zoos import load_dataset, open_zoo
from rnn_zoos.baselines import EmulationRun, EmulationSettings, load_data
from rnn_zoos.baselines.emulation import zoo_embeddings
from rnn_zoos.baselines.emulation.saved_encoder import SavedEncoder, read_encoder, save_encoder
from rnn_zoos.baselines.emulation.zoo_embeddings import embed_zoo, find_encoder, write_embeddings
from rnn_zoos.errors import EncoderError, UnknownNameError
from rnn_zoos.symmetry import merge_biases

SETTINGS = EmulationSettings(updates=1, evaluate_every=1, networks=3, hidden=5, layers=1)


@pytest.fixture(scope="module")
def directory(edited_zoo) -> Path:
    return edited_zoo("formal-languages", {"runs: 7": "runs: 24", "strings: 13": "strings: 3", "[0, 2, 11]": "[0, 4]"})


@pytest.fixture(scope="module")
def saved(directory, tmp_path_factory) -> dict[tuple[str, str], SavedEncoder]:
    """Return encoders of all kinds of information that were trained on the zoo, by name and biases."""
    folder, found = tmp_path_factory.mktemp("saved"), {}
    for name, biases in (("flat", "apart"), ("flat", "merged"), ("self-rollout", "apart"), ("data-probes", "apart")):
        run = EmulationRun(load_data(directory, biases=biases), name, 0, SETTINGS, folder / f"{name}-{biases}")
        run.train()
        save_encoder(run, folder / "encoder.safetensors")
        found[name, biases] = read_encoder(folder / "encoder.safetensors")
    return found


def test_every_row_gets_the_embedding_of_its_network_whatever_the_batches(directory, saved, monkeypatch):
    zoo, fractions = open_zoo(directory), []
    rows = zoo.index().to_pylist()
    monkeypatch.setattr(zoo_embeddings, "_BATCH", 7)
    for encoder in saved.values():
        found = embed_zoo(zoo, encoder, fractions.append)
        assert found.shape == (len(rows), 16) and found.dtype == np.float32
        for place in (0, 6, 7, 20, len(rows) - 1):
            stack = zoo.stack([rows[place]])
            weights = stack.weights
            if encoder.description.biases == "merged":
                weights = merge_biases(stack.architecture, weights)
            with torch.no_grad():
                alone = encoder.encoder(weights, stack)[0].numpy()
            assert np.allclose(found[place], alone, atol=1e-5)
        assert np.abs(found[0] - found[-1]).max() > 1e-3, "networks differ"
    assert len(rows) % 7 and fractions[-1] == 1 and fractions == sorted(fractions[: len(fractions) // 4]) * 4


def test_merged_biases_change_what_an_encoder_of_apart_biases_would_read(directory, saved):
    zoo, encoder = open_zoo(directory), saved["flat", "merged"]
    apart = replace(encoder, description=replace(encoder.description, biases="apart"))
    assert np.abs(embed_zoo(zoo, encoder) - embed_zoo(zoo, apart)).max() > 1e-3


def test_the_file_names_rows_zoo_and_encoder(directory, saved, tmp_path):
    zoo, encoder = open_zoo(directory), saved["flat", "apart"]
    embeddings = embed_zoo(zoo, encoder)
    path = tmp_path / "new" / "embeddings.safetensors"
    write_embeddings(path, zoo, encoder, embeddings)
    stored = safetensors.numpy.load_file(path)
    assert {name: (array.dtype, array.shape) for name, array in stored.items()} == {
        "embeddings": (np.float16, (len(zoo.index()), 16)),
        "run": (np.int32, (len(zoo.index()),)),
        "step": (np.int32, (len(zoo.index()),)),
    }
    assert np.abs(stored["embeddings"] - embeddings).max() < 2**-11
    assert [*zip(stored["run"], stored["step"], strict=True)] == [
        (row["run"], row["step"]) for row in zoo.index().to_pylist()
    ]
    with safetensors.safe_open(path, framework="np") as file:
        about = json.loads(file.metadata()["rnn_zoos"])
    assert about["format"] == 1 and about["encoder_sha256"] == encoder.sha256
    assert about["zoo"]["sha256"] == zoo.identity and about["encoder"]["encoder"] == "flat"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_load_dataset_joins_the_embeddings_to_the_rows(directory, saved, tmp_path):
    zoo, encoder = open_zoo(directory), saved["self-rollout", "apart"]
    embeddings = embed_zoo(zoo, encoder)
    write_embeddings(tmp_path / "embeddings.safetensors", zoo, encoder, embeddings)
    rows = [(row["run"], row["step"]) for row in zoo.index().to_pylist()]
    by_row = dict(zip(rows, embeddings, strict=True))
    for row in load_dataset(directory, "test", embeddings=tmp_path / "embeddings.safetensors"):
        assert np.abs(row["embedding"].numpy() - by_row[row["run"], row["step"]]).max() < 2**-11


def test_networks_of_another_architecture_are_refused(zoo, saved):
    with pytest.raises(EncoderError, match=r"flat embeds networks of .*num_layers=2.*num_layers=3.* Use an encoder"):
        embed_zoo(open_zoo(zoo("sequential-mnist")), saved["flat", "apart"])


def test_stored_encoders_are_found_by_name_and_seed_and_files_by_their_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / "formal-languages"
    folder.mkdir(parents=True)
    for name in ("flat.10", "flat.2", "flat.merged.0", "self-rollout.0"):
        (folder / f"{name}.safetensors").touch()
    (folder / "flat.0.json").touch()

    def found(name: str) -> str:
        return find_encoder(name, "formal-languages", tmp_path / "results").relative_to(folder).name

    assert found("flat") == "flat.2.safetensors", "the lowest seed, as a number"
    assert found("flat.10") == "flat.10.safetensors" and found("flat.merged") == "flat.merged.0.safetensors"
    languages, digits = "formal-languages", "sequential-mnist"
    for name, zoo in (("fla", languages), ("flat.3", languages), ("self-rollout", digits)):
        with pytest.raises(UnknownNameError, match=f"Unknown stored encoder '{name}'.*benchmark.*OUT/{zoo}/{name}.0"):
            find_encoder(name, zoo, tmp_path / "results")
    with pytest.raises(UnknownNameError, match="known: flat.10, flat.2, flat.merged.0, self-rollout.0. Did you mean"):
        find_encoder("self-rolout", "formal-languages", tmp_path / "results")
    assert find_encoder("mine.safetensors", "formal-languages") == Path("mine.safetensors"), "missing: reported later"
    (tmp_path / "mine").touch()
    assert find_encoder("mine", "formal-languages") == Path("mine")
    with pytest.raises(UnknownNameError, match="known: none"):
        find_encoder("flat", "formal-languages", tmp_path / "nowhere")
