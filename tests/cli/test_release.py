"""Releasing zoos to a loopback Hub with the real client: the order, interruptions, and calls that change nothing."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from command import Finished, run_command
from conftest import ROOT, ZOOS
from mini_hub import Fault, MiniHub, Repo
from publishing import requests, set_up_client
from short_benchmark import shorten_benchmark

from rnn_zoos.baselines.benchmark import presets

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own uploads

SIZES = """\
  runs: 40
  runs_per_shard: 20
  cell: lstm
  num_layers: 1
  hidden_size: 5
  batch_size: 3
  snapshots: [0, 2, 7]
  learning_rate: {0: 0.01, 5: 0.003}
  weight_decay: [0, 0.1]
"""
EVALUATIONS = {
    "formal-languages": "{strings: 13, rollouts: 4}",
    "sequential-mnist": "{held_out_digits: 23, fit_digits: 29, test_digits: 31, rollouts: 6}",
}
QUICK = ("--benchmark", "quick", "--encoder", "statistics", "--workers", "1", "--verify-runs", "1")


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[MiniHub]:
    set_up_client(monkeypatch)
    with MiniHub(tmp_path / "hub", tokens={"hf_good": "me"}) as started:
        yield started


@pytest.fixture
def preset(tmp_path) -> str:
    """A preset with enough runs for every split to have some."""
    path = tmp_path / "few.yaml"
    path.write_text("".join(f"{zoo}:\n{SIZES}  evaluation: {sizes}\n" for zoo, sizes in EVALUATIONS.items()))
    return str(path)


@pytest.fixture
def short_benchmark(monkeypatch) -> None:
    """Let the preset `quick` train for two updates, and measure as little as possible."""
    quick = presets.PRESETS["quick"]
    short = {zoo: replace(settings, updates=2, evaluate_every=1) for zoo, settings in quick.settings.items()}
    end_to_end = replace(quick.end_to_end, updates=1, hidden=3)
    changed = replace(quick, settings=short, end_to_end=end_to_end)
    shorten_benchmark(monkeypatch, {**presets.PRESETS, "quick": changed})


def release(hub: MiniHub, preset: str, out: Path, *options: str) -> Finished:
    where = ("--namespace", "me", "--preset", preset, "--mnist", "embedded", "--out", out, "--endpoint", hub.url)
    return run_command("release", *where, *options)


def repos(hub: MiniHub) -> dict[str, Repo]:
    """Name -> repository of datasets and Spaces, which have different names here."""
    return {name: repo for (_, name), repo in hub.repos.items()}


def published(repo: Repo, ref: str) -> dict[str, str]:
    """Path -> sha256 of the files of a tag or branch."""
    files = repo.commits[repo.refs[ref]].files
    return {path: blob.sha256 for path, blob in files.items() if path != ".gitattributes"}


def state_of(folder: Path) -> dict[Path, tuple[int, str]]:
    """Path -> time of modification and hash of every file except locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


def test_a_dry_run_shows_every_command_and_leaves_no_trace(hub, preset, tmp_path):
    shown = release(hub, preset, tmp_path / "out", "--dry-run", *QUICK)
    assert shown.status == 0 and shown.out.endswith("Nothing was written or uploaded.\n")
    lines = shown.out.splitlines()
    phases = [line.removeprefix("== ") for line in lines if line.startswith("== ")]
    assert phases == [
        *("Generate", "Check and verify", "Benchmark", "Leaderboard and figures", "Prepare", "Upload", "Tag", "Show")
    ]
    assert "  40 runs of 7 updates in 5 shards" in lines
    assert sum(line.startswith("$ rnn-zoos publish") for line in lines) == 8
    assert not (tmp_path / "out").exists() and not hub.log


def test_spaces_are_made_before_anything_is_uploaded_and_shown_last(hub, preset, tmp_path):
    shown = release(hub, preset, tmp_path / "out", "--dry-run", "--spaces", "--zoo", ZOOS[0], "--benchmark", "none")
    published = [line for line in shown.out.splitlines() if line.startswith("$ rnn-zoos publish")]
    option = f" --space me/{ZOOS[0]}-few-explorer"
    assert [option in line for line in published] == [True, True, False, True], "the tag is that of the dataset"
    assert not (tmp_path / "out").exists() and not hub.log


