"""Zoos by Ray: the same bytes as without, from one machine or several nodes, whatever is lost on the way."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import contents, make_in_process
from faulty import (
    PRESET,
    TALLY,
    assert_nothing_runs,
    assert_undisturbed,
    command_line,
    descendants,
    errors_of,
    generate_command,
    recorded,
    resume_and_compare,
    start,
    wait_for,
)

from rnn_zoos.errors import ClusterError, PlanMismatchError, StorageError
from rnn_zoos.format.check import check_zoo

pytest.importorskip("ray")

from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.engines import ray_engine
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.engines.ray_cluster import loopback_nodes
from rnn_zoos.generation.engines.ray_engine import RayEngine
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.writing.store import Store
from rnn_zoos.processes import TRIES

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")]


@pytest.fixture
def two_nodes():
    """A cluster of its own for every test: two in one process disturb each other."""
    with loopback_nodes(2) as cluster:
        yield cluster.address


@pytest.mark.parametrize("name", ["formal-languages", pytest.param("sequential-mnist", marks=pytest.mark.long)])
def test_two_nodes_give_the_same_bytes_and_extend_a_zoo(name, zoo, tiny_preset, two_nodes, tmp_path):
    generate(make_plan(name, tiny_preset(), runs=4), tmp_path / "zoo", RayEngine(two_nodes))
    generate(make_plan(name, tiny_preset()), tmp_path / "zoo", RayEngine(two_nodes))
    assert_undisturbed(tmp_path / "zoo", contents(zoo(name)))
    made, alone = (read_manifest(path).made for path in (tmp_path / "zoo", zoo(name)))
    assert {**made, "seconds": 0} == {**alone, "seconds": 0}, "made in one way, not in two"


@pytest.mark.parametrize("name", [pytest.param("formal-languages", marks=pytest.mark.long), "sequential-mnist"])
def test_workers_write_to_a_store_and_the_whole_zoo_stands_there(name, zoo, tiny_preset, two_nodes, tmp_path):
    store, out, plan = Store(f"file://{tmp_path}/store"), tmp_path / "out", make_plan(name, tiny_preset())
    manifest = generate(plan, out, RayEngine(two_nodes, store=store))
    assert contents(tmp_path / "store") == contents(zoo(name)) and check_zoo(tmp_path / "store") == []
    assert not (out / "shards").exists() and manifest.made["store"] == store.url
    assert generate(plan, out, RayEngine(two_nodes, store=store)) == manifest, "there is nothing left to do"
    with pytest.raises(PlanMismatchError, match="store: file:///.*/store there, None asked for"):
        generate(plan, out)
    with pytest.raises(PlanMismatchError, match="a zoo in a store cannot grow"):
        generate(make_plan(name, tiny_preset(), runs=9), out, RayEngine(two_nodes, store=store))


@pytest.mark.long
def test_a_lost_file_of_a_store_is_made_again(zoo, tiny_preset, two_nodes, tmp_path):
    """Of an unfinished zoo, and of a finished one."""
    engine = RayEngine(two_nodes, store=Store(f"file://{tmp_path}/store"))
    plan, out = make_plan("formal-languages", tiny_preset()), tmp_path / "out"
    assert generate(plan, out, engine, part=(1, 2)) is None
    for _ in ("unfinished", "finished"):
        sorted((tmp_path / "store" / "shards").iterdir())[0].unlink()
        generate(plan, out, engine)
        assert contents(tmp_path / "store") == contents(zoo("formal-languages"))


@pytest.mark.parametrize(
    ("url", "why"),
    [("file:///proc/nowhere", "No such file|denied|not permitted"), ("nope://x/y", "Protocol not known")],
)
def test_a_store_that_cannot_be_written_is_said_before_anything_is_trained(url, why, tiny_preset, tmp_path):
    with pytest.raises(StorageError, match=rf"{url}.* could not be reached or written: .*({why}).*Give --store a URL"):
        generate(make_plan("formal-languages", tiny_preset()), tmp_path / "out", RayEngine(store=Store(url)))


@pytest.mark.long
def test_nodes_with_gpus_train_many_runs_at_once(tiny_preset, tmp_path):
    """GPUs that are only declared: the tasks that hold them train on the CPU, where there is nothing else."""
    plan = make_plan("formal-languages", tiny_preset(), backend="stacked")
    make_in_process(tmp_path / "alone", plan)
    with loopback_nodes(2, num_gpus=1) as cluster:
        first = make_plan("formal-languages", tiny_preset(), runs=4, backend="stacked")
        generate(first, tmp_path / "zoo", RayEngine(cluster.address, at_once=3))
        generate(plan, tmp_path / "zoo", RayEngine(cluster.address, at_once=3))
    assert contents(tmp_path / "zoo") == contents(tmp_path / "alone")


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ray") / "faults.yaml"
    path.write_text(PRESET.replace("1500]", "3000]"))
    return path


@pytest.fixture(scope="module")
def expected(preset, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "zoo"
    subprocess.run(generate_command(preset, out), check=True, capture_output=True)
    return contents(out)


def processes_of(pid: int, name: str) -> list[int]:
    """The processes below a process that Ray has given a name."""
    return [child for child in descendants(pid) if command_line(child).startswith(name)]


def tasks_of(pid: int) -> list[int]:
    """Those in which shards are made now."""
    return processes_of(pid, "ray::_make")


def stopped_task(pid: int) -> int:
    """Stop one of them, for certain while it makes a shard, and return it."""
    return wait_for(lambda: next(filter(stopped_at_work, tasks_of(pid)), None), 90)


def stopped_at_work(task: int) -> bool:
    """Stop a process; let it go on, and say so, if it has meanwhile come to the end of its shard."""
    os.kill(task, signal.SIGSTOP)
    wait_for(lambda: "\nState:\tT" in Path(f"/proc/{task}/status").read_text())
    at_work = command_line(task).startswith("ray::_make")
    if not at_work:
        os.kill(task, signal.SIGCONT)
    return at_work


@contextmanager
def running(preset: Path, out: Path, *options: str):
    """A generation by a Ray of its own, when it has begun its first shards."""
    process = start(preset, out, "--engine", "ray", *options)
    try:
        wait_for(lambda: process.poll() is not None or len(tasks_of(process.pid)) == 2, 90)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.long
def test_kill_9_of_the_driver_leaves_nothing_running(preset, expected, tmp_path):
    with running(preset, tmp_path / "zoo") as process:
        wait_for(lambda: recorded(tmp_path / "zoo"))
        family = descendants(process.pid)
        process.kill()
        process.communicate()
    assert_nothing_runs(family, 120)  # agents of Ray look for their head node once a minute
    TALLY["Ray: kill -9 of the driver"]["tried"] += 1
    resume_and_compare("Ray: kill -9 of the driver", preset, tmp_path / "zoo", expected)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (signal.SIGKILL, "lost its worker or node"),
        pytest.param(signal.SIGSTOP, "no sign of life for 10 seconds", marks=pytest.mark.long),
    ],
)
def test_a_worker_that_is_killed_or_hangs_is_said_and_its_shard_begun_again(how, said, preset, expected, tmp_path):
    """And the actor that gathers the reports is killed, too."""
    with running(preset, tmp_path / "zoo", "--timeout", "10") as process:
        family = descendants(process.pid)
        os.kill(stopped_task(process.pid), how)
        for gatherer in processes_of(process.pid, "ray::_Pulses"):
            os.kill(gatherer, signal.SIGKILL)
        errors = errors_of(process)
    assert process.returncode == 0 and said in errors, errors
    assert_nothing_runs(family)
    assert_undisturbed(tmp_path / "zoo", expected)
    TALLY[f"Ray: worker, {how.name}"].update(tried=1, survived=1)


@pytest.mark.long
def test_a_worker_that_hangs_before_its_first_sign_is_not_waited_for(zoo, tiny_preset, tmp_path, monkeypatch, capsys):
    """Nor counted as one of the losses after which a shard is given up: it may be the cluster that is slow."""
    make, hung = ray_engine._make, tmp_path / "hung"

    def stuck(*job):
        times = hung.stat().st_size if hung.exists() else 0
        if job[1].name == "test-00000" and times < TRIES:
            hung.write_bytes(bytes(times + 1))
            time.sleep(1000)
        return make(*job)

    monkeypatch.setattr(ray_engine, "_make", stuck)
    plan = make_plan("formal-languages", tiny_preset())
    generate(plan, tmp_path / "zoo", RayEngine(workers=2, silence_limit=12))
    assert capsys.readouterr().err.count("no sign of life for 12 seconds") == hung.stat().st_size == TRIES
    assert_undisturbed(tmp_path / "zoo", contents(zoo("formal-languages")))


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm(how, preset, expected, tmp_path):
    with running(preset, tmp_path / "zoo") as process:
        family = descendants(process.pid)
        os.kill(process.pid, how)
        errors = errors_of(process, 60)
    TALLY[f"Ray: {how.name}"]["tried"] += 1
    assert process.returncode == 130 and "run the same command again to go on" in errors, errors
    assert "Traceback" not in errors
    assert_nothing_runs(family)
    resume_and_compare(f"Ray: {how.name}", preset, tmp_path / "zoo", expected, "--engine", "ray")


def test_a_node_that_is_lost_mid_shard(preset, expected, tmp_path):
    with loopback_nodes(1) as cluster:
        lost = cluster.add_node(num_cpus=1)
        process = start(preset, tmp_path / "zoo", "--engine", "ray", "--address", cluster.address)
        task = stopped_task(lost.all_processes["raylet"][0].process.pid)
        cluster.remove_node(lost, allow_graceful=False)
        os.kill(task, signal.SIGKILL)  # stopped as it is, it does not notice that its node is gone
        errors = errors_of(process, 180)
    assert process.returncode == 0, errors
    assert "lost its worker or node" in errors
    assert_undisturbed(tmp_path / "zoo", expected)
    TALLY["Ray: lost node"].update(tried=1, survived=1, **{"shards begun again": errors.count("is begun again")})


OLDER = "import rnn_zoos; rnn_zoos.__version__ = '0.0.1'"
NO_COMPILER = "import sys; sys.modules['rnn_zoos.generation.trainers.native._native'] = None"
NOT_INSTALLED = "import sys; sys.modules['rnn_zoos'] = None"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (OLDER, r"rnn-zoos 0\.0\.1 there, .* here"),
        pytest.param(NO_COMPILER, "Backend 'native' was not built", marks=pytest.mark.long),
        pytest.param(NOT_INSTALLED, "rnn-zoos is not installed there", marks=pytest.mark.long),
    ],
)
def test_a_node_that_cannot_make_this_zoo_is_named(change, fault, tiny_preset, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(change)
    plan = make_plan("formal-languages", tiny_preset(), backend="native")
    with loopback_nodes(1) as cluster:
        cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(tmp_path)})
        with pytest.raises(ClusterError, match=rf"cannot make this zoo with backend native:\n  node \w+: {fault}"):
            generate(plan, tmp_path / "zoo", RayEngine(cluster.address))
    assert not (tmp_path / "zoo" / "zoo.json").exists()


def test_a_cluster_without_gpus_is_said_to_one_who_asks_for_triton(two_nodes, tiny_preset, tmp_path):
    with pytest.raises(ClusterError, match="no node has a GPU, which triton needs"):
        generate(make_plan("formal-languages", tiny_preset(), backend="triton"), tmp_path, RayEngine(two_nodes))


def test_a_cluster_out_of_reach_is_said(tiny_preset, tmp_path):
    with pytest.raises(ClusterError, match=r"The Ray cluster at '127.0.0.1:1' could not be joined.*Expected HOST:PORT"):
        generate(make_plan("formal-languages", tiny_preset()), tmp_path / "zoo", RayEngine("127.0.0.1:1"))


def test_a_cluster_that_wants_another_token_is_said(tiny_preset, tmp_path, monkeypatch):
    """Within seconds: Ray itself would try for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    secret = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64, "RAY_TMPDIR": "/tmp"}
    options = "--num-cpus=1 --include-dashboard=false --disable-usage-stats --block"
    head = [*ray, *f"start --head --port {port} {options}".split()]
    process = subprocess.Popen(head, env=secret, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    check = [*ray, "health-check", "--address", f"127.0.0.1:{port}"]
    try:
        wait_for(lambda: subprocess.run(check, env=secret, capture_output=True).returncode == 0)
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        with pytest.raises(ClusterError, match="InvalidAuthToken.*RAY_AUTH_TOKEN if it asks for a token"):
            generate(make_plan("formal-languages", tiny_preset()), tmp_path / "zoo", RayEngine(f"127.0.0.1:{port}"))
    finally:
        process.terminate()
        process.wait()


def test_without_ray_the_extra_is_named(tmp_path):
    script = "import sys; sys.modules['ray'] = None; from rnn_zoos.cli.app import main; main()"
    command = ["generate", "formal-languages", "--preset", "demo", "--out", str(tmp_path / "zoo"), "--engine", "ray"]
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True)
    assert done.returncode == 1 and "pip install 'rnn-zoos[ray]'" in done.stderr and "Traceback" not in done.stderr
