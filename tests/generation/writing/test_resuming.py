"""What an extension sets aside: it is checked before it is used, and a kill at any moment costs no finished shard."""

import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import contents, generate_in_process

from rnn_zoos.errors import IntegrityError, PlanMismatchError
from rnn_zoos.format.check import check_zoo
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.engines.local import LocalEngine
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.trainers import loop
from rnn_zoos.generation.writing.directory import OutputPaths, locked
from rnn_zoos.generation.writing.handover import TrainedShard, has_trained, write_trained
from rnn_zoos.generation.writing.merge import merge
from rnn_zoos.generation.writing.records import read_record
from rnn_zoos.generation.writing.reopening import reopen_zoo
from rnn_zoos.generation.writing.resuming import read_partial_shard
from rnn_zoos.generation.writing.shards import compute_shard, make_shard
from rnn_zoos.generation.writing.store import Store
from rnn_zoos.generation.writing.workspace import Workspace

SMALL, MIDDLE, LARGE = 3, 5, 7  # runs; the first shard grows from size to size


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def plans(tiny_preset, tmp_path_factory) -> dict[int, Plan]:
    path = tmp_path_factory.mktemp("presets") / "growing.yaml"
    path.write_text(Path(tiny_preset()).read_text().replace("runs_per_shard: 2", "runs_per_shard: 5"))
    return {runs: make_plan("formal-languages", str(path), runs=runs) for runs in (SMALL, MIDDLE, LARGE)}


@pytest.fixture(scope="module")
def large(plans, tmp_path_factory) -> Path:
    """A finished zoo of the most runs, which tests do not write to."""
    directory: Path = tmp_path_factory.mktemp("large") / "zoo"
    generate_in_process(directory, plans[LARGE])
    return directory


@pytest.fixture
def small(plans, tmp_path) -> Path:
    """A finished zoo of the fewest runs."""
    generate_in_process(tmp_path / "small", plans[SMALL])
    return tmp_path / "small"


def test_records_name_the_store_so_that_the_plan_can_be_lost(plans, tmp_path):
    """Of a zoo whose workers write shards to a store."""
    plan, store = plans[SMALL], Store(f"file://{tmp_path}/store")
    workspace = Workspace(tmp_path / "zoo", plan, store)
    with locked(tmp_path / "zoo"):
        pending = workspace.begin_or_resume()
        computed = compute_shard(plan, pending[0], lambda updates: None)
        for kind, data in computed.files.items():
            store.write(pending[0].path(kind), data)
        workspace.write(pending[0], replace(computed, files={}))
        OutputPaths(tmp_path / "zoo").plan.unlink()
        still_pending = Workspace(tmp_path / "zoo", plan, store).begin_or_resume()
        assert [shard.name for shard in still_pending] == [shard.name for shard in pending[1:]]
        OutputPaths(tmp_path / "zoo").plan.unlink()
        with pytest.raises(PlanMismatchError, match=f"store: {store.url} in the directory, None requested"):
            Workspace(tmp_path / "zoo", plan).begin_or_resume()


@pytest.fixture
def trained(monkeypatch) -> list[int]:
    """The numbers of the runs that are trained."""
    runs, train_run = list[int](), loop._train_run
    monkeypatch.setattr(loop, "_train_run", lambda *args: runs.append(args[2].run) or train_run(*args))
    return runs


def begin(directory: Path, plan: Plan, made: int = 0, rehash: bool = False) -> None:
    """Resume, and make the first shards that are missing."""
    with locked(directory):
        for shard in (Workspace(directory, plan).begin_or_resume(rehash=rehash) or [])[:made]:
            make_shard(directory, plan, shard, lambda updates: None)


def damage(path: Path) -> None:
    """Change the last byte of a file, and leave its size and times as they were."""
    stat, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def set_aside(directory: Path, kind: str) -> Path:
    """Return a file of a shard that has to grow."""
    return sorted((directory / "unfinished" / "partial").glob(f"*.{kind}.*"))[0]


@pytest.mark.parametrize("kind", ["shards", "rollouts"])
def test_a_damaged_file_that_was_set_aside_is_an_error_until_it_is_deleted(kind, small, plans, large):
    begin(small, plans[LARGE])
    damage(set_aside(small, kind))
    with pytest.raises(IntegrityError, match=rf"partial/.*\.{kind}\.safetensors has sha256 .* Delete it and run"):
        begin(small, plans[LARGE], rehash=True)
    with pytest.raises(IntegrityError, match="has sha256"):  # without --rehash: when it is used
        generate_in_process(small, plans[LARGE])
    set_aside(small, kind).unlink()
    generate_in_process(small, plans[LARGE])
    assert contents(small) == contents(large) and check_zoo(small) == []