@pytest.mark.long
def test_a_release_with_a_space_shows_both_at_the_end_and_the_next_call_changes_nothing(hub, preset, tmp_path):
    options = "--spaces", "--zoo", ZOOS[0], "--benchmark", "none", "--verify-runs", "1", "--workers", "1"
    dataset, space = f"me/{ZOOS[0]}-few", f"me/{ZOOS[0]}-few-explorer"
    hub.create(space, "spaces")
    hub.commit(space, {"app.py": b"of someone else"}, kind="spaces")
    refused = release(hub, preset, tmp_path / "out", *options)
    assert refused.status == 1 and "is not an explorer of rnn-zoos" in refused.err and dataset not in repos(hub)
    del hub.repos["spaces", space]
    hub.faults.append(Fault(rf"POST /api/spaces/{space}/commit/", status=500, times=99))
    stopped = release(hub, preset, tmp_path / "out", *options)
    assert stopped.status == 1 and f"The dataset {dataset} is published, at commit" in stopped.err, stopped.err
    assert repos(hub)[dataset].private and repos(hub)[space].private
    hub.faults.clear()
    for _ in range(2):
        done = release(hub, preset, tmp_path / "out", *options)
        assert done.status == 0 and done.out.endswith(f"Released {dataset} as v1.\n"), done.err
        assert [len(repos(hub)[name].commits) for name in (dataset, space)] == [2, 2]
        assert not repos(hub)[dataset].private and not repos(hub)[space].private
    assert published(repos(hub)[dataset], "v1") == published(repos(hub)[dataset], "main")
    assert "explorer.txt" in published(repos(hub)[space], "main")
    without = release(hub, preset, tmp_path / "out", *options[1:])
    assert without.out == f"{dataset}: already published as v1. Nothing was changed.\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--benchmark", "fast"), "Unknown preset of the benchmark 'fast'"),
        (("--namespace", "a/b"), "is not a name on the Hub"),
        (("--zoo", "formal"), "Unknown zoo 'formal'"),
        (("--benchmark", "quick", "--encoder", "flatt"), "Unknown encoder 'flatt'"),
        (("--benchmark", "quick", "--encoder", "no_module:Own"), "The encoder no_module:Own cannot be imported"),
        (("--backend", "fast"), "Unknown backend 'fast'"),
        (("--mnist", "nowhere"), "nowhere"),
        (("--benchmark", "cpu", "--encoder", "hankel"), "The encoder hankel cannot query networks of"),
    ],
)
def test_wrong_options_are_reported_before_anything_is_done(options, message, hub, preset, tmp_path):
    refused = release(hub, preset, tmp_path / "out", *options)
    assert refused.status == 1 and message in refused.err, refused.err
    assert not (tmp_path / "out").exists() and not hub.log


