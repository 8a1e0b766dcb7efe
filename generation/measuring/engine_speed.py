"""The overhead of Ray: the same zoo made by different engines. `rnn-zoos speed engines`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any

from rnn_zoos.errors import WorkerError
from rnn_zoos.generation.engines.engine import Engine
from rnn_zoos.generation.engines.local import LocalEngine
from rnn_zoos.generation.engines.progress import Progress
from rnn_zoos.generation.engines.ray_cluster import loopback_nodes
from rnn_zoos.generation.engines.ray_engine import RayEngine
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.writing.directory import locked
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.workspace import Workspace
from rnn_zoos.processes import available_cores

_ONE_NODE, _TWO_NODES = "ray, one node of one core", "ray, two nodes of one core"
_BASELINES: Mapping[str, str] = MappingProxyType(
    {"local": "local", "ray": "local", _ONE_NODE: _ONE_NODE, _TWO_NODES: _ONE_NODE}
)
"""Engine -> the engine that it is compared with."""


def measure_engines(updates: int, repeats: int, backend: str) -> list[dict[str, Any]]:
    """Return the updates/s of every engine, medians over `repeats` rounds, and ratios to baselines.

    In every round each engine makes a zoo of LSTMs of the paper's size. The time from the first reported update to the
    last written shard counts.
    """
    plan = _plan(updates, backend)
    rates: dict[str, list[float]] = {engine: [] for engine in _BASELINES}
    for _ in range(repeats):
        for engine in _BASELINES:
            rates[engine].append(_rate(plan, engine))
    medians = {engine: median(values) for engine, values in rates.items()}
    return [
        {
            "engine": engine,
            "updates/s": medians[engine],
            "lowest": min(rates[engine]),
            "highest": max(rates[engine]),
            "of": baseline,
            "ratio": medians[engine] / medians[baseline],
        }
        for engine, baseline in _BASELINES.items()
    ]


def _plan(updates: int, backend: str) -> Plan:
    plan = make_plan("formal-languages", "small", runs=16 * available_cores(), backend=backend)
    changes = {"runs_per_shard": 1, "snapshots": (0, updates), "evaluation": {"strings": 50, "rollouts": 4}}
    return Plan(plan.zoo, plan.preset, plan.settings.model_copy(update=changes), backend, plan.mnist)


def _rate(plan: Plan, engine: str) -> float:
    """Return the updates/s of an engine, on a cluster that is started for it where it needs one."""
    num_nodes = {_ONE_NODE: 1, _TWO_NODES: 2}.get(engine)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "zoo"
        if num_nodes is None:
            return _rate_of_engine(LocalEngine() if engine == "local" else RayEngine(), plan, directory)
        with loopback_nodes(num_nodes) as cluster:
            return _rate_of_engine(RayEngine(cluster.address), plan, directory)


def _rate_of_engine(engine: Engine, plan: Plan, directory: Path) -> float:
    workspace = Workspace(directory, plan)
    with locked(directory):
        pending = workspace.begin_or_resume() or []
        progress = _RateRecorder(plan.settings.runs, 0, plan.settings.runs * plan.settings.num_updates)
        with progress:
            engine.make(workspace, pending, progress)
        finish(workspace)
    if not progress.last_rate:
        raise WorkerError("There was too little to measure: give more --updates.")
    return progress.last_rate


class _RateRecorder(Progress):
    """Remembers the rate at the moment when the last shard was written: stopping an engine must not count."""

    last_rate = 0.0

    def finished(self, runs: int) -> None:
        super().finished(runs)
        self.last_rate = self.rate
