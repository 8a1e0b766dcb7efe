"""Work grows with the number of shards, not with its square: Python calls are counted, not seconds."""

import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rnn_zoos.format.check import check_zoo
from rnn_zoos.generation.measuring.random_zoo import random_plan, random_runs
from rnn_zoos.generation.publishing import export_directory
from rnn_zoos.generation.publishing.export_directory import JOURNAL, MARK, begin_export, read_mark
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.merge import merge
from rnn_zoos.generation.writing.shards import make_shard
from rnn_zoos.generation.writing.workspace import Workspace

TINY = {"hidden_size": 2, "num_layers": 1, "runs_per_shard": 1, "snapshots": (0,)}
SIZES = (20, 40, 80)
BOUND = 2.2  # the growth of the second step relative to the first: 2 if linear, 4 if quadratic


def count_calls(work: Callable[[], object]) -> int:
    """Return how many Python functions are entered, in all threads that `work` starts, too."""
    lock, total = threading.Lock(), 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal total
        if event == "call":
            with lock:
                total += 1

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return total


def calls_per_step(folder: Path, shards: int) -> dict[str, int]:
    """Return the number of calls of everything that is done with a zoo of some shards, which has no training."""
    plan, whole = random_plan(shards, TINY), folder / "whole"
    parts = [folder / "0", folder / "1"]
    for number, part in enumerate(parts):
        with locked(part):
            Workspace(part, plan).begin_or_resume()
            for shard in plan.shards[number::2]:
                make_shard(part, plan, shard, lambda updates: None, random_runs(plan, shard))
    shutil.copytree(parts[0], whole)
    workspace = Workspace(whole, plan)
    counts = {}
    with locked(whole):
        counts["resume"] = count_calls(workspace.begin_or_resume)
        counts["rehash"] = count_calls(lambda: workspace.begin_or_resume(rehash=True))
        for shard in plan.shards[1::2]:
            make_shard(whole, plan, shard, lambda updates: None, random_runs(plan, shard))
        counts["finish"] = count_calls(lambda: finish(workspace))
        counts["resume the finished zoo"] = count_calls(workspace.begin_or_resume)
    counts["check"] = count_calls(lambda: check_zoo(whole))
    counts["merge"] = count_calls(lambda: merge([*parts, whole], folder / "merged"))
    return counts


@pytest.mark.slow
def test_calls_grow_with_the_number_of_shards(tmp_path, monkeypatch):
    monkeypatch.setattr("rnn_zoos.format.files.os.fsync", lambda descriptor: None)
    calls_per_step(tmp_path / "first", 2)  # loads modules and fills caches
    few, some, many = (calls_per_step(tmp_path / str(shards), shards) for shards in SIZES)
    growth = {name: (many[name] - some[name]) / (some[name] - few[name]) for name in few}
    assert max(growth.values()) < BOUND, growth


def test_the_list_of_an_export_is_not_written_again_for_every_file(tmp_path, monkeypatch):
    written, write = [], export_directory.write_json
    monkeypatch.setattr(export_directory, "write_json", lambda path, data: written.append(path) or write(path, data))
    exported = begin_export(tmp_path / "out", {"layout": "parquet"})
    for number in range(17):
        exported.write(f"data/{number}", b"content")
        assert read_mark(tmp_path / "out")["files"].keys() == {f"data/{n}" for n in range(number + 1)}
    with open(tmp_path / "out" / JOURNAL, "a") as journal:
        journal.write('["data/17", {"sha2')  # the export was killed
    assert len(read_mark(tmp_path / "out")["files"]) == 17
    exported.finish()
    assert len(written) == 2 and {path.name for path in (tmp_path / "out").iterdir()} == {"data", MARK}
    assert len(read_mark(tmp_path / "out")["files"]) == 17
