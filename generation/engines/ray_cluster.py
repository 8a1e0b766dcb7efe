"""Ray clusters: starting one here or joining one, and checking that its nodes can make a zoo."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray.cluster_utils import Cluster
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rnn_zoos.errors import ClusterError
from rnn_zoos.generation.trainers.backends import GPU_BACKENDS
from rnn_zoos.generation.writing.provenance import provenance

_REQUIRED_VERSIONS = ("rnn-zoos", "torch", "numpy")  # they must be the same on all nodes
_NODE_TIMEOUT = 120.0  # seconds for a node's first answer: it imports torch
_HEAD_TIMEOUT = 20.0  # seconds for the head node to accept a connection, and to answer
_ANSWER_TIMEOUT = 120.0  # seconds for a result to arrive that exists
_OBJECT_STORE_BYTES = 1 << 30  # of a local Ray, for finished shards that are not written yet


@contextmanager
def connected(address: str | None, cores: int | None) -> Iterator[None]:
    """Join the cluster at an address, or start Ray on this machine with `cores`, None for all; leave or stop it after.

    Raises ClusterError if the cluster is out of reach or has another version, if this process already belongs to a
    cluster, or if the whole cluster fails later.
    """
    before = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a library must not report on its users
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    local = {"num_cpus": cores, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        _check_reachable(address)
        ray.init(**quiet, **({"address": address} if address else {"address": "local", **local}))
    except (ConnectionError, RuntimeError, ValueError, OSError, RayError) as error:
        problem = f"The Ray cluster at {address!r} could not be joined" if address else "Ray could not be started here"
        raise ClusterError(
            f"{problem}: {str(error).splitlines()[0]} Expected HOST:PORT of a head node (`ray start --head` prints it) "
            "that is reachable from here and has the same versions of Python and Ray. If it requires a token, set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN. `ray status --address HOST:PORT` tests the connection. Without a "
            "cluster, leave --address out, or use --engine local."
        ) from error
    try:
        signal.signal(signal.SIGTERM, before)  # Ray installs its own handler
        yield
    except RayError as error:
        raise ClusterError(
            f"The Ray cluster failed: {str(error).splitlines()[0]} Finished shards are kept; run the same command "
            "again."
        ) from error
    finally:
        ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Raise OSError if no head node accepts us at HOST:PORT. Ray itself would try for minutes and ignore Ctrl-C."""
    host, _, port = (address or "").rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return
    socket.create_connection((host, int(port)), timeout=_HEAD_TIMEOUT).close()
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", f"{host}:{port}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_HEAD_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"it did not answer as a head node of Ray within {_HEAD_TIMEOUT:g} seconds") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise OSError(next((line for line in lines if "AuthToken" in line), lines[-1]))


@contextmanager
def loopback_nodes(count: int, **options: Any) -> Iterator[Cluster]:  # noqa: ANN401 - Ray's own
    """Start a cluster of `count` nodes with one core each, and a head node without cores, on this machine.

    For tests and measurements. `options` are Ray's, for every node; num_gpus=1 declares a GPU that need not exist.
    """
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=1, object_store_memory=_OBJECT_STORE_BYTES // 4, **options)
        yield cluster
    finally:
        cluster.shutdown()


