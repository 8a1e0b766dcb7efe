"""Zoos made by Ray have the same bytes as others, on one node or several, whatever is lost while they are made."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import contents, generate_in_process
from faults import (
    PRESET,
    TALLY,
    assert_nothing_runs,
    assert_same_zoo,
    command_line,
    descendants,
    finished_shards,
    generate_command,
    resume_and_compare,
    start_generation,
    stderr_of,
    wait_for,
)

from rnn_zoos.errors import ClusterError, PlanMismatchError, StorageError
from rnn_zoos.format.check import check_zoo

pytest.importorskip("ray")

from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.engines.ray_cluster import loopback_nodes
from rnn_zoos.generation.engines.ray_engine import RayEngine
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.writing.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")]


@pytest.fixture
def two_nodes():
    """A new cluster for every test: two in one process disturb each other."""
    with loopback_nodes(2) as cluster:
        yield cluster.address


@pytest.mark.parametrize("name", ["formal-languages", pytest.param("sequential-mnist", marks=pytest.mark.long)])
def test_two_nodes_give_the_same_bytes_and_extend_a_zoo(name, zoo, tiny_preset, two_nodes, tmp_path):
    generate(make_plan(name, tiny_preset(), runs=4), tmp_path / "zoo", RayEngine(two_nodes))
    generate(make_plan(name, tiny_preset()), tmp_path / "zoo", RayEngine(two_nodes))
    assert_same_zoo(tmp_path / "zoo", contents(zoo(name)))
    made, alone = (read_manifest(path).made for path in (tmp_path / "zoo", zoo(name)))
    assert {**made, "seconds": 0} == {**alone, "seconds": 0}, "both were made with the same versions"


@pytest.mark.long
@pytest.mark.parametrize("backend", ["native", "stacked"])
def test_two_nodes_give_the_bytes_of_a_zoo_of_several_architectures(backend, tiny_preset, two_nodes, tmp_path):
    one = "cell: lstm\n  num_layers: 2\n  hidden_size: 7"
    sizes = "[{cell: gru, num_layers: 1, hidden_size: 5}, {cell: rnn, num_layers: 2, hidden_size: 3, weight: 2}]"
    preset = tmp_path / "mixed.yaml"
    preset.write_text(Path(tiny_preset()).read_text().replace(one, f"architectures: {sizes}", 1))
    short, whole = (make_plan("formal-languages", str(preset), runs=runs, backend=backend) for runs in (2, 6))
    generate_in_process(tmp_path / "alone", whole)
    assert len(read_manifest(tmp_path / "alone").architectures) == 2
    for plan in (short, whole):
        generate(plan, tmp_path / "zoo", RayEngine(two_nodes))
    assert_same_zoo(tmp_path / "zoo", contents(tmp_path / "alone"))


@pytest.mark.long
@pytest.mark.parametrize("name", ["formal-languages", "sequential-mnist"])
def test_workers_write_to_a_store_which_then_holds_the_whole_zoo(name, zoo, tiny_preset, two_nodes, tmp_path):
    store, out, plan = Store(f"file://{tmp_path}/store"), tmp_path / "out", make_plan(name, tiny_preset())
    manifest = generate(plan, out, RayEngine(two_nodes, store=store))
    assert contents(tmp_path / "store") == contents(zoo(name)) and check_zoo(tmp_path / "store") == []
    assert not (out / "shards").exists() and manifest.made["store"] == store.url
    assert generate(plan, out, RayEngine(two_nodes, store=store)) == manifest, "nothing is left to do"
    with pytest.raises(PlanMismatchError, match="store: file:///.*/store in the directory, None requested"):
        generate(plan, out)
    with pytest.raises(PlanMismatchError, match="a zoo in a store cannot grow"):
        generate(make_plan(name, tiny_preset(), runs=9), out, RayEngine(two_nodes, store=store))


@pytest.mark.long
def test_a_file_that_is_lost_from_a_store_is_made_again(zoo, tiny_preset, two_nodes, tmp_path):
    """Both in an unfinished zoo and in a finished one."""
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
def test_a_store_that_cannot_be_written_is_reported_before_anything_is_trained(url, why, tiny_preset, tmp_path):
    with pytest.raises(StorageError, match=rf"{url}.* could not be reached or written: .*({why}).*Give --store a URL"):
        generate(make_plan("formal-languages", tiny_preset()), tmp_path / "out", RayEngine(store=Store(url)))


@pytest.mark.long
def test_nodes_with_gpus_train_the_runs_of_several_shards_together(tiny_preset, tmp_path):
    """The GPUs are only declared: tasks that hold one train on the CPU."""
    plan = make_plan("formal-languages", tiny_preset(), backend="stacked")
    generate_in_process(tmp_path / "alone", plan)
    with loopback_nodes(2, num_gpus=1) as cluster:
        first = make_plan("formal-languages", tiny_preset(), runs=4, backend="stacked")
        generate(first, tmp_path / "zoo", RayEngine(cluster.address, runs_at_once=3))
        generate(plan, tmp_path / "zoo", RayEngine(cluster.address, runs_at_once=3))
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
    """The descendants of a process to which Ray has given this name."""
    return [child for child in descendants(pid) if command_line(child).startswith(name)]


def tasks_of(pid: int) -> list[int]:
    """The processes in which shards are being made."""
    return processes_of(pid, "ray::make_shard_task")


def stopped_task(pid: int) -> int:
    """Stop a process while it makes a shard, and return its id."""
    return wait_for(lambda: next(filter(stopped_at_work, tasks_of(pid)), None), 90)


def stopped_at_work(task: int) -> bool:
    """Stop a process, and return whether it is making a shard; if it has just finished one, let it continue."""
    os.kill(task, signal.SIGSTOP)
    wait_for(lambda: "\nState:\tT" in Path(f"/proc/{task}/status").read_text())
    at_work = command_line(task).startswith("ray::make_shard_task")
    if not at_work:
        os.kill(task, signal.SIGCONT)
    return at_work


@contextmanager
def running(preset: Path, out: Path, *options: str):
    """A generation with its own Ray that has started its first shards."""
    process = start_generation(preset, out, "--engine", "ray", *options)
    try:
        wait_for(lambda: process.poll() is not None or len(tasks_of(process.pid)) == 2, 90)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.long
def test_kill_9_of_the_driver_leaves_no_process_running(preset, expected, tmp_path):
    with running(preset, tmp_path / "zoo") as process:
        wait_for(lambda: finished_shards(tmp_path / "zoo"))
        family = descendants(process.pid)
        process.kill()
        process.communicate()
    assert_nothing_runs(family, 120)  # agents of Ray check once a minute whether their head node exists
    TALLY["Ray: kill -9 of the driver"]["tried"] += 1
    resume_and_compare("Ray: kill -9 of the driver", preset, tmp_path / "zoo", expected)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (signal.SIGKILL, "lost its worker or node"),
        pytest.param(signal.SIGSTOP, "it sent no heartbeat for 10 seconds", marks=pytest.mark.long),
    ],
)
def test_a_worker_that_is_killed_or_hangs_is_reported_and_its_shard_is_started_again(
    how, message, preset, expected, tmp_path
):
    """The actor that gathers the heartbeats is killed, too."""
    with running(preset, tmp_path / "zoo", "--timeout", "10") as process:
        family = descendants(process.pid)
        os.kill(stopped_task(process.pid), how)
        for gatherer in processes_of(process.pid, "ray::Heartbeats"):
            os.kill(gatherer, signal.SIGKILL)
        errors = stderr_of(process)
    assert process.returncode == 0 and message in errors, errors
    assert_nothing_runs(family)
    assert_same_zoo(tmp_path / "zoo", expected)
    TALLY[f"Ray: worker, {how.name}"].update(tried=1, survived=1)


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_stop_all_processes(how, preset, expected, tmp_path):
    with running(preset, tmp_path / "zoo") as process:
        family = descendants(process.pid)
        os.kill(process.pid, how)
        errors = stderr_of(process, 60)
    TALLY[f"Ray: {how.name}"]["tried"] += 1
    assert process.returncode == 130 and "run the same command again to resume" in errors, errors
    assert "Traceback" not in errors
    assert_nothing_runs(family)
    resume_and_compare(f"Ray: {how.name}", preset, tmp_path / "zoo", expected, "--engine", "ray")


def test_the_shards_of_a_lost_node_are_made_by_another(preset, expected, tmp_path):
    with loopback_nodes(1) as cluster:
        lost = cluster.add_node(num_cpus=1)
        process = start_generation(preset, tmp_path / "zoo", "--engine", "ray", "--address", cluster.address)
        task = stopped_task(lost.all_processes["raylet"][0].process.pid)
        cluster.remove_node(lost, allow_graceful=False)
        os.kill(task, signal.SIGKILL)  # being stopped, it does not notice that its node is gone
        errors = stderr_of(process, 180)
    assert process.returncode == 0, errors
    assert "lost its worker or node" in errors
    assert_same_zoo(tmp_path / "zoo", expected)
    TALLY["Ray: lost node"].update(tried=1, survived=1, **{"shards begun again": errors.count("is started again")})


OLDER = "import rnn_zoos; rnn_zoos.__version__ = '0.0.1'"
NO_COMPILER = "import sys; sys.modules['rnn_zoos.generation.trainers.native._native'] = None"
NOT_INSTALLED = "import sys; sys.modules['rnn_zoos'] = None"


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (OLDER, r"rnn-zoos 0\.0\.1 on the node, .* here"),
        pytest.param(NO_COMPILER, "Backend 'native' was not built", marks=pytest.mark.long),
        pytest.param(NOT_INSTALLED, "rnn-zoos is not installed there", marks=pytest.mark.long),
    ],
)
def test_a_node_that_cannot_make_the_zoo_is_reported(change, fault, tiny_preset, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(change)
    plan = make_plan("formal-languages", tiny_preset(), backend="native")
    with loopback_nodes(1) as cluster:
        cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(tmp_path)})
        with pytest.raises(ClusterError, match=rf"cannot make this zoo with backend native:\n  node \w+: {fault}"):
            generate(plan, tmp_path / "zoo", RayEngine(cluster.address))
    assert not (tmp_path / "zoo" / "zoo.json").exists()


def test_triton_on_a_cluster_without_gpus_is_refused(two_nodes, tiny_preset, tmp_path):
    with pytest.raises(ClusterError, match="no node has a GPU, which triton needs"):
        plan = make_plan("formal-languages", tiny_preset(), backend="triton")
        generate(plan, tmp_path, RayEngine(two_nodes, nodes_limit=1))


def test_a_cluster_out_of_reach_is_reported(tiny_preset, tmp_path):
    with pytest.raises(ClusterError, match=r"The Ray cluster at '127.0.0.1:1' could not be joined.*Expected HOST:PORT"):
        generate(make_plan("formal-languages", tiny_preset()), tmp_path / "zoo", RayEngine("127.0.0.1:1"))


def test_a_cluster_that_requires_another_token_is_reported_within_seconds(tiny_preset, tmp_path, monkeypatch):
    """Ray itself would try for minutes."""
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
        with pytest.raises(
            ClusterError, match="InvalidAuthToken.*If it requires a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
        ):
            generate(make_plan("formal-languages", tiny_preset()), tmp_path / "zoo", RayEngine(f"127.0.0.1:{port}"))
    finally:
        process.terminate()
        process.wait()


def test_without_ray_the_missing_extra_is_reported(tmp_path):
    script = "import sys; sys.modules['ray'] = None; from rnn_zoos.cli.app import main; main()"
    command = ["generate", "formal-languages", "--preset", "demo", "--out", str(tmp_path / "zoo"), "--engine", "ray"]
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True)
    assert done.returncode == 1 and "pip install 'rnn-zoos[ray]'" in done.stderr and "Traceback" not in done.stderr
