"""The speed of trainers, compared with a plain torch loop and with matrix products: `rnn-zoos speed generation`."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Any, TypeVar

import torch
import torch.nn.functional as F

from rnn_zoos.families.registry import ZOOS
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.trainers.backends import backend_details, make_trainer
from rnn_zoos.machine import describe_machine, update_flop
from rnn_zoos.networks.model import RecurrentNetwork, initial_weights
from rnn_zoos.processes import available_cores

Measured = TypeVar("Measured")

_WARM_UP = 50  # updates
_MATMUL = 2048  # size of the multiplied matrices
_SATURATING = 100.0  # initial weights that are so many times as large have gradients full of denormal numbers


def measure_generation(backends: Sequence[str], updates: int, repeats: int) -> dict[str, Any]:
    """Return the machine and, for every zoo, medians for every training method.

    The methods are named in the column `way`:

    - `bare`: torch.nn, autograd and torch.optim.AdamW in one process with the default threads; the drawing of batches
      does not count;
    - `bare, one process a core`: the same in one process per core with one thread each;
    - the name of a backend: its trainer, including the drawing of batches, in one process per core; `1 of` it: in one
      such process. A backend that trains many runs at once is measured in one process only, with that many runs;
    - `bare, saturated` and `saturated` after a backend: the same, on networks whose initial weights are 100 times as
      large.

    `updates/s` is the sum over all processes. `GFLOP/s` counts 6 operations for every multiply-add of the forward pass
    (`machine.update_flop`). `of matmul` is the fraction of what float32 products of 2048 x 2048 matrices reach in as
    many processes as there are cores.
    """
    cores, results = available_cores(), []
    with MeasurementPool(cores) as pool:
        for zoo in ZOOS:
            methods = _methods(zoo, backends, updates, pool)
            # Methods are interleaved within a repeat, so that slow phases of the machine affect all of them.
            rates = [{name: measure() for name, measure in methods.items()} for _ in range(repeats)]
            results += _rows(_plan(zoo, updates), rates)
    return {"machine": _machine(cores, backends), "updates": updates, "repeats": repeats, "results": results}


def _methods(zoo: str, backends: Sequence[str], updates: int, pool: MeasurementPool) -> dict[str, Callable[[], float]]:
    """Return every method by name: a function that measures its updates/s once."""
    plan = _plan(zoo, updates)
    methods: dict[str, Callable[[], float]] = {
        "matmul": partial(pool.sum_over_processes, matmul_rate, plan),
        "bare": partial(bare_rate, plan),
        "bare, one process a core": partial(pool.sum_over_processes, bare_rate, plan),
        "bare, saturated": partial(bare_rate, plan, _SATURATING),
    }
    for backend in backends:
        runs_at_once = make_trainer(backend).runs_at_once
        backend_plan = replace(_plan(zoo, updates, runs_at_once or 1), backend=backend)
        if runs_at_once is None:
            methods[f"1 of {backend}"] = partial(pool.in_one_process, trainer_rate, backend_plan)
            methods[backend] = partial(pool.sum_over_processes, trainer_rate, backend_plan)
            saturated = partial(trainer_rate, initial_scale=_SATURATING)
            methods[f"{backend}, saturated"] = partial(pool.sum_over_processes, saturated, backend_plan)
        else:
            name = f"{backend}, {runs_at_once:,} runs at once"
            methods[name] = partial(pool.in_one_process, trainer_rate, backend_plan)
    return methods


def _machine(cores: int, backends: Sequence[str]) -> dict[str, Any]:
    details = {key: value for backend in backends for key, value in backend_details(backend).items()}
    return {"cores": cores, **details, **describe_machine()}


def _rows(plan: Plan, rates: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Return medians of the rates, and medians of their ratios within a repeat."""
    rows = []
    for method in rates[0]:
        rate = statistics.median(repeat[method] for repeat in rates)
        rows.append(
            {
                "zoo": plan.zoo,
                "way": method,
                "updates/s": rate,
                "GFLOP/s": rate * _update_flop(plan) / 1e9,
                "of matmul": statistics.median(repeat[method] / repeat["matmul"] for repeat in rates),
                "times bare": statistics.median(repeat[method] / repeat["bare"] for repeat in rates),
            }
        )
    return rows


