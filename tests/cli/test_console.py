"""What commands share: tables for people."""

import re
import sys

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
