"""The README is true: its Python runs, its commands exist, its files are there."""

import json
import re
import shutil

import pytest
from conftest import ROOT

from rnn_zoos.baselines.benchmark.leaderboard import leaderboard
from rnn_zoos.baselines.benchmark.reading import read_results
from rnn_zoos.baselines.encoders.registry import ENCODERS
from rnn_zoos.cli.app import app, speed
from rnn_zoos.families.family import PLAN_COLUMNS
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.registry import ZOOS, task_family
from rnn_zoos.generation.presets import load_preset

README = (ROOT / "README.md").read_text()
CARD = (ROOT / "DATASET_CARD.md").read_text()
WAYS = {
    "bare": "bare torch loop, one process with default threads",
    "bare, one process a core": "bare torch loop, one process a core",
    "loop": "`loop`, one process a core",
    "1 of native": "`native`, one process",
    "native": "`native`, one process a core",
}

LOADING = {
    "load_dataset": "`load_dataset`",
    "load_dataset, streaming": "`load_dataset`, `streaming=True`",
    "Zoo.take, numpy": "`open_zoo(...).take`, numpy, no labels",
    "numpy memmap": "one numpy memmap of flat weights, no labels",
    "datasets, parquet": "plain `datasets`, parquet",
    "datasets, parquet, streaming": "plain `datasets`, parquet, `streaming=True`",
    "a torch file a network": "a torch file per network, no labels",
}


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.S))
def test_python_runs(block, zoo, tmp_path, monkeypatch):
    """On the tiny zoos, whose steps are others; the demo itself is run by generation/run.sh."""
    for name in ZOOS:
        shutil.copytree(zoo(name), tmp_path / "zoos" / name)
    monkeypatch.chdir(tmp_path)
    block = block.replace("steps=1000", "steps=11" if "formal-languages" in block else "steps=8")
    block = block.replace('("accuracy", ">", 0.5)', '("accuracy", ">=", 0)')
    block = block.replace("step >= 500", "step >= 3")
    exec(compile(block, "README.md", "exec"), {})


def test_the_first_example_has_eight_lines():
    first = re.search(r"```python\n(.*?)```", README, re.S)
    assert first and len([line for line in first[1].splitlines() if line]) <= 8


def test_commands_and_links_exist():
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {f"speed {command.name}" for command in speed.registered_commands}
    named = set(re.findall(r"`rnn-zoos ((?:speed )?[a-z]+)", README))
    assert named == known
    for link in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize("name", ZOOS)
def test_the_numbers_of_the_tables_are_those_of_the_presets(name):
    row = next(line for line in README.splitlines() if line.startswith(f"| `{name}`"))
    assert f"{load_preset('paper', name).architecture(task_family(name)).num_parameters:,}" in row
    for preset in ("demo", "small", "paper"):
        row = next(line for line in README.splitlines() if line.startswith(f"| `{preset}`"))
        settings = load_preset(preset, name)
        assert f"{settings.runs:,} runs" in row and f"| {settings.num_updates:,} |" in row


@pytest.mark.parametrize("path", re.findall(r"\((generation/results/[^)]+-cores\.json)\)", README))
def test_the_speeds_are_those_of_the_results(path):
    """Every line of the table is what the file that is linked says; a failure shows the line that belongs there."""
    measured = json.loads((ROOT / path).read_text())
    of_way = {way: [row for row in measured["results"] if row["way"] == way] for way in WAYS}
    for way, rows in of_way.items():
        assert [row["zoo"] for row in rows] == list(ZOOS)
        cells = (f"{row['updates/s']:,.0f} ({row['of matmul']:.0%})" for row in rows)
        assert f"| {WAYS[way]} | {' | '.join(cells)} |" in README.splitlines()
    assert set(measured["machine"]) >= {"cores", "processor", "torch", "commit"}
    assert f"medians of {measured['repeats']}" in README.replace("\n", " ")