def test_a_record_that_does_not_describe_its_files_or_its_shard_is_an_error(small, plans):
    begin(small, plans[LARGE])
    path = set_aside(small, "record")
    paths, record = OutputPaths(small), read_record(path)
    (shard,) = (shard for shard in plans[LARGE].shards if path == paths.partial(shard, "record"))
    changed = vars(record) | {"rows": record.rows[:-1]}
    type(record)(**changed).write(path)
    with pytest.raises(IntegrityError, match=rf"describes {len(record.rows) - 1} rows; .* has {len(record.rows)}"):
        read_partial_shard(paths, shard)
    type(record)(**(vars(record) | {"runs": [run + 1 for run in record.runs]})).write(path)
    with pytest.raises(IntegrityError, match=r"has the runs \[.*expected"):
        read_partial_shard(paths, shard)


def test_a_kill_in_an_extension_of_an_extension_does_not_mix_their_files(small, plans, trained, monkeypatch):
    """Three sizes: the second was begun, and the third was killed when it had moved files and no record."""
    expected = contents(small)
    begin(small, plans[MIDDLE], made=9)
    with monkeypatch.context() as patch:
        rename = Path.rename

        def killed(path: Path, target: Path) -> None:
            if path.suffix == ".json":
                raise Killed
            rename(path, target)

        patch.setattr(Path, "rename", killed)
        with suppress(Killed):
            begin(small, plans[LARGE])
    trained.clear()
    generate_in_process(small, plans[SMALL])
    assert contents(small) == expected and check_zoo(small) == [] and trained == []


def test_a_larger_extension_that_was_begun_still_gives_the_old_zoo_back(small, plans, trained):
    """What was set aside has more runs than the old zoo then: its first runs are those."""
    expected = contents(small)
    begin(small, plans[MIDDLE], made=9)
    begin(small, plans[LARGE])
    trained.clear()
    generate_in_process(small, plans[SMALL])
    assert contents(small) == expected and check_zoo(small) == [] and trained == []


def test_a_damaged_file_that_stops_an_extension_costs_no_other_shard(small, plans, trained):
    expected, whole = contents(small), {}
    for path in sorted((small / "shards").iterdir()):
        whole[path] = path.read_bytes()
        path.write_bytes(whole[path][:-1] + b"x")
        with pytest.raises(IntegrityError, match=f"{path.name} has sha256"):
            begin(small, plans[LARGE])
        assert not (small / "unfinished" / "partial").exists(), "nothing is moved before all is verified"
        path.write_bytes(whole[path])
    trained.clear()
    generate_in_process(small, plans[SMALL])
    assert contents(small) == expected and trained == []


@pytest.mark.parametrize("goal", [SMALL, LARGE])
def test_a_kill_at_any_move_of_an_extension_costs_no_finished_run(goal, small, plans, large, tmp_path, trained):
    """After it, the old number of runs gives the old zoo back, and the new one trains new runs only."""
    expected = contents(small) if goal == SMALL else contents(large)
    for moment in range(100):
        out, moves = shutil.copytree(small, tmp_path / "zoo"), list[Path]()
        with pytest.MonkeyPatch.context() as patch:
            rename = Path.rename

            def dying(path: Path, target: Path, moves=moves, moment=moment, rename=rename) -> None:
                if len(moves) == moment:
                    raise Killed
                moves.append(path)
                rename(path, target)

            patch.setattr(Path, "rename", dying)
            with suppress(Killed):
                begin(out, plans[LARGE])
        trained.clear()
        generate_in_process(out, plans[goal])
        assert contents(out) == expected and sorted(trained) == list(range(SMALL, goal)), f"killed at move {moment}"
        shutil.rmtree(out)
        if len(moves) < moment:
            break
    assert moment > 3, "no kill was injected"


