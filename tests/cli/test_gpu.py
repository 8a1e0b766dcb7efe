"""The command for the day a GPU is there, on the CPU with tiny sizes, where nothing but torch, numpy and triton exists.

What it writes becomes a regular zoo.
"""

import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="triton exists for Linux on x86-64 only")

from command import run_command
from conftest import ROOT, ZOOS

from rnn_zoos import open_zoo
from rnn_zoos.baselines import load_encoder
from rnn_zoos.cli.gpu_day import GpuDay, read_sizes
from rnn_zoos.errors import PresetError, StorageError
from rnn_zoos.families.registry import task_family
from rnn_zoos.families.run_table import run_table
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.measuring import gpu_training
from rnn_zoos.generation.measuring.gpu_training import runs_per_group
from rnn_zoos.generation.measuring.gpu_work import Clock, State
from rnn_zoos.generation.measuring.gpu_zoos import PAPER, GpuZoo, ZooSizes
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.presets import load_preset
from rnn_zoos.generation.writing.raw_runs import read_raw, training_settings

SIZES = {
    "cell": "lstm",
    "num_layers": 1,
    "hidden_size": 5,
    "batch_size": 3,
    "snapshots": [0, 2, 7],
    "learning_rate": {0: 0.01, 5: 0.003},
    "weight_decay": [0.0, 0.1],
    "runs": 40,
}
EVALUATIONS = {
    "formal-languages": {"strings": 13, "rollouts": 4},
    "sequential-mnist": {"held_out_digits": 23, "fit_digits": 29, "test_digits": 31, "rollouts": 6},
}
BARE = """
import importlib.abc, sys
allowed = {"torch", "numpy", "triton", "rnn_zoos"}

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        # What is asked for by this project's own files; torch imports what it finds of its optional packages.
        frame = sys._getframe(1)
        while frame and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        asks = frame.f_code.co_filename if frame else ""
        own = asks.startswith(ROOT) and "/.venv/" not in asks
        if own and name.partition(".")[0] not in allowed | sys.stdlib_module_names:
            raise ModuleNotFoundError(f"{asks} imports {name}", name=name)

sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
sys.path = [path for path in sys.path if path]
sys.meta_path.insert(0, Refuse())
import runpy
sys.argv = [ROOT + "/generation/check_gpu.py", *sys.argv[1:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_bare(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script without this package being installed, and without any other package than the three."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", f"ROOT = {str(ROOT)!r}\n{BARE}", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Path:
    """The folder of tiny settings: as JSON for the command, and as YAML (which JSON is) for presets."""
    folder = tmp_path_factory.mktemp("settings")
    zoos = {zoo: {**SIZES, "evaluation": EVALUATIONS[zoo]} for zoo in ZOOS}
    benchmark = {"updates": 4, "evaluate_every": 2, "hidden": 7, "networks": 5, "layers": 1}
    (folder / "tiny.json").write_text(json.dumps({"zoos": zoos, "benchmark": benchmark}))
    sizes = {**SIZES, "runs_per_shard": 9}
    lines = [f"  {name}: {json.dumps(value)}" for name, value in sizes.items() if name != "learning_rate"]
    lines.append("  learning_rate: {0: 0.01, 5: 0.003}")
    presets = ["\n".join([f"{zoo}:", *lines, f"  evaluation: {json.dumps(EVALUATIONS[zoo])}"]) for zoo in ZOOS]
    (folder / "tiny.yaml").write_text("\n".join(presets) + "\n")
    return folder


def work(settings: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    shared = ("--out", str(out), "--device", "cpu", "--settings", str(settings / "tiny.json"), "--runs", "2")
    return run_bare(settings, *shared, "--encoder", "statistics", *options)


@pytest.fixture(scope="module")
def worked(settings, tmp_path_factory) -> tuple[Path, str]:
    """A directory with everything from the runs on, and what the command printed."""
    out = tmp_path_factory.mktemp("gpu")
    done = work(settings, out, "--steps", "zoos,check,carry,rollouts,benchmark")
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not a JSON object"),
        ("3", "is not a JSON object"),
        ('{"zoos": {"words": {}}}', "has settings of 'words'; zoos: formal-languages, sequential-mnist"),
        ('{"zoos": {"formal-languages": {"rats": 3}}}', "formal-languages has no setting rats"),
        ('{"zoos": 3}', "has 'zoos': 3; expected `zoos` or `benchmark`, a JSON object"),
        ('{"benchmark": [1]}', r"has 'benchmark': \[1\]; expected"),
        ('{"zoo": {}}', "has 'zoo': {}; expected `zoos` or"),
        ('{"zoos": {"formal-languages": 3}}', "formal-languages is 3; expected a JSON object with its settings"),
        ('{"zoos": {"formal-languages": {"cell": 3}}}', "cell is 3; expected the form of 'lstm'"),
        ('{"zoos": {"formal-languages": {"hidden_size": "7"}}}', 'hidden_size is "7"; expected the form of 32'),
        ('{"zoos": {"formal-languages": {"snapshots": 7}}}', "snapshots is 7; expected the form of"),
        ('{"zoos": {"formal-languages": {"learning_rate": {"x": 1}}}}', "learning_rate is .* expected the form of"),
        ('{"zoos": {"formal-languages": {"learning_rate": 0.1}}}', "learning_rate is 0.1; expected the form of"),
        ('{"zoos": {"formal-languages": {"evaluation": {"strings": 3}}}}', "evaluation is .* expected the form of"),
    ],
)
def test_settings_that_cannot_be_used_are_named(tmp_path, content, problem):
    (tmp_path / "sizes.json").write_text(content)
    with pytest.raises(PresetError, match=problem):
        read_sizes(tmp_path / "sizes.json")


def test_settings_of_the_benchmark_that_do_not_exist_are_named(tmp_path):
    (tmp_path / "sizes.json").write_text('{"benchmark": {"rats": 3}}')
    day = GpuDay(Namespace(settings=tmp_path / "sizes.json", out=tmp_path), Clock(1), State(tmp_path, {}, [], {}))
    zoo = GpuZoo(task_family("formal-languages"), ZooSizes(), "paper", tmp_path, "cpu")
    with pytest.raises(PresetError, match="benchmark has no setting rats"):
        day._train(None, zoo, "statistics")


def test_the_settings_of_the_zoos_are_those_of_the_preset_paper():
    for zoo, sizes in PAPER.items():
        plan = make_plan(zoo, "paper")
        assert sizes.settings() == training_settings(plan.settings_data())
        assert (sizes.runs, dict(sizes.evaluation)) == (plan.settings.runs, plan.settings.evaluation)
    assert {*PAPER} == {*ZOOS}


@pytest.mark.parametrize("zoo", ZOOS)
def test_the_runs_are_those_of_the_plan(zoo):
    trained = GpuZoo(task_family(zoo), PAPER[zoo], "paper", Path(), "cpu")
    assert trained.runs() == list(make_plan(zoo, "paper").runs())
    stratified = ZooSizes(stratified_tasks=True, runs=load_preset("medium", zoo).runs, weight_decay=(0.0001,))
    assert (
        run_table(task_family(zoo), vars(stratified))["task"].tolist()
        == [run.task for run, _ in make_plan(zoo, "medium").runs()]
        or zoo == "formal-languages"
    )


@pytest.mark.slow
def test_it_needs_torch_numpy_and_triton_alone(worked):
    out, printed = worked
    assert printed.rstrip().endswith("Nothing is left.") and "All results are right." in printed
    results = json.loads((out / "state.json").read_text())["results"]
    rows = {step: [row for unit in units.values() for row in unit["rows"]] for step, units in results.items()}
    whole = [row["zoo"] for row in rows["zoos"] if row.get("runs") == 40 and "updates/s" in row]
    assert whole == [row["zoo"] for row in rows["check"]] == list(ZOOS)
    assert all(row["right"] and row["same bits again"] and row["initial weights"] for row in rows["check"])
    for row in rows["benchmark"]:
        assert row["updates"] == 4 and 0 < row["total_variation test"] < 1 and 0 < row["total_variation ood"] < 1
    for zoo in ZOOS:
        assert load_encoder(out / "benchmark" / zoo / "statistics.0.safetensors").embedding_size == 16
        assert not [path for path in (out / "benchmark" / zoo).iterdir() if path.is_dir()], "no checkpoint is left"


@pytest.mark.slow
def test_a_second_call_does_nothing_again(worked, settings):
    out, _ = worked
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = work(settings, out, "--steps", "zoos,check,carry,rollouts,benchmark")
    assert again.returncode == 0 and "..." not in again.stdout and again.stdout.endswith("Nothing is left.\n")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("zoo", "part"),
    [
        ("formal-languages", "raw"),
        pytest.param("sequential-mnist", "carry", marks=pytest.mark.long),
        pytest.param("formal-languages", "carry", marks=pytest.mark.long),
        pytest.param("sequential-mnist", "raw", marks=pytest.mark.long),
    ],
)
def test_the_runs_become_a_zoo_as_if_it_was_trained_here(zoo, part, worked, settings, tmp_path):
    out, _ = worked
    source = tmp_path / "source"
    shutil.copytree(out / part / zoo, source)
    raw = read_raw(source)
    for entry in raw.files.values():
        entry["seconds"] = 1000.0 * len(entry["runs"])  # training took 1,000 seconds per run, measuring takes few
    raw.write(source)
    preset = ("--preset", settings / "tiny.yaml")
    made = run_command("assemble", source, *preset, "--out", tmp_path / "made", "--workers", "1")
    assert made.status == 0 and "40 runs, 120 snapshots" in made.out, made.err
    assert check_zoo(tmp_path / "made") == []
    where = (*preset, "--mnist", "embedded", "--backend", "stacked", "--out", tmp_path / "here", "--workers", "1")
    trained = run_command("generate", zoo, *where)
    assert trained.status == 0, trained.err
    files = [read_manifest(tmp_path / name).files for name in ("made", "here")]
    assert files[0] == files[1]
    stored = read_manifest(tmp_path / "made").made
    assert 40_000 < stored["seconds"] < 41_000
    assert {key: stored[key] for key in ("backend", "versions", "machine")} == {
        key: raw.made[key] for key in ("backend", "versions", "machine")
    }


@pytest.mark.slow
def test_runs_of_other_settings_or_damaged_ones_become_no_zoo(worked, settings, tmp_path):
    out, _ = worked
    source = out / "carry" / "formal-languages"
    refused = run_command("assemble", source, "--preset", "demo", "--out", tmp_path / "made")
    assert refused.status == 1 and "hidden_size: 5 in" in refused.err and not (tmp_path / "made").exists()
    more = run_command("assemble", source, "--preset", settings / "tiny.yaml", "--runs", "41", "--out", tmp_path / "b")
    assert more.status == 1 and "lacks 1 of the 41 runs of the plan, such as 40" in more.err
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in source.iterdir():
        data = bytearray(path.read_bytes())
        data[-1] ^= path.suffix == ".npz"
        (copy / path.name).write_bytes(data)
    where = ("--preset", settings / "tiny.yaml", "--out", tmp_path / "c")
    damaged = run_command("assemble", copy, *where)
    assert damaged.status == 1 and "runs-00000.npz is missing or damaged. Copy it again" in damaged.err
    empty = run_command("assemble", tmp_path, *where)
    assert empty.status == 1 and "has no raw.json. Expected a directory raw/ZOO" in empty.err


def test_trained_runs_that_may_not_be_read_are_called_that(tmp_path):
    (tmp_path / "raw.json").mkdir()  # root may read any file, but nobody a directory
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        read_raw(tmp_path)


@pytest.mark.slow
def test_the_files_to_carry_are_as_small_as_asked_and_hold_the_first_runs_bit_for_bit(worked, settings, tmp_path):
    from rnn_zoos.generation.measuring.gpu_carry import carry_zoo

    out, _ = worked
    zoo = "formal-languages"
    values = {**SIZES, "snapshots": (0, 2, 7), "weight_decay": (0.0, 0.1), "evaluation": EVALUATIONS[zoo]}
    made = GpuZoo(task_family(zoo), ZooSizes(**values), "tiny", out / "raw" / zoo, "cpu")
    (unit,) = carry_zoo(made, tmp_path / "carry", 0.07, 0.02)
    (row,) = unit.work()
    raw = read_raw(tmp_path / "carry")
    sizes = [path.stat().st_size for path in (tmp_path / "carry").glob("*.npz")]
    assert raw.runs == list(range(row["runs"])) and 4 < row["runs"] < 40 and row["files"] == len(sizes) > 1
    assert max(sizes) <= 20_000 and 40_000 < sum(sizes) <= 70_000 and 0.5 < row["of their size"] < 1
    carried = GpuZoo(made.family, made.sizes, "tiny", tmp_path / "carry", "cpu")
    for first, second in zip(carried.trained(), made.trained(), strict=False):
        assert first.run == second.run and first.steps == second.steps
        assert all(torch.equal(tensor, second.weights[name]) for name, tensor in first.weights.items())


@pytest.mark.slow
def test_training_stops_in_the_middle_and_goes_on_to_the_same_encoder(worked, settings, tmp_path):
    from rnn_zoos.baselines.benchmark.on_device import train_on_device
    from rnn_zoos.baselines.emulation.memory import MemoryManifest, MemoryZoo, memory_data
    from rnn_zoos.generation.measuring.gpu_carry import RowFiles

    out, _ = worked
    zoo = "sequential-mnist"
    values = {**SIZES, "snapshots": (0, 2, 7), "weight_decay": (0.0, 0.1), "evaluation": EVALUATIONS[zoo]}
    made = GpuZoo(task_family(zoo), ZooSizes(**values), "tiny", out / "raw" / zoo, "cpu")
    rows = RowFiles(made, out / "rollouts" / zoo).read()
    data = memory_data(MemoryZoo("a", MemoryManifest(zoo, "tiny", made.architecture)), made.family, rows, "cpu")
    changes = {"updates": 6, "evaluate_every": 2, "hidden": 7, "networks": 5, "layers": 1}
    parts, calls = tmp_path / "parts", 0
    while (row := train_on_device(data, "flat", 0, parts, lambda: -1.0, changes)) is None:
        calls += 1
    assert calls == 2
    whole = train_on_device(data, "flat", 0, tmp_path / "whole", lambda: 600.0, changes)
    assert {**row, "seconds": 0} == {**whole, "seconds": 0}
    files = [(folder / "flat.0.safetensors").read_bytes() for folder in (parts, tmp_path / "whole")]
    assert files[0] == files[1]


@pytest.mark.slow
@pytest.mark.parametrize("zoo", [ZOOS[0], *(pytest.param(zoo, marks=pytest.mark.long) for zoo in ZOOS[1:])])
def test_rows_in_memory_are_those_of_the_zoo(zoo, worked, settings, tmp_path):
    from rnn_zoos.baselines import load_data
    from rnn_zoos.baselines.emulation.memory import MemoryManifest, MemoryZoo, memory_data
    from rnn_zoos.generation.measuring.gpu_carry import RowFiles

    out, _ = worked
    where = ("--preset", settings / "tiny.yaml", "--out", tmp_path / "made", "--workers", "1")
    assert run_command("assemble", out / "raw" / zoo, *where).status == 0
    values = {**SIZES, "snapshots": (0, 2, 7), "weight_decay": (0.0, 0.1), "evaluation": EVALUATIONS[zoo]}
    made = GpuZoo(task_family(zoo), ZooSizes(**values), "tiny", out / "raw" / zoo, "cpu")
    rows = RowFiles(made, out / "rollouts" / zoo).read()
    memory = memory_data(MemoryZoo("a", MemoryManifest(zoo, "tiny", made.architecture)), made.family, rows, "cpu")
    read = load_data(tmp_path / "made")
    assert open_zoo(tmp_path / "made").manifest.runs == 40 and memory.splits.keys() == read.splits.keys()
    for split, expected in read.splits.items():
        found = memory.splits[split]
        assert np.array_equal(found.labels("run"), expected.labels("run")) and len(found) == len(expected)
        assert all(torch.equal(found.weights[name], tensor) for name, tensor in expected.weights.items())
        chosen = torch.arange(len(found))
        sequences = torch.arange(3).expand(len(found), -1)
        first, second = (data.behaviour(chosen, sequences) for data in (found, expected))
        assert torch.equal(first.inputs, second.inputs) and torch.equal(first.log_probs, second.log_probs)


@pytest.mark.parametrize(("seconds", "size"), [(0.01, 1000), (0.09, 1000), (0.45, 500), (3.0, 112), (1000.0, 1)])
def test_a_zoo_is_divided_into_groups_that_fit_into_a_call(seconds, size):
    clock = Clock(570)
    assert runs_per_group(1000, seconds, clock) == size
    assert size == 1 or gpu_training._EXPECTED * size * seconds < clock.total


def test_steps_are_listed_and_unknown_ones_refused(settings, tmp_path):
    listed = work(settings, tmp_path, "--list")
    names = [line.split()[0] for line in listed.stdout.splitlines()]
    assert listed.returncode == 0 and names[:7] == [
        *("gradients", "training", "speed", "profile", "zoos", "check", "carry")
    ]
    unknown = work(settings, tmp_path, "--steps", "zoo")
    assert unknown.returncode == 2 and "there is no step zoo; steps: gradients" in unknown.stderr
    unknown = work(settings, tmp_path, "--zoo", "automata")
    assert unknown.returncode == 2 and "there is no zoo automata; zoos: formal-languages, sequ" in unknown.stderr
    unknown = work(settings, tmp_path, "--methods", "stacked,foo")
    assert unknown.returncode == 2 and "there is no method foo; methods: triton tf32x3, triton" in unknown.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_script_says_so(tmp_path):
    done = run_bare(tmp_path, "--out", "gpu")
    assert done.returncode == 1 and done.stderr.startswith("Error: Backend 'triton' needs an NVIDIA GPU"), done.stderr
