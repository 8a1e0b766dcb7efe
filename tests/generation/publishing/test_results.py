"""Results of the benchmark that are published with a zoo: which files, and refusals of those of another zoo."""

import json

import pytest

from rnn_zoos import open_zoo
from rnn_zoos.errors import FormatError
from rnn_zoos.generation.publishing.card import make_card
from rnn_zoos.generation.publishing.results import result_files, results_section


@pytest.fixture
def opened(zoo):
    return open_zoo(zoo("formal-languages"))


@pytest.fixture
def folder(tmp_path, opened):
    (tmp_path / "leaderboard.md").write_text("| encoder | loss |\n")
    (tmp_path / "flat.0.json").write_text(json.dumps({"zoo": {"sha256": opened.identity}}))
    (tmp_path / "losses.png").write_bytes(b"png")
    (tmp_path / "flat.1").mkdir()
    (tmp_path / "flat.1" / "checkpoint.safetensors").write_bytes(b"not finished")
    (tmp_path / ".flat.1.json.77.tmp").write_text("not whole")
    return tmp_path


def test_finished_results_are_published_and_the_card_shows_table_and_figures(opened, folder):
    files = result_files(opened, folder)
    assert [*files] == ["benchmark/flat.0.json", "benchmark/leaderboard.md", "benchmark/losses.png"]
    card = make_card(opened, "me/zoo", [], True, results_section(files))
    assert "## Benchmark" in card and "| encoder | loss |" in card and "![losses](benchmark/losses.png)" in card
    assert "\nbenchmark/ " in card
    without = make_card(opened, "me/zoo", [], True, results_section(result_files(opened, None)))
    assert "## Benchmark" not in without and "\nbenchmark/ " not in without


@pytest.mark.parametrize("content", ["{}", "[1]", '{"zoo": 3}', "{", "\xff"])
def test_json_files_that_are_no_results_are_refused(content, opened, folder):
    (folder / "notes.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(FormatError, match=r"notes.json is not a result of `rnn-zoos benchmark` .*: move it elsewhere"):
        result_files(opened, folder)
    (folder / "notes.json").unlink()
    (folder / "notes.json").mkdir()
    assert "benchmark/notes.json" not in result_files(opened, folder)


def test_results_of_another_zoo_or_without_a_table_are_refused(opened, folder):
    (folder / "flat.0.json").write_text(json.dumps({"zoo": {"sha256": "0" * 64}}))
    with pytest.raises(FormatError, match="flat.0.json is a result of another zoo. Run the benchmark on this one"):
        result_files(opened, folder)
    (folder / "leaderboard.md").unlink()
    with pytest.raises(FormatError, match="has no leaderboard.md. Make it with: rnn-zoos leaderboard .* --figures"):
        result_files(opened, folder)
