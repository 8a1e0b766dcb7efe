"""Numbers in README.md and docs/ are those of the presets and of the result files that they are said to come from."""

import json
import re
import runpy

import pytest
from conftest import ALL_ZOOS, ROOT, ZOOS
from documents import CARD, DOCUMENTS, PROSE, TEXT, table_rows
from typer.testing import CliRunner

from rnn_zoos import Architecture
from rnn_zoos.baselines.benchmark.presets import preset_of
from rnn_zoos.baselines.encoders.registry import usable_encoders
from rnn_zoos.cli.app import app
from rnn_zoos.families.columns import PLAN_COLUMNS
from rnn_zoos.families.language_strings import NUM_SYMBOLS
from rnn_zoos.families.registry import task_family
from rnn_zoos.generation import load_preset, preset_names
from rnn_zoos.generation.measuring.architecture_speed import LAYERS, UNITS
from rnn_zoos.networks.architecture import GATES

RESULTS = "generation/results"
BENCHMARK = ROOT / "baselines" / "results"
BENCHMARKED = [folder for folder in sorted(BENCHMARK.glob("*/*")) if folder.is_dir()]  # results of a zoo each
STUDIES = [folder for folder in sorted((ROOT / "baselines" / "studies").iterdir()) if folder.is_dir()]
TRAINERS = {
    "bare": "bare torch loop, one process with default threads",
    "bare, one process a core": "bare torch loop, one process per core",
    "loop": "`loop`, one process per core",
    "1 of native": "`native`, one process",
    "native": "`native`, one process per core",
}
LOADERS = {
    "torch_dataset, in memory": "`torch_dataset(in_memory=True)`",
    "torch_dataset": "`torch_dataset`",
    "torch_dataset, flat": '`torch_dataset(weights="flat")`',
    "DataLoader, 0 workers": "a DataLoader of `torch_dataset`, `num_workers=0`",
    "DataLoader, 2 workers": "the same, `num_workers=2`",
    "Zoo.take, numpy": "`Zoo.take`",
    "load_dataset": "`load_dataset`",
    "load_dataset, no labels": '`load_dataset(columns=["weights"])`',
    "load_dataset, with_format torch": '`load_dataset(...).with_format("torch")`',
    "load_dataset, streaming": "`load_dataset(streaming=True)`",
    "numpy memmap": "one numpy memmap of flat weights",
    "torch tensor in memory": "one torch tensor of flat weights in memory",
    "datasets, parquet": "plain `datasets`, parquet",
    "datasets, parquet, streaming": "plain `datasets`, parquet, streaming",
    "a torch file a network": "one torch file per network",
}


def measured(name):
    """Return the content of a result file, after checking that a document links to it."""
    assert re.search(rf"\]\([^)]*{RESULTS}/{re.escape(name)}\)", TEXT), f"no document links to {name}"
    return json.loads((ROOT / RESULTS / name).read_text())


def assert_row(first_cell, *cells):
    """There is a table row with this first cell, and every such row of any document has these cells."""
    expected = f"| {' | '.join([first_cell, *cells])} |"
    rows = table_rows(first_cell)
    assert rows, f"no document has the row {expected}"
    for path, line in rows:
        assert line == expected, path


@pytest.mark.parametrize("name", ALL_ZOOS)
def test_the_numbers_of_the_preset_tables_are_those_of_the_presets(name):
    parameters = f"{load_preset('paper', name).architecture(task_family(name)).num_parameters:,}"
    rows = table_rows(f"`{name}`")
    assert rows and all(parameters in line for _, line in rows)
    for preset in preset_names():
        settings = load_preset(preset, name)
        tables = table_rows(f"`{preset}`")  # the README's leaves out automata
        rows = [line for path, line in tables if " runs" in line and (name in ZOOS or path != "README.md")]
        assert rows
        for line in rows:
            runs, updates = f"{settings.runs:,} runs", f"{settings.num_updates:,}"
            assert runs in line and (f"| {updates} |" in line or f"{runs} of {updates} updates" in line)


@pytest.mark.parametrize("name", ["amd-epyc-2-cores.json"])
def test_the_training_speeds_are_those_of_the_results(name):
    results = measured(name)
    for way, first_cell in TRAINERS.items():
        rows = [row for row in results["results"] if row["way"] == way]
        assert [row["zoo"] for row in rows] == list(ZOOS)
        assert_row(first_cell, *(f"{row['updates/s']:,.0f} ({row['of matmul']:.0%})" for row in rows))
    assert set(results["machine"]) >= {"cores", "processor", "torch", "commit"}
    assert f"medians of {results['repeats']}" in PROSE


