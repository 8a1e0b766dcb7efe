"""The bookkeeping of very large zoos, with simulated shards: `rnn-zoos speed scale`.

Shards have the size of those of the paper's zoo of formal languages, which few disks hold 20,000 of. So their files are
sparse: as long as real ones, all zeros, and without blocks on the disk. The records of the shards are as long as real
ones, with random labels. Files of zeros are read like others, but from memory. Merging writes real files; for this, a
shard has a single network, with its real size.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from rnn_zoos.errors import FormatError
from rnn_zoos.families.registry import task_family
from rnn_zoos.format.check import check_indexes, check_listing
from rnn_zoos.format.hashing import check_files
from rnn_zoos.format.manifest import MANIFEST, read_manifest
from rnn_zoos.generation.measuring.random_zoo import ShardSimulator, random_plan
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.merge import merge
from rnn_zoos.generation.writing.records import KINDS, REMEDY
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.loaders.zoo import open_zoo

_PLAN = "from rnn_zoos.generation.measuring.scale import plan_of_runs; plan_of_runs({runs})"
_ONE_NETWORK = {"runs_per_shard": 1, "snapshots": (0,)}
_HASHED = 200  # shards


def measure_scale(runs: int, shards: int, scratch: Path | None) -> dict[str, Any]:
    """Return the sizes of a simulated zoo, and seconds and megabytes of what is done with it.

    Planning is measured in a process of its own, so that its memory starts at zero. Everything else is measured in this
    process, one thing after the other; its memory is the highest so far.

    Args:
        runs: the number of runs of the plan.
        shards: the number of shards of the simulated zoo; each split may have one more.
        scratch: the folder in which the zoo is written and removed at the end, which takes 100 to 300 kB per shard;
            None for the system's folder for temporary files.
    """
    rows = [measure_plan(runs)]
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        about, measured = _measure_zoo(Path(folder) / "zoo", shards)
        rows += measured
        rows.append(_measure_merge(Path(folder), shards))
    return {"zoo": about, "results": rows}


def _measure_zoo(directory: Path, shards: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the sizes of a zoo of sparse files, and the time of resuming, finishing, opening and checking it."""
    plan = random_plan(20 * shards, {"evaluation": {"strings": 1000, "rollouts": 100}})
    workspace, simulator = Workspace(directory, plan), ShardSimulator(plan)
    with locked(directory):
        for shard in workspace.begin_or_resume() or []:
            simulator.write(workspace, shard)
        rows = [_timed("resume", workspace.begin_or_resume), _timed("finish", lambda: finish(workspace))]
        rows.append(_timed("resume when finished", workspace.begin_or_resume))
    rows.append(_timed("open", lambda: open_zoo(directory).index("train")))
    rows.append(_timed("check without hashes and tensors", lambda: _check(directory)))
    files = read_manifest(directory).files
    hashed = [
        (directory / path, files[path]) for shard in islice(plan.shards, _HASHED) for path in map(shard.path, KINDS)
    ]
    rows.append(_timed("hash", lambda: check_files(hashed, REMEDY)))
    about = {
        "shards": len(plan.shards),
        "runs": plan.settings.runs,
        "snapshots": sum(split["rows"] for split in read_manifest(directory).splits.values()),
        "GB in sparse files": sum(entry.bytes for entry in files.values()) / 1e9,
        "GB hashed": sum(entry.bytes for _, entry in hashed) / 1e9,
        "zoo.json, MB": (directory / MANIFEST).stat().st_size / 1e6,
    }
    return about, rows


def _measure_merge(folder: Path, shards: int) -> dict[str, Any]:
    """Return the time of merging two parts with as many shards as before, of one network each."""
    plan = random_plan(shards, _ONE_NETWORK)
    simulator, parts = ShardSimulator(plan), [folder / "1", folder / "2"]
    for number, part in enumerate(parts):
        workspace = Workspace(part, plan)
        with locked(part):
            workspace.begin_or_resume()
            for shard in plan.shards[number::2]:
                simulator.write(workspace, shard)
    return _timed("merge, one network per shard", lambda: merge(parts, folder / "merged"))


def measure_plan(runs: int) -> dict[str, Any]:
    """Return the seconds and the memory that a process needs for the paper's zoo of languages with this many runs."""
    command = [sys.executable, "-c", _PLAN.format(runs=runs)]
    seconds, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return {"what": f"plan of {runs:,} runs", "seconds": float(seconds), "MB": float(megabytes)}


def plan_of_runs(runs: int) -> None:
    """Make a plan, access every shard as an engine would, and print the seconds, and the megabytes of this process."""
    started = time.monotonic()
    for shard in make_plan("formal-languages", "paper", runs=runs).shards:
        assert shard.runs
    print(time.monotonic() - started, peak_megabytes())


def _timed(what: str, work: Callable[[], object]) -> dict[str, Any]:
    started = time.monotonic()
    work()
    return {"what": what, "seconds": time.monotonic() - started, "MB": peak_megabytes()}


def _check(directory: Path) -> None:
    """Do what `check_zoo` does, except for reading shards."""
    manifest = read_manifest(directory)
    _, findings = check_indexes(directory, manifest, task_family(manifest.zoo), ())
    findings += [finding for _, finding in check_listing(directory, manifest)]
    if findings:
        raise FormatError(f"The simulated zoo does not conform: {findings[0]}")


def peak_megabytes() -> float:
    """Return the largest resident memory of this process.

    From /proc where there is one: `ru_maxrss` of a new process begins at that of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
