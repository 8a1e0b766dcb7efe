"""The command `rnn-zoos embed`: what it prints, where it looks for encoders, and its messages."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from command import run_command

from rnn_zoos.baselines import EmulationRun, EmulationSettings, load_data, save_encoder
from rnn_zoos.baselines.emulation import zoo_embeddings

SETTINGS = EmulationSettings(updates=1, evaluate_every=1, networks=3, hidden=5, layers=1)


@pytest.fixture(scope="module")
def directory(edited_zoo) -> Path:
    return edited_zoo("formal-languages", {"runs: 7": "runs: 24", "strings: 13": "strings: 3", "[0, 2, 11]": "[0, 4]"})


@pytest.fixture(scope="module")
def stored(directory, tmp_path_factory) -> Path:
    """Return a folder of results with one saved encoder."""
    folder = tmp_path_factory.mktemp("results")
    run = EmulationRun(load_data(directory), "statistics", 0, SETTINGS, folder / "run")
    run.train()
    save_encoder(run, folder / "formal-languages" / "statistics.0.safetensors")
    return folder


def test_a_zoo_is_embedded_by_the_file_of_an_encoder(directory, stored, tmp_path):
    out, file = tmp_path / "out.safetensors", stored / "formal-languages" / "statistics.0.safetensors"
    finished = run_command("embed", directory, "--encoder", file, "--out", out)
    rows = len(load_data(directory).zoo.index())
    assert finished.out == f"{out}: {rows} embeddings of 16 numbers by statistics, seed 0.\n"
    assert (finished.status, finished.err) == (0, "")
    embeddings = safetensors.numpy.load_file(out)["embeddings"].astype(float)
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-3)


def test_a_stored_encoder_is_found_by_its_name_and_another_zoo_is_noted(zoo, stored, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo_embeddings, "STORED_ENCODERS", stored)
    finished = run_command("embed", zoo("formal-languages"), "--encoder", "statistics", "--out", tmp_path / "out")
    assert finished.status == 0 and (tmp_path / "out").is_file()
    assert finished.err.startswith("Note: ") and "statistics.0.safetensors was trained on another zoo" in finished.err


@pytest.mark.parametrize(
    ("zoo_name", "encoder", "message"),
    [
        ("formal-languages", "flat", "Unknown stored encoder 'flat'; known: statistics.0. Train it with: rnn-zoos"),
        ("formal-languages", "nothing.safetensors", "nothing.safetensors cannot be read"),
        ("sequential-mnist", "FILE", "The encoder statistics embeds networks of Architecture("),
        ("nowhere", "FILE", "nowhere is neither a directory nor the name of a zoo"),
    ],
)
def test_what_cannot_be_embedded_is_explained(zoo_name, encoder, message, zoo, stored, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo_embeddings, "STORED_ENCODERS", stored)
    given = zoo(zoo_name) if zoo_name != "nowhere" else zoo_name
    encoder = encoder.replace("FILE", str(stored / "formal-languages" / "statistics.0.safetensors"))
    finished = run_command("embed", given, "--encoder", encoder, "--out", tmp_path / "out")
    assert finished.status == 1 and message in finished.err and finished.err.count("\n") == 1
    assert finished.out == "" and not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_written_is_explained(directory, stored, tmp_path):
    (tmp_path / "file").touch()
    encoder = stored / "formal-languages" / "statistics.0.safetensors"
    finished = run_command("embed", directory, "--encoder", encoder, "--out", tmp_path / "file" / "out")
    assert finished.status == 1 and "could not be written" in finished.err


def test_embeddings_replace_earlier_embeddings_and_no_other_file(directory, stored, tmp_path):
    file, out = stored / "formal-languages" / "statistics.0.safetensors", tmp_path / "out.safetensors"
    for _ in range(2):
        assert run_command("embed", directory, "--encoder", file, "--out", out).status == 0
    shard = next((directory / "shards").iterdir())
    for content in (b"the user's notes", shard.read_bytes(), file.read_bytes()):
        out.write_bytes(content)
        finished = run_command("embed", directory, "--encoder", file, "--out", out)
        assert finished.status == 1 and f"{out} exists and is not a file of embeddings" in finished.err
        assert out.read_bytes() == content