def _update_flop(plan: Plan) -> float:
    steps = _batches(plan, 1)[0][1].shape[-1]
    return update_flop(plan.architecture, plan.settings.batch_size, steps)


def _plan(zoo: str, updates: int, runs: int = 1) -> Plan:
    plan = make_plan(zoo, "demo", runs=runs)
    return replace(plan, settings=plan.settings.model_copy(update={"snapshots": (updates,)}))


def _batches(plan: Plan, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the first batches of the plan's first run."""
    run, _ = next(plan.runs())
    sampler = plan.family.sampler(plan.settings.seed, [run.run], [run.task], plan.settings.batch_size)
    return [sampler.batch(drawn) for drawn in sampler.draw(0, count).unbind(dim=1)]


def bare_rate(plan: Plan, initial_scale: float = 1.0) -> float:
    """Return the updates/s of a plain torch loop on the plan's first run; its initial weights are multiplied."""
    batches = _batches(plan, plan.settings.num_updates + _WARM_UP)
    initial = initial_weights(plan.architecture, plan.settings.seed, 0, initial_scale)
    network = RecurrentNetwork(plan.architecture, initial)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    started = time.perf_counter()
    for number, (inputs, targets) in enumerate(batches):
        if number == _WARM_UP:
            started = time.perf_counter()
        loss = F.cross_entropy(network(inputs[0]).flatten(0, 1), targets[0].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return plan.settings.num_updates / (time.perf_counter() - started)


def trainer_rate(plan: Plan, initial_scale: float = 1.0) -> float:
    """Return the updates/s of the plan's backend on all runs of the plan, including the drawing of batches.

    The initial weights are multiplied by `initial_scale`.
    """
    runs = [replace(run, initial_scale=initial_scale) for run, _ in plan.runs()]
    trainer, warm_up = make_trainer(plan.backend), _plan(plan.zoo, _WARM_UP)
    list(trainer.train(warm_up.family, warm_up.settings, runs, lambda updates: None))
    started = time.perf_counter()
    list(trainer.train(plan.family, plan.settings, runs, lambda updates: None))
    return len(runs) * plan.settings.num_updates / (time.perf_counter() - started)


def matmul_rate(plan: Plan) -> float:
    """Return how many updates/s the plan would have at the speed of a large matrix product."""
    factor = torch.randn(_MATMUL, _MATMUL)
    factor @ factor  # warm-up
    started = time.perf_counter()
    for _ in range(5):
        factor @ factor
    return 5 * 2 * _MATMUL**3 / (time.perf_counter() - started) / _update_flop(plan)


class MeasurementPool:
    """Processes with one thread each that measure at the same time. Use it as a context manager."""

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.size = size
        self._pool = ProcessPoolExecutor(size, context, _start_process, (context.Barrier(size),))

    def __enter__(self) -> MeasurementPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def sum_over_processes(self, rate: Callable[[Plan], float], plan: Plan) -> float:
        """Return the sum of the rates of all processes, measured at the same time."""
        return sum(self._pool.map(_measure_together, [rate] * self.size, [plan] * self.size))

    def in_one_process(self, measure: Callable[[Plan], Measured], plan: Plan) -> Measured:
        """Return what one process measures while the others wait."""
        return self._pool.submit(measure, plan).result()


_barrier: Barrier | None = None  # of the pool that this process belongs to


def _start_process(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier
    torch.set_num_threads(1)


def _measure_together(rate: Callable[[Plan], float], plan: Plan) -> float:
    assert _barrier is not None, "_start_process is the pool's initializer"
    _barrier.wait()  # otherwise one process could do the work of two, one after the other
    return rate(plan)
