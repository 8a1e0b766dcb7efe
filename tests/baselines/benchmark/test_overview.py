"""The overview: encoders by folders of results, each folder with its own zoo and settings."""

import re

import pytest
from synthetic_results import DIGITS, LANGUAGES, Fake, synthetic, synthetic_control, write_results
from typer.testing import CliRunner

from rnn_zoos.baselines.benchmark.comparison import compare
from rnn_zoos.baselines.benchmark.overview import overview, result_folders
from rnn_zoos.cli.app import app
from rnn_zoos.errors import FormatError

BEST, LEVEL, BEHIND = Fake("flat", 0.02), Fake("dws", 0.0203), Fake("statistics", 0.05)
KNOWN = Fake("constant", 0.01, 0, "labels")


@pytest.fixture
def folders(tmp_path):
    """Two folders of different zoos and settings; they share two encoders."""
    languages = [synthetic(LANGUAGES, fake, seed) for fake in (BEHIND, KNOWN, LEVEL, BEST) for seed in range(3)]
    write_results([*languages, synthetic_control(LANGUAGES, "mean")], tmp_path / "cpu")
    others = [Fake("flat", 0.02), Fake("statistics", 0.03), Fake("transformer", 0.01)]
    write_results([synthetic(DIGITS, fake, preset="quick") for fake in others], tmp_path / "quick")
    return tmp_path


def cells(text):
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {line[0]: line[1:] for line in lines if line[0] != "---"}


def test_every_folder_is_a_column_and_every_encoder_a_row(folders):
    table = cells(overview(result_folders(folders)))
    assert table["encoder"] == [f"cpu / {LANGUAGES}", f"quick / {DIGITS}"]
    mean_places = {"transformer": 0.0, "flat": 0.25, "dws": 0.5, "statistics": 1.0}
    assert list(table)[1:] == [*mean_places, "reference: constant"]
    assert table["dws"][1] == table["transformer"][0] == table["reference: constant"][1] == ""


def test_cells_have_the_losses_of_the_split(folders):
    results = result_folders(folders)[f"cpu/{LANGUAGES}"]
    for split in ("test", "ood"):
        losses = [
            loss
            for result in results
            if result.get("encoder") == "statistics"
            for loss in result["by_run"][split]["total_variation"]
        ]
        assert cells(overview(result_folders(folders), split))["statistics"][0] == f"{sum(losses) / len(losses):.4f}"


def test_the_best_encoder_and_those_level_with_it_are_bold_but_no_reference(folders):
    table = cells(overview(result_folders(folders)))
    of = {
        name: [r for r in result_folders(folders)[f"cpu/{LANGUAGES}"] if r.get("encoder") == name]
        for name in ("flat", "dws", "statistics")
    }
    assert compare(of["dws"], of["flat"]).low < 0 < compare(of["statistics"], of["flat"]).low
    bold = {name for name, row in table.items() if row[0].startswith("**")}
    assert bold == {"flat", "dws"}
    assert [name for name, row in table.items() if row[1].startswith("**")] == ["transformer"]


def test_the_command_prints_it_for_folders_that_cannot_be_compared(folders):
    assert CliRunner().invoke(app, ["leaderboard", str(folders), "--overview"]).stdout == overview(
        result_folders(folders)
    )
    one = CliRunner().invoke(app, ["leaderboard", str(folders / "cpu" / LANGUAGES), "--overview", "--split", "ood"])
    assert cells(one.stdout)["encoder"] == ["."]
    for option in (["--brief"], ["--predictor", "mlp"], ["--figures", "drawn"]):
        refused = CliRunner().invoke(app, ["leaderboard", str(folders), "--overview", *option])
        assert refused.exit_code == 2 and "of emulation alone" in re.sub(r"[\s│]+", " ", refused.stderr)
    refused = CliRunner().invoke(app, ["leaderboard", str(folders), "--check", "--split", "ood"])
    assert refused.exit_code == 2 and "--check only validates the files" in refused.output
    checked = CliRunner().invoke(app, ["leaderboard", str(folders), "--check"])
    number = sum(map(len, result_folders(folders).values()))
    assert checked.exit_code == 0 and checked.stdout == f"{folders}: {number} results, all valid.\n"


def test_results_of_two_zoos_in_one_folder_are_an_error():
    results = [synthetic(LANGUAGES, BEST), synthetic(DIGITS, BEST)]
    with pytest.raises(FormatError, match=f"mine has results of {LANGUAGES}, {DIGITS}; expected one zoo"):
        overview({"mine": results})


def test_a_directory_without_results_is_an_error(tmp_path):
    with pytest.raises(FormatError, match="no result files"):
        result_folders(tmp_path)
