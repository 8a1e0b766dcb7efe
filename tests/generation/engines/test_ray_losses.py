"""Tasks of Ray that hang, runs that are lost before they are evaluated, and clusters that are not there yet."""

import time
from pathlib import Path

import pytest
from conftest import contents, generate_in_process
from faults import assert_same_zoo

from rnn_zoos.errors import ClusterError, WorkerError

pytest.importorskip("ray")

import ray

from rnn_zoos.generation.engines import ray_cluster, ray_scheduler
from rnn_zoos.generation.engines.engine import generate
from rnn_zoos.generation.engines.progress import Progress
from rnn_zoos.generation.engines.ray_cluster import loopback_nodes
from rnn_zoos.generation.engines.ray_engine import RayEngine
from rnn_zoos.generation.engines.ray_tasks import train_runs_task
from rnn_zoos.generation.plan import make_plan
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.processes import MAX_ATTEMPTS

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")]


def hanging(function, flag: Path, times: int):
    """The function of a task, which hangs the first `times` that it is called for run 0, of the shard test-00000."""

    def stuck(plan, work, *arguments):
        shards = [run.run for runs in work for run in runs] if isinstance(work, list) else work.run_numbers
        hung = flag.stat().st_size if flag.exists() else 0
        if 0 in shards and hung < times:
            flag.write_bytes(bytes(hung + 1))
            time.sleep(1000)
        return function(plan, work, *arguments)

    stuck.__name__ = function.__name__
    return stuck


@pytest.mark.long
@pytest.mark.parametrize("name", ["make_shard_task", "train_runs_task"])
def test_a_task_that_hangs_is_started_again(name, tiny_preset, tmp_path, monkeypatch, capsys):
    """Also if it hangs before it has imported anything; the other tasks work meanwhile."""
    times = MAX_ATTEMPTS - 1
    stuck = hanging(getattr(ray_scheduler, name), tmp_path / "hung", times)
    monkeypatch.setattr(ray_scheduler, name, stuck)
    plan = make_plan("formal-languages", tiny_preset(), backend="stacked")
    generate_in_process(tmp_path / "alone", plan)
    with loopback_nodes(2, num_gpus=int(name == "train_runs_task")) as cluster:
        generate(plan, tmp_path / "zoo", RayEngine(cluster.address, runs_at_once=3, silence_limit=20))
    assert capsys.readouterr().err.count("it sent no heartbeat for 20 seconds") == times
    assert_same_zoo(tmp_path / "zoo", contents(tmp_path / "alone"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("make_shard_task", r"The shard test-00000"),
        ("train_runs_task", r"The training of shard train-00000 and \d more"),
    ],
)
def test_a_task_that_always_hangs_stops_the_generation(name, what, tiny_preset, tmp_path, monkeypatch):
    """Shards that wait for runs that are never trained are not submitted, so they cannot be lost for ever."""
    monkeypatch.setattr(ray_scheduler, name, hanging(getattr(ray_scheduler, name), tmp_path / "hung", 10**6))
    plan = make_plan("formal-languages", tiny_preset(), backend="stacked")
    message = rf"{what} lost its worker {MAX_ATTEMPTS} times \(it sent no heartbeat for 12 seconds\)"
    with (
        loopback_nodes(2, num_gpus=int(name == "train_runs_task")) as cluster,
        pytest.raises(WorkerError, match=message),
    ):
        generate(plan, tmp_path / "zoo", RayEngine(cluster.address, runs_at_once=7, silence_limit=12))
    assert (tmp_path / "hung").stat().st_size == MAX_ATTEMPTS


@pytest.mark.long
def test_runs_that_are_lost_with_the_node_that_trained_them_are_trained_again(
    tiny_preset, tmp_path, monkeypatch, capsys
):
    """The node is lost when the first shard arrives; the only GPU is then on a node that joins."""
    plan = make_plan("formal-languages", tiny_preset(), backend="stacked")
    generate_in_process(tmp_path / "alone", plan)
    write = Workspace.write

    def train(*arguments):
        """Ray keeps results of less than 100 kB on the node of the driver, so they are made longer."""
        made, *packed = train_runs_task(*arguments)
        return [made, *(trained + bytes(200_000) for trained in packed)]

    monkeypatch.setattr(ray_scheduler, "train_runs_task", train)
    with loopback_nodes(0) as cluster:
        nodes = [cluster.add_node(num_cpus=1, num_gpus=1)]

        def write_and_lose(workspace, shard, computed):
            write(workspace, shard, computed)
            if len(nodes) == 1:
                cluster.remove_node(nodes[0], allow_graceful=False)
                nodes.append(cluster.add_node(num_cpus=1, num_gpus=1))

        monkeypatch.setattr(Workspace, "write", write_and_lose)
        generate(plan, tmp_path / "zoo", RayEngine(cluster.address, runs_at_once=7))
    errors = capsys.readouterr().err
    assert "lost its worker or node (Object" in errors, errors
    assert_same_zoo(tmp_path / "zoo", contents(tmp_path / "alone"))


@pytest.mark.long
def test_a_cluster_without_nodes_is_given_time_to_start_them(zoo, tiny_preset, tmp_path, monkeypatch):
    """The node joins when it is asked for, as one of an autoscaler does."""
    plan, lines = make_plan("formal-languages", tiny_preset()), []
    with loopback_nodes(0) as cluster:
        monkeypatch.setattr(Progress, "print_line", lambda self, line: lines.append(line))
        with pytest.raises(ClusterError, match="no node has a core: start nodes with `ray start --num-cpus=N`"):
            generate(plan, tmp_path / "refused", RayEngine(cluster.address, nodes_limit=1.5))
        monkeypatch.setattr(Progress, "print_line", lambda self, line: lines.append(cluster.add_node(num_cpus=2)))
        generate(plan, tmp_path / "zoo", RayEngine(cluster.address))
    assert lines[0].startswith("No node has a core yet: waiting up to 1.5 seconds for one.") and len(lines) == 2
    assert_same_zoo(tmp_path / "zoo", contents(zoo("formal-languages")))


def test_a_cluster_that_does_not_answer_is_reported(tiny_preset, tmp_path, monkeypatch):
    def silent(self):
        time.sleep(1000)

    monkeypatch.setattr(ray_cluster, "_ANSWER_TIMEOUT", 3.0)
    monkeypatch.setattr(
        ray_scheduler,
        "start_heartbeats",
        lambda: ray.remote(type("Silent", (), {"take": silent, "add": silent})).options(num_cpus=0).remote(),
    )
    message = "The heartbeats of the tasks did not arrive from the Ray cluster within 3 seconds.*See with `ray status`"
    with pytest.raises(ClusterError, match=message):
        generate(make_plan("formal-languages", tiny_preset()), tmp_path / "zoo", RayEngine(workers=1))
