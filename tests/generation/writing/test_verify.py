"""A zoo that can be reproduced is; one whose weights or labels are not those of its names is found out."""

import shutil

import pytest
from conftest import ZOOS
from damage import replace_bytes, rewrite_index

from rnn_zoos.errors import DigitsError, FormatError
from rnn_zoos.format.files import map_tensors, tensor_bytes
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.writing.verify import chosen_runs, verify


@pytest.mark.parametrize("name", ZOOS)
def test_a_sound_zoo_is_reproduced_bit_for_bit(name, zoo):
    verdict = verify(zoo(name), runs=3, seed=1)
    assert verdict.exact and verdict.findings == [] and len(verdict.runs) == 3
    assert len(verdict.rows) == 9 and {row["weights"] for row in verdict.rows} == {"equal"}


def test_all_runs_at_most_and_the_choice_follows_the_seed():
    assert chosen_runs(7, 99, 0) == list(range(7)) and chosen_runs(7, 0, 0) == []
    assert all(chosen_runs(70, 5, seed) == chosen_runs(70, 5, seed) for seed in range(4))
    assert len({tuple(chosen_runs(70, 5, seed)) for seed in [0, 1, 2, None, None]}) == 5


def change_weights(out, step_row):
    """Change one weight of the first run of test, at a snapshot."""
    file = next(path.name for path in (out / "shards").iterdir() if path.name.startswith("test-00000"))
    tensors = {name: array.copy() for name, array in map_tensors(out / "shards" / file).items()}
    tensors["linear.weight"][step_row, 1, 2] += 0.5
    replace_bytes(out, f"shards/{file}", tensor_bytes(tensors, {})[0])


@pytest.mark.parametrize("backend", [None, "stacked"])
@pytest.mark.parametrize(("place", "step"), [(0, 0), (2, 11)])
def test_weights_that_are_not_those_of_the_name_are_found(place, step, backend, zoo, tmp_path):
    """With the zoo's backend all of them; with another the initial ones, and those that do not give their labels."""
    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    change_weights(out, place)
    verdict = verify(out, runs=7, backend=backend)
    assert verdict.exact == (backend is None)
    assert len(verdict.findings) == 1 and f"step {step}:" in verdict.findings[0]


@pytest.mark.parametrize("backend", [None, "stacked"])
def test_labels_that_are_not_those_of_the_weights_are_found(backend, zoo, tmp_path):
    out = shutil.copytree(zoo("sequential-mnist"), tmp_path / "zoo")
    rewrite_index(out, "train", lambda rows: rows[1].update(eval_loss=rows[1]["eval_loss"] + 0.1))
    (finding,) = verify(out, runs=5, backend=backend).findings
    assert "labels" in finding and "step 3" in finding


def test_with_another_backend_early_weights_are_close_and_that_is_said(zoo):
    verdict = verify(zoo("formal-languages"), runs=7, backend="stacked")
    assert not verdict.exact and "backend loop there, stacked here" in verdict.claim and verdict.findings == []
    apart = [float(row["weights"].split()[0]) for row in verdict.rows if row["weights"] != "equal"]
    assert 0 < max(apart) < 1e-3, "eleven updates of tiny networks"


def test_other_digits_and_imported_zoos_are_refused(zoo, monkeypatch, tmp_path):
    monkeypatch.setattr(Plan, "digits", lambda plan: {"origin": "mnist", "sha256": "0" * 64})
    with pytest.raises(DigitsError, match="Give their --mnist"):
        verify(zoo("sequential-mnist"))
    manifest = read_manifest(zoo("formal-languages"))
    from dataclasses import replace

    out = shutil.copytree(zoo("formal-languages"), tmp_path / "zoo")
    replace(manifest, imported={"source": "elsewhere"}).write(out)
    with pytest.raises(FormatError, match="was imported, not generated"):
        verify(out)