def test_the_speeds_of_loading_are_those_of_the_results():
    path = "generation/results/loading-amd-epyc.json"
    rows = {row["way"]: row for row in json.loads((ROOT / path).read_text())["results"]}
    assert f"]({path})" in README
    for way, name in LOADING.items():
        row = rows[way]
        numbers = f"{row['open, s']:.2f} | {round(row['rows/s'], -2):,.0f} | {row['private MB']:.0f}"
        assert f"| {name} | {numbers} |" in README.splitlines()


def test_the_speeds_of_encoders_are_those_of_the_results():
    path = "generation/results/encoders-amd-epyc.json"
    rows = {row["update with"]: row for row in json.loads((ROOT / path).read_text())["results"]}
    told = README.partition("`rnn-zoos speed encoders` measures")[2].partition("### Results")[0].replace("\n", " ")
    assert f"]({path})" in told and f"alone, {rows['emulator alone']['ms']:.0f} ms" in told
    for name in ENCODERS:
        assert f"`{name}` {rows[name]['times emulator']:.2f}" in told
    assert f"takes {rows['transformer']['times bare']:.2f} times a bare" in told


def test_the_rates_of_engines_are_those_of_the_results():
    path = "generation/results/engines-amd-epyc.json"
    measured = json.loads((ROOT / path).read_text())
    told = README.partition("`rnn-zoos speed engines` measures")[2].partition("###")[0]
    assert f"]({path})" in told and f"medians of {measured['repeats']}" in told
    for row in measured["results"]:
        share = "" if row["engine"] == row["of"] else f"{row['ratio']:.2f} of {row['of']}"
        assert f"| {row['engine']} | {row['updates/s']:,.0f} | {share} |" in told.splitlines()


def test_the_counts_of_faults_are_those_of_the_results():
    results = ROOT / "generation" / "results"
    counted = json.loads((results / "faults-amd-epyc.json").read_text())
    lines = [line for line in README.splitlines() if line.startswith("| ")]
    for kind, counts in counted.items():
        kept = " | ".join(str(counts.get(f"finished shards {what}", "")) for what in ("kept", "repeated"))
        assert f"| {kind} | {counts['tried']} | {counts.get('survived', counts.get('said'))} | {kept} |" in lines
    soak = json.loads((results / "soak-amd-epyc.json").read_text())
    minutes = soak["samples"][-1]["minutes"]
    told = " ".join(README.split())
    assert f"{soak['zoos']} zoos and {soak['kills']} kills in {minutes:.0f} minutes" in told
    assert f"{soak['given up and resumed']} times a shard lost three in a row" in told


def test_the_numbers_of_large_zoos_are_those_of_the_results():
    path = "generation/results/scale-amd-epyc.json"
    rows = {row["what"]: row for row in json.loads((ROOT / path).read_text())["results"]}
    plan = rows["a plan of 1,000,000 runs"]
    written, checked, looked = (
        rows[what]["seconds"] for what in ("index and manifest", "check", "a look at them when work is resumed")
    )
    told = " ".join(README.partition("`rnn-zoos speed scale` simulates")[2].partition("##")[0].split())
    assert f"]({path})" in told and f"takes {plan['seconds']:.1f} seconds and {plan['MB']:.0f} MB" in told
    assert f"written in {written:.0f} seconds and checked in {checked:.0f}" in told
    assert f"looked at all of them in {looked:.0f}" in told


def test_the_tables_of_encoders_are_those_of_the_results():
    results = read_results(ROOT / "baselines" / "results")
    assert leaderboard(results) == (ROOT / "baselines" / "results" / "leaderboard.md").read_text()
    table = re.search(r"results --brief -->\n(.*?)<!-- end -->", README, re.S)
    assert table and table[1].replace("#### ", "### ") == leaderboard(results, brief=True)


def test_the_card_names_every_column():
    for name in ZOOS:
        for column in (*PLAN_COLUMNS, *task_family(name).task_columns, *task_family(name).label_columns):
            assert f"`{column}`" in CARD, column
    assert FormalLanguages.name in CARD
