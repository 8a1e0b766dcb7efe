"""How much Ray costs: the same zoo by the local engine, by a Ray of this machine, and by nodes of one core each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from rnn_zoos.errors import WorkerError
from rnn_zoos.generation.engines.engine import Engine
from rnn_zoos.generation.engines.local import LocalEngine
from rnn_zoos.generation.engines.progress import Progress
from rnn_zoos.generation.engines.ray_cluster import loopback_nodes
from rnn_zoos.generation.engines.ray_engine import RayEngine
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.writing.finishing import finish
from rnn_zoos.generation.writing.workspace import Workspace, locked
from rnn_zoos.processes import available_cores

WAYS: Mapping[str, Callable[[], tuple[Engine, int | None]]] = {
    "local": lambda: (LocalEngine(), None),
    "ray": lambda: (RayEngine(), None),
    "ray, one node of one core": lambda: (RayEngine(), 1),
    "ray, two nodes of one core": lambda: (RayEngine(), 2),
}
"""Name -> engine, and the number of nodes of a cluster that is started for it."""


def measure_engines(updates: int, repeats: int, backend: str) -> list[dict[str, Any]]:
    """Return updates/s of every way, medians over `repeats` rounds, and the ratios that matter.

    Every round makes a zoo of LSTMs of the paper's size in each way, in turn; the clock runs from the first reported
    update to the last shard written.
    """
    plan = _plan(updates, backend)
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            rates[way].append(_rate(plan, way))
    medians = {way: median(values) for way, values in rates.items()}
    base = {
        "ray": "local",
        "ray, one node of one core": "ray, one node of one core",
        "ray, two nodes of one core": "ray, one node of one core",
    }
    return [
        {
            "engine": way,
            "updates/s": medians[way],
            "lowest": min(rates[way]),
            "highest": max(rates[way]),
            "of": base.get(way, way),
            "ratio": medians[way] / medians[base.get(way, way)],
        }
        for way in WAYS
    ]


def _plan(updates: int, backend: str) -> Plan:
    plan = make_plan("formal-languages", "small", runs=16 * available_cores(), backend=backend)
    changes = {"runs_per_shard": 1, "snapshots": (0, updates), "evaluation": {"strings": 50, "rollouts": 4}}
    return Plan(plan.zoo, plan.preset, plan.settings.model_copy(update=changes), backend, plan.mnist)


def _rate(plan: Plan, way: str) -> float:
    engine, nodes = WAYS[way]()
    with tempfile.TemporaryDirectory() as folder:
        if nodes is None:
            return _made_at(engine, plan, Path(folder) / "zoo")
        with loopback_nodes(nodes) as cluster:
            return _made_at(RayEngine(cluster.address), plan, Path(folder) / "zoo")


def _made_at(engine: Engine, plan: Plan, directory: Path) -> float:
    workspace = Workspace(directory, plan)
    with locked(directory):
        pending = workspace.prepare() or []
        progress = _Watch(plan.settings.runs, 0, plan.settings.runs * plan.settings.num_updates)
        with progress:
            engine.make(workspace, pending, progress)
        finish(workspace)
    if not progress.last_rate:
        raise WorkerError("Nothing was measured: give more --updates.")
    return progress.last_rate


class _Watch(Progress):
    """Remembers the rate at which it stood when the last shard was written: stopping an engine is not its work."""

    last_rate = 0.0

    def finished(self, runs: int) -> None:
        super().finished(runs)
        self.last_rate = self.rate
