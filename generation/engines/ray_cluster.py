"""A Ray cluster: started here or joined, and whether its nodes can make a zoo."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray.cluster_utils import Cluster
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rnn_zoos.errors import ClusterError
from rnn_zoos.generation.writing.records import making

_EQUAL = ("rnn-zoos", "torch", "numpy")  # versions that every node has to share with this one
_ANSWER = 120.0  # seconds that a node has for its first answer: it imports torch
_REACHABLE = 20.0  # seconds that a head node has to take a connection, and to answer
_OBJECTS = 1 << 30  # bytes of a local Ray's memory for finished shards on their way


@contextmanager
def connected(address: str | None, cores: int | None) -> Iterator[None]:
    """Start a Ray on this machine, with as many cores, or join the cluster at an address; leave it, or stop it.

    Raises ClusterError if the cluster is out of reach or of another version, if this process is in one already, and
    later if the whole cluster fails.
    """
    before = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a library does not report on its users
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    local = {"num_cpus": cores, "include_dashboard": False, "object_store_memory": _OBJECTS}
    try:
        _check_reachable(address)
        ray.init(**quiet, **({"address": address} if address else {"address": "local", **local}))
    except (ConnectionError, RuntimeError, ValueError, OSError, RayError) as error:
        what = f"The Ray cluster at {address!r} could not be joined" if address else "Ray could not be started here"
        raise ClusterError(
            f"{what}: {str(error).splitlines()[0]} Expected HOST:PORT of the head node (`ray start --head` prints it), "
            "reachable from here, with the same versions of Python and Ray, and with RAY_AUTH_MODE=token and its "
            "RAY_AUTH_TOKEN if it asks for a token; `ray status --address HOST:PORT` tries it. Without a cluster, "
            "leave --address out, or use --engine local."
        ) from error
    try:
        signal.signal(signal.SIGTERM, before)  # Ray has its own
        yield
    except RayError as error:
        raise ClusterError(
            f"The Ray cluster failed: {str(error).splitlines()[0]} Finished shards are kept; run the same command "
            "again."
        ) from error
    finally:
        ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Raise OSError if nobody answers at HOST:PORT, or not to us: Ray itself tries for minutes, deaf to Ctrl-C."""
    host, _, port = (address or "").rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return
    socket.create_connection((host, int(port)), timeout=_REACHABLE).close()
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", f"{host}:{port}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_REACHABLE, check=False)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"it does not answer as a head node of Ray within {_REACHABLE:g} seconds") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise OSError(next((line for line in lines if "AuthToken" in line), lines[-1]))


@contextmanager
def loopback_nodes(count: int, **options: Any) -> Iterator[Cluster]:  # noqa: ANN401 - Ray's own
    """Give a cluster of `count` nodes of one core on this machine, beside a head without any: it has an `address`.

    For tests and measurements. `options` are Ray's, for every node; num_gpus=1 is declared, not looked for.
    """
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=1, object_store_memory=_OBJECTS // 4, **options)
        yield cluster
    finally:
        cluster.shutdown()


def alive_nodes() -> dict[str, Mapping[str, float]]:
    """Return the resources of every node of the cluster: node id -> name -> amount."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def check_nodes(backend: str, say: Callable[[str], None]) -> None:
    """Ask every node that has cores what it would make a zoo with.

    Raises ClusterError, with all that is wrong, if a node lacks rnn-zoos or the backend, or has other versions. Says
    so if their instruction sets differ: then equal runs are equal only up to rounding.
    """
    here = making(backend)
    answers = _ask({node: cores for node, cores in alive_nodes().items() if cores.get("CPU", 0) >= 1}, backend)
    wrong = [f"  {name}: {fault}" for name, answer in answers.items() for fault in _faults(answer, here)]
    if not answers:
        wrong = ["  no node has a core: start them with `ray start --num-cpus=N`"]
    if backend == "triton" and not any(node.get("GPU", 0) >= 1 for node in alive_nodes().values()):
        wrong.append("  no node has a GPU, which triton needs: start some with `ray start --num-gpus=N`")
    if wrong:
        raise ClusterError(
            f"The cluster cannot make this zoo with backend {backend}:\n"
            + "\n".join(wrong)
            + "\nInstall the same versions on every node (pip install 'rnn-zoos[ray]' -c constraints.txt), or give "
            "another --backend. Nothing was changed."
        )
    kinds = {str(answer["versions"].get("instruction set", "")) for answer in answers.values()}
    if len(kinds) > 1:
        say(f"Nodes compute with {' and '.join(sorted(kinds))}: runs are what one of them gives, up to rounding.")


def check_made(made: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise ClusterError if a shard comes from a node with other versions, which may have joined later."""
    faults = list(_faults(made, here))
    if faults:
        raise ClusterError(f"A shard came from a node of other versions: {'; '.join(faults)}. It was not kept.")


def _faults(answer: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    if "error" in answer:
        yield answer["error"]
        return
    for name in _EQUAL:
        if answer["versions"][name] != here["versions"][name]:
            yield f"{name} {answer['versions'][name]} there, {here['versions'][name]} here"


def _ask(nodes: Mapping[str, Mapping[str, float]], backend: str) -> dict[str, dict[str, Any]]:
    def answer(backend: str, on_gpu: bool) -> dict[str, Any]:
        """Run on the node; being a local function, it is sent whole and needs nothing of rnn-zoos to arrive."""
        try:
            from rnn_zoos.errors import ZooError
            from rnn_zoos.generation.trainers.backends import make_trainer
            from rnn_zoos.generation.writing.records import making
        except ImportError as error:
            return {"error": f"rnn-zoos is not installed there ({error})"}
        try:
            if on_gpu or backend not in ("triton", "stacked"):
                make_trainer(backend)
        except ZooError as error:
            return {"error": str(error)}
        return making(backend)

    asked = {}
    for node, resources in nodes.items():
        gpus = min(1, int(resources.get("GPU", 0))) if backend in ("triton", "stacked") else 0
        place = NodeAffinitySchedulingStrategy(node, soft=False)
        task = ray.remote(answer).options(num_cpus=1, num_gpus=gpus, max_retries=0, scheduling_strategy=place)
        asked[f"node {node[:8]}"] = task.remote(backend, gpus > 0)
    return {name: _answer(reference) for name, reference in asked.items()}


def _answer(reference: Any) -> dict[str, Any]:  # noqa: ANN401 - Ray's ObjectRef carries no type here
    try:
        answer: dict[str, Any] = ray.get(reference, timeout=_ANSWER)
    except GetTimeoutError:
        return {"error": f"no answer in {_ANSWER:g} seconds: its cores are taken by others, or it hangs"}
    except RayError as error:
        return {"error": str(error).strip().splitlines()[-1]}
    return answer
