"""What commands share: tables for people."""

import io
import re
import sys

import pytest
from command import run_command

from rnn_zoos.baselines.benchmark import encoder_speed
from rnn_zoos.baselines.emulation.zoo_embeddings import STORED_ENCODERS
from rnn_zoos.cli.app import main
from rnn_zoos.cli.console import print_table


def test_cells_without_a_value_are_empty_and_numbers_stand_on_the_right(capsys):
    rows = [{"what": "bare", "parameters": None, "ms": 7.60312}, {"what": "x", "parameters": 5, "ms": 12.0}]
    print_table("speeds", rows)
    cells = [line.strip("│").split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert cells == [[" bare ", "            ", " 7.603 "], [" x    ", "          5 ", "    12 "]]


def test_a_value_stands_under_its_own_header_if_rows_lack_others(capsys):
    rows = [{"what": "x", "last": 5}, {"last": 7, "what": "y", "first": 0.5}, {"what": "z", "first": None}]
    print_table("steps", rows)
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert [cell.strip() for cell in lines[2].strip("┃").split("┃")] == ["what", "last", "first"]
    assert cells == [["x", "5", ""], ["y", "7", "0.5"], ["z", "", ""]]


def test_without_rows_there_is_the_title_alone(capsys):
    print_table("nothing", [])
    assert capsys.readouterr().out == "nothing\n"


def test_a_table_that_is_too_wide_for_the_terminal_is_continued_below(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    names = ["step", "accuracy", "count_accuracy", "weight_norm", "loss"]
    print_table("steps", [dict(zip(names, (step, 0.25, 0.5, 29.125, 1.5), strict=True)) for step in (0, 5000)])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 40 and "steps" in lines[0] and "…" not in "".join(lines)
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert cells == [
        ["0", "0.25", "0.5"], ["5000", "0.25", "0.5"], ["0", "29.12", "1.5"], ["5000", "29.12", "1.5"],
    ]  # fmt: skip


def test_letters_that_a_terminal_lacks_are_replaced(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "argv", ["rnn-zoos", "leaderboard", str(STORED_ENCODERS / "formal-languages")])
    with pytest.raises(SystemExit) as stop:
        main()
    stdout.flush()
    printed = stdout.buffer.getvalue().decode("ascii")
    assert stop.value.code in (0, None) and "accuracy R? within steps" in printed


def test_what_was_measured_is_printed_before_a_file_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(encoder_speed, "measure_encoders", lambda *arguments: [{"update with": "flat", "ms": 12.5}])
    (tmp_path / "folder").mkdir()
    finished = run_command("speed", "encoders", "--json", tmp_path / "folder")
    assert finished.status == 1 and "folder" in finished.err and "12.5" in finished.out
