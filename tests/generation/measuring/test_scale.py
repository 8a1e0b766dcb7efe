"""`rnn-zoos speed scale`: shards as long as real ones that take no space; such a zoo conforms but for its tensors."""

import pytest
from command import run_command

from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.measuring.random_zoo import ShardSimulator, random_plan, random_runs
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.shards import compute_shard
from rnn_zoos.generation.writing.workspace import Workspace


@pytest.mark.long
def test_simulated_shards_are_as_long_as_real_ones_but_take_no_space(tmp_path):
    plan = random_plan(41)
    workspace, simulator = Workspace(tmp_path, plan), ShardSimulator(plan)
    with locked(tmp_path):
        for shard in workspace.begin_or_resume():
            simulator.write(workspace, shard)
        assert workspace.begin_or_resume(rehash=True) == [], "their hashes are right"
        manifest = finish(workspace)
    shard = plan.shards[0]
    real = compute_shard(plan, shard, lambda updates: None, trained=random_runs(plan, shard))
    for kind, entry in real.record.files.items():
        path = tmp_path / shard.path(kind)
        about = 1000  # bytes of the header that depend on the runs
        assert abs(path.stat().st_size - entry.bytes) < about and path.stat().st_blocks * 512 < entry.bytes / 10
        assert manifest.files[shard.path(kind)].rows == entry.rows
    assert read_manifest(tmp_path).splits["train"]["rows"] > 0
    findings = check_zoo(tmp_path)
    assert findings and all("complete safetensors file" in finding for finding in findings), "only tensors are missing"


def test_the_command_measures_everything_and_leaves_nothing(tmp_path):
    out = tmp_path / "scale.json"
    done = run_command("speed", "scale", "--runs", 50, "--shards", 4, "--scratch", tmp_path, "--json", out)
    assert done.status == 0 and "merge, one network per shard" in done.out and list(tmp_path.iterdir()) == [out]
