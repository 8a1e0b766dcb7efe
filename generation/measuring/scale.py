"""The bookkeeping of very large zoos, simulated with random weights instead of training: `rnn-zoos speed scale`."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnn_zoos.errors import FormatError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import MANIFEST
from rnn_zoos.generation.measuring.random_zoo import random_plan, random_runs
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.shards import make_shard
from rnn_zoos.generation.writing.workspace import Workspace

_PLAN = "from rnn_zoos.generation.measuring.scale import plan_of_runs; plan_of_runs({runs})"
_TINY = {"hidden_size": 2, "num_layers": 1, "runs_per_shard": 1, "snapshots": (0, 1)}


def measure_scale(runs: int, shards: int, scratch: Path | None) -> list[dict[str, Any]]:
    """Return seconds and megabytes of planning `runs` runs, and of a zoo with `shards` shards of random weights.

    Planning is measured in a process of its own, so that its memory starts at zero. Everything else is measured in this
    process, one thing after the other; its memory is the highest so far. Networks are tiny (one layer of 2 units, one
    run and two snapshots per shard), because only the bookkeeping is measured. The zoo is written to `scratch` (None:
    the system's folder for temporary files) and removed.
    """
    rows = [measure_plan(runs)]
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        directory, plan = Path(folder) / "zoo", random_plan(shards, _TINY)
        workspace = Workspace(directory, plan)

        def make() -> None:
            for shard in workspace.begin_or_resume() or []:
                make_shard(directory, plan, shard, lambda updates: None, random_runs(plan, shard))

        with locked(directory):
            rows.append(_timed(f"{shards:,} shards made and synced to disk", make))
            rows.append(_timed("a look at them when work is resumed", workspace.begin_or_resume))
            rows.append(_timed("index and manifest", lambda: finish(workspace)))
        rows.append(_timed("check", lambda: _check(directory)))
        rows.append({"what": "zoo.json", "seconds": 0.0, "MB": (directory / MANIFEST).stat().st_size / 1e6})
    return rows


def measure_plan(runs: int) -> dict[str, Any]:
    """Return the seconds and the memory that a process needs for the paper's zoo of languages with this many runs."""
    command = [sys.executable, "-c", _PLAN.format(runs=runs)]
    seconds, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return {"what": f"a plan of {runs:,} runs", "seconds": float(seconds), "MB": float(megabytes)}


def plan_of_runs(runs: int) -> None:
    """Make a plan, access every shard as an engine would, and print the seconds, and the megabytes of this process."""
    started = time.monotonic()
    for shard in make_plan("formal-languages", "paper", runs=runs).shards:
        assert shard.runs
    print(time.monotonic() - started, _megabytes())


def _timed(what: str, work: Callable[[], object]) -> dict[str, Any]:
    started = time.monotonic()
    work()
    return {"what": what, "seconds": time.monotonic() - started, "MB": _megabytes()}


def _check(directory: Path) -> None:
    findings = check_zoo(directory)
    if findings:
        raise FormatError(f"The simulated zoo does not conform: {findings[0]}")


def _megabytes() -> float:
    """Return the largest resident memory of this process.

    From /proc where there is one: `ru_maxrss` of a new process begins at that of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
