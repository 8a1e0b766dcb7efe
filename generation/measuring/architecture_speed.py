"""The speed of a trainer at many architectures, and of their mixture: `rnn-zoos speed architectures`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, get_args

from rnn_zoos.generation.measuring.trainer_speed import MeasurementPool, matmul_rate, trainer_rate
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.settings import Cell, NetworkSizes
from rnn_zoos.generation.trainers.backends import backend_details, make_trainer
from rnn_zoos.machine import describe_machine
from rnn_zoos.processes import available_cores

LAYERS, UNITS = (1, 2, 3), (16, 32, 64)


def measure_architectures(zoo: str, backend: str, updates: int, repeats: int) -> dict[str, Any]:
    """Return the machine and the speed of a trainer for every cell, 1 to 3 layers, and 16 to 64 units.

    `updates/s` is the sum over one process per core; `of matmul` the fraction of what float32 products of large square
    matrices reach in as many processes (`trainer_speed.measure_generation`). Both are medians. The last row is a zoo of
    all these architectures, a run of each: `of its parts` is its updates/s, as a fraction of what the runs would have
    if each took the time that it takes alone.

    Args:
        zoo: The task family.
        backend: The trainer.
        updates: Updates of a measurement.
        repeats: How often each is measured; the architectures take turns.
    """
    plans = {
        (architecture.cell, architecture.num_layers, architecture.hidden_size): _plan(
            zoo, backend, updates, [architecture]
        )
        for architecture in _all_sizes()
    }
    mixed = _plan(zoo, backend, updates, _all_sizes())
    rates: list[dict[Any, tuple[float, float]]] = []
    with MeasurementPool(available_cores()) as pool:
        for _ in range(repeats):
            measured = {}
            for key, plan in plans.items():
                matmul, rate = (pool.sum_over_processes(measure, plan) for measure in (matmul_rate, trainer_rate))
                measured[key] = rate, rate / matmul
            together = pool.sum_over_processes(_mixed_rate, mixed)
            expected = len(plans) / sum(1 / rate for rate, _ in measured.values())
            rates.append({**measured, "mixed": (together, together / expected)})
    rows = [_row(zoo, key, [repeat[key] for repeat in rates]) for key in plans]
    rate, share = (statistics.median(repeat["mixed"][place] for repeat in rates) for place in (0, 1))
    rows.append({"zoo": zoo, "network": "all, a run of each", "updates/s": rate, "of its parts": share})
    machine = {"cores": available_cores(), **backend_details(backend), **describe_machine()}
    return {"machine": machine, "backend": backend, "updates": updates, "repeats": repeats, "results": rows}


def _all_sizes() -> list[NetworkSizes]:
    return [
        NetworkSizes(cell=cell, num_layers=layers, hidden_size=units)
        for cell, layers, units in product(get_args(Cell), LAYERS, UNITS)
    ]


def _plan(zoo: str, backend: str, updates: int, sizes: Sequence[NetworkSizes]) -> Plan:
    """Return a plan with a run of each of some architectures."""
    plan = make_plan(zoo, "demo", runs=len(sizes), backend=backend)
    one = {"cell": sizes[0].cell, "num_layers": sizes[0].num_layers, "hidden_size": sizes[0].hidden_size}
    several = {"cell": None, "num_layers": None, "hidden_size": None, "architectures": tuple(sizes)}
    changes = {"snapshots": (updates,), **(one if len(sizes) == 1 else several)}
    return replace(plan, settings=plan.settings.model_copy(update=changes))


def _mixed_rate(plan: Plan) -> float:
    """Return the updates/s of the runs of a plan of several architectures, one after the other."""
    trainer, runs = make_trainer(plan.backend), [run for run, _ in plan.runs()]
    train = partial(trainer.train, plan.family, report=lambda updates: None)
    started = time.perf_counter()
    for run in runs:
        list(train(settings=plan.settings.of_architecture(run.architecture), runs=[run]))
    return len(runs) * plan.settings.num_updates / (time.perf_counter() - started)


def _row(zoo: str, key: tuple[str, int, int], rates: Sequence[tuple[float, float]]) -> dict[str, Any]:
    cell, layers, units = key
    return {
        "zoo": zoo,
        "network": f"{cell}-{layers}x{units}",
        "updates/s": statistics.median(rate for rate, _ in rates),
        "of matmul": statistics.median(share for _, share in rates),
    }