@pytest.mark.slow
@pytest.mark.usefixtures("short_benchmark")
def test_an_interrupted_release_shows_nothing_and_resumes_and_the_next_call_changes_nothing(hub, preset, tmp_path):
    out = tmp_path / "out"
    first, second = (f"me/{zoo}-few" for zoo in ZOOS)
    fault = Fault(rf"POST /api/datasets/{second}/commit/", status=500, times=99)
    hub.faults.append(fault)
    stopped = release(hub, preset, out, *QUICK)
    assert stopped.status == 1 and "No partial zoo is visible" in stopped.err, stopped.err
    assert all(repo.private and "v1" not in repo.refs for repo in repos(hub).values())
    assert published(repos(hub)[first], "main") and not published(repos(hub)[second], "main")
    hub.faults.clear()

    start = len(hub.log)
    resumed = release(hub, preset, out, *QUICK)
    assert resumed.status == 0 and resumed.out.endswith(f"Released {first}, {second} as v1.\n"), resumed.err
    sent = [
        line for line in requests(hub, start) if "/commit/" in line or line.endswith("/settings") or "/tag/" in line
    ]
    assert [line.split("/")[-2] if "settings" not in line else "settings" for line in sent] == [
        *("commit", "tag", "tag", "settings", "settings")
    ]
    for zoo, repo in zip(ZOOS, (first, second), strict=True):
        files = published(repos(hub)[repo], "v1")
        assert not repos(hub)[repo].private and files == published(repos(hub)[repo], "main")
        assert {"README.md", "zoo.json", "benchmark/leaderboard.md", "benchmark/statistics.0.json"} <= files.keys()
        assert {"benchmark/statistics.0.safetensors", f"benchmark/emulation-{zoo}.png"} <= files.keys()
        card = (out / zoo / "published" / "README.md").read_text()
        assert "## Benchmark" in card and "statistics" in card and f"](benchmark/emulation-{zoo}.png)" in card

    before, start = state_of(out), len(hub.log)
    again = release(hub, preset, out, *QUICK)
    assert again.out == f"{first}, {second}: already published as v1. Nothing was changed.\n"
    assert state_of(out) == before and {line.split()[0] for line in requests(hub, start)} <= {"GET", "HEAD"}

    leaderboard = out / "benchmark" / ZOOS[1] / "leaderboard.md"
    shutil.copy(leaderboard, tmp_path / "kept.md")
    (out / "benchmark" / ZOOS[1] / "note.md").write_text("more")
    refused = release(hub, preset, out, *QUICK)
    assert refused.status == 1 and f"{second} already has the tag v1" in refused.err
    assert len(repos(hub)[second].commits) == 2, "nothing was uploaded"


def script(hub: MiniHub, home: Path) -> dict[str, str]:
    """Environment variables for release.sh: that of the tests, so that nothing is installed, and the loopback Hub."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**hub.environment(home, HF_TOKEN="hf_good"), "VIRTUAL_ENV": sys.prefix, "PATH": path}


@pytest.mark.slow
def test_the_script_takes_paths_relative_to_the_caller_and_knows_wrong_usage(hub, preset, tmp_path):
    shell, folder = ROOT / "generation" / "release.sh", tmp_path / "here"
    folder.mkdir()
    command = [shell, "--namespace=me", "--preset=../few.yaml", "--out", "out", "--mnist", "embedded", "--dry-run"]
    done = subprocess.run(command, cwd=folder, env=script(hub, tmp_path), capture_output=True, text=True)
    assert f"generate formal-languages --preset {folder}/../few.yaml --out {folder}/out/formal-languages" in done.stdout
    assert done.returncode == 0 and not any(folder.iterdir()) and not hub.log, done.stderr
    assert subprocess.run([shell, "--preset"], capture_output=True).returncode == 2
    helped = subprocess.run([shell, "--help"], capture_output=True, text=True, check=True)
    assert "generation/release.sh --namespace me --preset demo --dry-run" in helped.stdout


@pytest.mark.long
@pytest.mark.parametrize("name", ["few", "demo"])
def test_the_script_is_killed_between_two_uploads_and_resumes(name, hub, preset, tmp_path):
    chosen = ("--preset", "demo" if name == "demo" else preset, "--mnist", "embedded", "--workers", "2")
    command = [ROOT / "generation" / "release.sh", "--namespace", "me", *chosen, "--benchmark", "none"]
    command += ["--out", tmp_path / "out"]
    first, second = (f"me/{zoo}-{name}" for zoo in ZOOS)
    hub.faults.append(Fault(rf"POST /api/datasets/{second}/commit/", kind="delay", after=600))
    process = subprocess.Popen(command, env=script(hub, tmp_path / "home"), start_new_session=True)
    deadline = time.monotonic() + 1200
    while not any(f"{second}/commit/" in line for line in requests(hub)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert all(repo.private and "v1" not in repo.refs for repo in repos(hub).values())
    assert published(repos(hub)[first], "main") and not published(repos(hub)[second], "main")
    for expected in (
        f"Released {first}, {second} as v1.",
        f"{first}, {second}: already published as v1. Nothing was changed.",
    ):
        done = subprocess.run(command, env=script(hub, tmp_path / "home"), capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.splitlines()[-1] == expected, done.stderr
    assert not any(repo.private for repo in repos(hub).values())
    assert published(repos(hub)[first], "v1") and published(repos(hub)[second], "v1")