@pytest.mark.parametrize(
    ("name", "label", "instruction_set"),
    [("amd-epyc-avx2.json", "AVX2", "avx2"), ("intel-xeon-avx512.json", "Intel", "avx512")],
)
def test_the_training_speeds_of_other_machines_are_those_of_the_results(name, label, instruction_set):
    results = measured(name)
    rows = {(row["zoo"], row["way"]): row for row in results["results"]}
    for zoo in ALL_ZOOS:
        shown = (rows[zoo, way] for way in ("bare, one process a core", "native"))
        assert_row(f"{zoo}, {label}", *(f"{row['updates/s']:,.0f} ({row['of matmul']:.0%})" for row in shown))
    assert results["machine"]["instruction set"] == instruction_set
    assert PROSE.count(f"medians of {results['repeats']} (from [generation/results/{name}]") == 1


def test_the_training_speeds_of_saturated_networks_are_those_of_the_results():
    rows = {(row["zoo"], row["way"]): row["updates/s"] for row in measured("intel-xeon-avx512.json")["results"]}
    for zoo in ALL_ZOOS:
        ways = ("bare", "bare, saturated", "native", "native, saturated")
        assert_row(f"{zoo}, saturated", *(f"{rows[zoo, way]:,.0f}" for way in ways))


def test_the_loading_speeds_are_those_of_the_results():
    rows = {row["way"]: row for row in measured("loading-amd-epyc.json")["results"]}
    for way, first_cell in LOADERS.items():
        row = rows[way]
        speed = f"{round(row['rows/s'], -2):,.0f}", f"{row['times memmap']:.2f}"
        assert_row(first_cell, f"{row['open, s']:.2f}", *speed, f"{row['private MB']:.0f}")


def test_the_encoder_speeds_are_those_of_the_results():
    results = measured("encoders-intel-xeon.json")
    rows = {row["update with"]: row for row in results["results"]}
    alone, products = rows["emulator alone"]["ms"], rows["matrix products of the emulator"]["ms"]
    assert_row("emulator alone", "", f"{alone:.1f}", "1.00")
    assert f"{results['preset']}`: 64 networks" in PROSE and f"Medians of {results['repeats']} updates" in PROSE
    for name in usable_encoders(Architecture("lstm", 2, NUM_SYMBOLS, 32, NUM_SYMBOLS)):
        row = rows[name]
        speed = [line for _, line in table_rows(f"`{name}`") if line.count("|") == 5]
        assert speed == [f"| `{name}` | {row['parameters']:,} | {row['ms']:.1f} | {row['times emulator']:.2f} |"]
    assert f"take {products:.1f} ms as products" in PROSE and f"takes {alone / products:.2f} times that" in PROSE
    assert f"takes {rows['transformer']['times bare']:.2f} times a bare `nn.TransformerEncoder`" in PROSE


def test_the_costs_of_labels_are_those_of_the_results():
    results = measured("labels-amd-epyc.json")
    for own in results["zoos"]:
        zoo = own["zoo"]["zoo"]
        shown = [line for _, line in table_rows(zoo)]
        assert own["zoo"]["preset"] == "medium" and own["zoo"]["updates"] == load_preset("medium", zoo).num_updates
        for row in own["results"]:
            cells = zoo, row["labels"], f"{row['ms per snapshot']:.1f}", f"{row['of training']:.1%}"
            assert f"| {' | '.join(cells)} |" in shown
    assert f"medians of {results['repeats']} measurements" in PROSE


def test_the_engine_speeds_are_those_of_the_results():
    results = measured("engines-amd-epyc.json")
    for row in results["results"]:
        share = "" if row["engine"] == row["of"] else f"{row['ratio']:.2f} of {row['of']}"
        assert_row(row["engine"], f"{row['updates/s']:,.0f}", share)
    assert f"{results['repeats']} rounds" in PROSE


def test_the_fault_counts_are_those_of_the_results():
    for kind, counts in measured("faults-amd-epyc.json").items():
        shards = (str(counts.get(f"finished shards {what}", "")) for what in ("kept", "repeated"))
        assert_row(kind, str(counts["tried"]), str(counts.get("survived", counts.get("said"))), *shards)
    soak = json.loads((ROOT / RESULTS / "soak-amd-epyc.json").read_text())
    minutes = soak["samples"][-1]["minutes"]
    assert f"{soak['zoos']} zoos and {soak['kills']} kills in {minutes:.0f} minutes" in PROSE
    assert f"{soak['given up and resumed']} times a shard lost three workers in a row" in PROSE


def test_the_numbers_of_large_zoos_are_those_of_the_results():
    result = measured("scale-amd-epyc.json")
    rows, zoo = {row["what"]: row for row in result["results"]}, result["zoo"]
    shown = {
        "plan of 1,000,000 runs": "plan of 1,000,000 runs",
        "resume": "all shards examined on resume",
        "finish": "index and manifest written",
        "resume when finished": "finished zoo examined by the same command",
        "open": "opened, and the index of `train` read",
        "check without hashes and tensors": "checked, without reading shards",
        "hash": f"{zoo['GB hashed']:.1f} GB hashed",
        "merge, one network per shard": "two parts merged, one network per shard",
    }
    assert rows.keys() == shown.keys()
    for what, first_cell in shown.items():
        assert_row(first_cell, f"{rows[what]['seconds']:.1f}", f"{rows[what]['MB']:.0f}")
    sizes = f"{zoo['shards']:,} shards, {zoo['runs']:,} runs, {zoo['snapshots']:,} snapshots"
    assert f"{sizes} and {zoo['GB in sparse files']:.0f} GB" in PROSE