def test_a_merge_that_is_killed_leaves_no_record_of_replaced_files(small, plans, tmp_path, monkeypatch):
    part, out = tmp_path / "part", tmp_path / "merged"
    begin(part, plans[LARGE])
    merge([small, part], out)
    record = set_aside(out, "record")
    monkeypatch.setattr("rnn_zoos.generation.writing.merge.copy_checked", lambda *args: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        merge([small, part], out)
    assert not record.exists()


def test_trained_runs_that_are_replaced_have_no_record_meanwhile(plans, tmp_path, monkeypatch):
    plan = plans[LARGE]
    with locked(tmp_path):
        workspace = Workspace(tmp_path, plan)
        shard = workspace.begin_or_resume()[0]
        runs = list(loop.LoopTrainer().train(plan.family, plan.settings, shard.runs, lambda updates: None))
        write_trained(workspace, shard, TrainedShard(runs, {}, 0.0))
        assert has_trained(workspace, shard)
        monkeypatch.setattr(
            "rnn_zoos.generation.writing.handover.write_hashed_json", lambda *args: (_ for _ in ()).throw(Killed)
        )
        with pytest.raises(Killed):
            write_trained(workspace, shard, TrainedShard(runs, {}, 0.0))
        assert not has_trained(workspace, shard)


def test_an_extension_that_is_abandoned_on_a_device_needs_no_training(tiny_preset, tmp_path):
    first, second = (make_plan("formal-languages", tiny_preset(), runs=n, backend="stacked") for n in (SMALL, LARGE))
    generate_in_process(tmp_path / "zoo", first)
    expected = contents(tmp_path / "zoo")
    begin(tmp_path / "zoo", second)
    generate(first, tmp_path / "zoo", LocalEngine(1, ("cpu",), 9))
    assert contents(tmp_path / "zoo") == expected


@pytest.mark.parametrize("split", ["train", "test"])
def test_shards_whose_index_is_missing_are_measured_again_and_not_trained(split, large, plans, tmp_path, trained):
    out = shutil.copytree(large, tmp_path / "zoo")
    trained.clear()
    (out / "index" / f"{split}.parquet").unlink()
    generate_in_process(out, plans[LARGE])
    assert contents(out) == contents(large) and check_zoo(out) == [] and trained == []


def test_a_zoo_without_an_index_can_be_extended(small, plans, large, trained):
    expected = contents(large)
    shutil.rmtree(small / "index")
    trained.clear()
    generate_in_process(small, plans[LARGE])
    assert contents(small) == expected and sorted(trained) == list(range(SMALL, LARGE))


def test_the_weights_tell_which_snapshots_runs_have_that_diverged(plans, tmp_path, monkeypatch, trained):
    batches = loop._batches

    def poisoned(family, settings, run):
        for number, (inputs, targets) in enumerate(batches(family, settings, run)):
            yield inputs * (float("inf") if (run.run, number) in {(1, 4), (4, 0)} else 1), targets

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_batches", poisoned)
        generate_in_process(tmp_path / "zoo", plans[LARGE])
        expected = contents(tmp_path / "zoo")
        trained.clear()
        shutil.rmtree(tmp_path / "zoo" / "index")
        generate_in_process(tmp_path / "zoo", plans[LARGE])
    assert contents(tmp_path / "zoo") == expected and check_zoo(tmp_path / "zoo") == [] and trained == []


def test_a_missing_index_does_not_hide_a_damaged_or_missing_shard(large, plans, tmp_path, trained):
    out = shutil.copytree(large, tmp_path / "zoo")
    (out / "index" / "train.parquet").unlink()
    shard = sorted((out / "shards").glob("train-*"))[0]
    trained.clear()
    damage(shard)
    with pytest.raises(IntegrityError, match=f"{shard.name} has sha256"):
        begin(out, plans[LARGE], rehash=True)
    shard.unlink()
    generate_in_process(out, plans[LARGE])
    assert contents(out) == contents(large)
    assert trained == next(own for own in plans[LARGE].shards if own.name in shard.name).run_numbers


def test_a_missing_index_of_a_zoo_in_a_store_is_copied_from_there(large, plans, tmp_path):
    out = shutil.copytree(large, tmp_path / "zoo")
    (out / "index" / "train.parquet").unlink()
    paths, before = OutputPaths(out), contents(out)
    with pytest.raises(IntegrityError, match=r"train.parquet is missing, .* Copy it from file:///store"):
        reopen_zoo(paths, plans[LARGE], "file:///store")
    assert contents(out) == before and read_manifest(out).runs == LARGE