def alive_nodes() -> dict[str, Mapping[str, float]]:
    """Return the resources of every node of the cluster: node id -> name -> amount."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def has_gpus() -> bool:
    """Return whether a node of the cluster has a GPU."""
    return any(resources.get("GPU", 0) >= 1 for resources in alive_nodes().values())


def fetch(reference: Any, what: str) -> Any:  # noqa: ANN401 - Ray's ObjectRef carries no type here
    """Return the result of a call that has ended, or takes no time. Raises ClusterError if it does not arrive."""
    try:
        return ray.get(reference, timeout=_ANSWER_TIMEOUT)
    except GetTimeoutError:
        raise ClusterError(
            f"{what} did not arrive from the Ray cluster within {_ANSWER_TIMEOUT:g} seconds. Finished shards are kept. "
            "See with `ray status` whether the cluster works, check the network and the load of this machine, and run "
            "the same command again."
        ) from None


def wait_for_nodes(backend: str, seconds: float, notify: Callable[[str], None]) -> None:
    """Wait up to `seconds` for the first node with a core, and for triton with a GPU; an autoscaler starts one.

    `notify` is called with a line for the user if there is none yet.
    """
    needs_gpu = backend == "triton"

    def is_ready() -> bool:
        return any(node.get("CPU", 0) >= 1 and node.get("GPU", 0) >= needs_gpu for node in alive_nodes().values())

    if is_ready():
        return
    notify(
        f"No node has a {'core and a GPU' if needs_gpu else 'core'} yet: waiting up to {seconds:g} seconds for one. An "
        "autoscaler was asked to start it; otherwise start one with `ray start --num-cpus=N --num-gpus=N`."
    )
    # A task that waits for a node is a request to the autoscaler, and ends with this process.
    request = ray.remote(lambda: None).options(num_cpus=1, num_gpus=int(needs_gpu), max_retries=0).remote()
    deadline = time.monotonic() + seconds
    while not is_ready() and time.monotonic() < deadline:
        time.sleep(min(1.0, seconds))
    ray.cancel(request, force=True)


def check_nodes(backend: str, notify: Callable[[str], None]) -> None:
    """Check that every node with cores can make a zoo with a backend, and has the versions of this process.

    Raises ClusterError with all problems. If the instruction sets of nodes differ, so that equal runs are equal only up
    to rounding, `notify` is called with a line for the user.
    """
    here = provenance(backend)
    with_cores = {node: resources for node, resources in alive_nodes().items() if resources.get("CPU", 0) >= 1}
    answers = _ask_nodes(with_cores, backend)
    problems = [f"  {name}: {problem}" for name, answer in answers.items() for problem in _problems(answer, here)]
    if not answers:
        problems = ["  no node has a core: start nodes with `ray start --num-cpus=N`"]
    if backend == "triton" and not has_gpus():
        problems.append("  no node has a GPU, which triton needs: start nodes with `ray start --num-gpus=N`")
    if problems:
        raise ClusterError(
            f"The cluster cannot make this zoo with backend {backend}:\n"
            + "\n".join(problems)
            + "\nInstall the same versions on every node (pip install 'rnn-zoos[ray]' -c constraints.txt), or choose "
            "another --backend. Nothing was changed."
        )
    instruction_sets = {str(answer["versions"].get("instruction set", "")) for answer in answers.values()}
    if len(instruction_sets) > 1:
        notify(f"Nodes have the instruction sets {' and '.join(sorted(instruction_sets))}: runs differ by rounding.")


def check_provenance(made: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise ClusterError if a shard comes from a node with other versions, which may have joined the cluster later."""
    problems = list(_problems(made, here))
    if problems:
        raise ClusterError(f"A shard comes from a node with other versions: {'; '.join(problems)}. It was not kept.")


def _problems(answer: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a node with this answer cannot be used."""
    if "error" in answer:
        yield answer["error"]
        return
    for name in _REQUIRED_VERSIONS:
        if answer["versions"][name] != here["versions"][name]:
            yield f"{name} {answer['versions'][name]} on the node, {here['versions'][name]} here"


def _ask_nodes(nodes: Mapping[str, Mapping[str, float]], backend: str) -> dict[str, dict[str, Any]]:
    """Return the answer of every node: its provenance, or an error."""

    def answer(backend: str, check_trainer: bool) -> dict[str, Any]:
        """Run on the node. As a local function it is sent by value, so that it arrives where rnn-zoos is missing."""
        try:
            from rnn_zoos.errors import ZooError
            from rnn_zoos.generation.trainers.backends import make_trainer
            from rnn_zoos.generation.writing.provenance import provenance
        except ImportError as error:
            return {"error": f"rnn-zoos is not installed there ({error})"}
        try:
            if check_trainer:
                make_trainer(backend)
        except ZooError as error:
            return {"error": str(error)}
        return provenance(backend)

    references = {}
    for node, resources in nodes.items():
        gpus = min(1, int(resources.get("GPU", 0))) if backend in GPU_BACKENDS else 0
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        task = ray.remote(answer).options(num_cpus=1, num_gpus=gpus, max_retries=0, scheduling_strategy=place)
        references[f"node {node[:8]}"] = task.remote(backend, gpus > 0 or backend not in GPU_BACKENDS)
    answered: list[Any] = []
    if references:
        waiting = list(references.values())
        answered, _ = ray.wait(waiting, num_returns=len(waiting), timeout=_NODE_TIMEOUT)
    return {name: _answer(reference, reference in answered) for name, reference in references.items()}


def _answer(reference: Any, answered: bool) -> dict[str, Any]:  # noqa: ANN401 - Ray's ObjectRef carries no type here
    if not answered:
        return {"error": f"no answer within {_NODE_TIMEOUT:g} seconds: its cores are busy, or it hangs"}
    try:
        answer: dict[str, Any] = fetch(reference, "The answer of a node")
    except RayError as error:
        return {"error": str(error).strip().splitlines()[-1]}
    return answer