def test_the_speeds_of_architectures_are_those_of_the_results():
    results = measured("architectures-amd-epyc.json")
    *rows, mixture = results["results"]
    cells = {row["network"]: f"{row['updates/s']:,.0f} ({row['of matmul']:.0%})" for row in rows}
    for cell in GATES:
        for layers in LAYERS:
            assert_row(f"{cell}, {layers}", *(cells[f"{cell}-{layers}x{units}"] for units in UNITS))
    assert f"medians of {results['repeats']}, of {results['updates']} updates each" in PROSE
    assert f"trains at {mixture['of its parts']:.0%} of the rate of its parts" in PROSE


def test_the_kernel_facts_are_those_of_the_compiler_report():
    table = measured("triton-sm90-spills.json")
    rows = {(row["cell"], row["mode"], row["precision"], row["hidden"]): row for row in table["kernels"]}
    shown = (("tf32x3", 16), ("tf32x3", 32), ("tf32x3", 64), ("ieee", 32))
    for cell, mode in {key[:2] for key in rows}:
        kernels = [rows[(cell, mode, *variant)] for variant in shown]
        shares = [
            f"{row['loop_spills'] / row['loop_instructions']:.1%} ({row['programs_per_multiprocessor']})"
            for row in kernels
        ]
        assert_row(f"{cell}, {mode}", *shares)
        if mode != "dense":
            assert kernels[1]["programs_per_multiprocessor"] == 3 and kernels[1]["registers"] == 168
    assert "three programs fit on a multiprocessor" in PROSE and "168 registers" in PROSE
    assert f"triton {table['triton']}" in PROSE


def test_the_speeds_of_a_gpu_are_those_of_the_results():
    results, ways = measured("h100.json"), {}
    for row in results["speed"]:
        ways.setdefault(row["way"], {})[row["zoo"]] = f"{row['updates/s']:,.0f} ({row['TFLOP/s']:.1f} TFLOP/s)"
    shown = {"triton tf32x3": "`triton`, tf32x3 (default)", "triton ieee": "`triton`, ieee", "stacked": "`stacked`"}
    for way, cells in ways.items():
        assert_row(f"{shown[way]}, H100", *(cells.get(zoo, "") for zoo in ZOOS))
    encoders = {}
    for row in results["encoders"]:
        before, graph = row["ms, one operation after the other"], row["ms of the graph, beside others"]
        encoders.setdefault(row["encoder"], {})[row["zoo"]] = f"{before:.1f}", f"{graph:.1f}"
    for name, cells in encoders.items():
        assert_row(f"`{name}`, H100", *(cell for zoo in ZOOS for cell in cells.get(zoo, ("", ""))))
    best = [row["extrapolated seconds for 20,000 updates"] for row in results["speed"] if row["way"] == "triton tf32x3"]
    assert "in {:.0f} and {:.0f} seconds".format(*best) in PROSE


def test_every_table_made_by_a_command_is_what_the_command_prints(monkeypatch):
    """`python docs/tables.py` writes them."""
    monkeypatch.chdir(ROOT)
    tables = runpy.run_path(str(ROOT / "docs" / "tables.py"))
    shown = set(tables["COMMAND"].findall(TEXT))
    for folder in BENCHMARKED:  # in a table of its own, or together with others of a kind
        commands = {f"leaderboard {one.relative_to(ROOT)}" for one in (folder, folder.parent)}
        assert len(commands & shown) == 1, folder
    assert {f"study {study.name}" for study in STUDIES} == {name for name in shown if name.startswith("study")}
    for path, text in DOCUMENTS.items():
        assert text == tables["filled"](text, printed), path


def test_the_results_on_the_copy_have_the_sizes_that_the_preset_has_now():
    """As docs/results/languages.md says."""
    paths = sorted((BENCHMARK / "cpu-copy" / "formal-languages").glob("*.json"))
    assert paths
    for path in paths:
        result = json.loads(path.read_text())
        assert result["sizes"] == preset_of("cpu").sizes_of(result["encoder"], result["zoo"]["name"]), path


def printed(command):
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 0
    return result.stdout


def test_the_card_names_every_column():
    for name in ZOOS:
        for column in (*PLAN_COLUMNS, *task_family(name).task_columns, *task_family(name).label_columns):
            assert f"`{column}`" in CARD, column
        assert name in CARD


def test_format_1_is_specified_with_every_column():
    for name in ZOOS:
        for column in task_family(name).columns:
            assert f"`{column}`" in DOCUMENTS["docs/format.md"], column
