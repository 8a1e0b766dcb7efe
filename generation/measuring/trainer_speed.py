"""How fast zoos are made: every trainer beside the loop that anyone would write, on the same data, in one run."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Any

import torch
import torch.nn.functional as F

from rnn_zoos.families.registry import ZOOS
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.generation.trainers.backends import backend_details, make_trainer
from rnn_zoos.machine import describe_machine, update_flop
from rnn_zoos.networks.model import RecurrentNetwork
from rnn_zoos.processes import available_cores

_WARM_UP = 50  # updates
_MATMUL = 2048


def measure_generation(backends: Sequence[str], updates: int, repeats: int) -> dict[str, Any]:
    """Return the machine and, for both zoos, medians for each way to train.

    `bare` is torch.nn, autograd and torch.optim.AdamW in one process with default threads, batches already drawn;
    `bare, one process a core` the same with one thread in each; a backend's name its trainer, drawing included, one
    process a core, and `1 of` it a single such process (one that trains many runs at once is measured so, in one
    process). updates/s are of all processes together; GFLOP/s count 6 for every multiply-add of the forward pass
    (`machine.update_flop`); `of matmul` is their share of what float32 products of 2048 x 2048 matrices reach in as
    many processes, measured in turn with the rest.
    """
    cores, results = available_cores(), []
    with SynchronisedPool(cores) as pool:
        for zoo in ZOOS:
            plan = _plan(zoo, updates)
            ways: dict[str, Callable[[], float]] = {
                "matmul": partial(pool.together, matmul_rate, plan),
                "bare": partial(bare_rate, plan),
                "bare, one process a core": partial(pool.together, bare_rate, plan),
            }
            for backend in backends:
                at_once = make_trainer(backend).at_once
                ours = replace(_plan(zoo, updates, at_once or 1), backend=backend)
                if at_once is None:
                    ways[f"1 of {backend}"] = partial(pool.alone, trainer_rate, ours)
                    ways[backend] = partial(pool.together, trainer_rate, ours)
                else:
                    ways[f"{backend}, {at_once:,} runs at once"] = partial(pool.alone, trainer_rate, ours)
            # Ways in turn within a repeat, so that a slow minute of the machine meets all of them.
            rates = [{way: measure() for way, measure in ways.items()} for _ in range(repeats)]
            results += _rows(plan, rates)
    return {"machine": _machine(cores, backends), "updates": updates, "repeats": repeats, "results": results}


def _machine(cores: int, backends: Sequence[str]) -> dict[str, Any]:
    details = {key: value for backend in backends for key, value in backend_details(backend).items()}
    return {"cores": cores, **details, **describe_machine()}


def _rows(plan: Plan, rates: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Return the medians, and medians of the ratios within a repeat."""
    rows = []
    for way in rates[0]:
        rate = statistics.median(repeat[way] for repeat in rates)
        rows.append(
            {
                "zoo": plan.zoo,
                "way": way,
                "updates/s": rate,
                "GFLOP/s": rate * _update_flop(plan) / 1e9,
                "of matmul": statistics.median(repeat[way] / repeat["matmul"] for repeat in rates),
                "times bare": statistics.median(repeat[way] / repeat["bare"] for repeat in rates),
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
    run, _ = next(plan.runs())
    sampler = plan.family.sampler(plan.settings.seed, [run.run], [run.task], plan.settings.batch_size)
    return [sampler.batch(drawn) for drawn in sampler.draw(0, count).unbind(dim=1)]


def bare_rate(plan: Plan) -> float:
    """Return updates/s of the plain torch loop on the plan's first run."""
    batches = _batches(plan, plan.settings.num_updates + _WARM_UP)
    network = RecurrentNetwork(plan.architecture)
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


def trainer_rate(plan: Plan) -> float:
    """Return updates/s of the plan's backend on all runs of the plan, its drawing of data included."""
    runs = [run for run, _ in plan.runs()]
    trainer, warm = make_trainer(plan.backend), _plan(plan.zoo, _WARM_UP)
    list(trainer.train(warm.family, warm.settings, runs, lambda updates: None))
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


class SynchronisedPool:
    """Single-threaded processes, one a core, that measure side by side. Use it as a context manager."""

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.size = size
        self._pool = ProcessPoolExecutor(size, context, _start, (context.Barrier(size),))

    def __enter__(self) -> SynchronisedPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def together(self, rate: Callable[[Plan], float], plan: Plan) -> float:
        """Return the sum of the rates of all processes at the same time."""
        return sum(self._pool.map(_with_the_others, [rate] * self.size, [plan] * self.size))

    def alone(self, rate: Callable[[Plan], float], plan: Plan) -> float:
        """Return the rate of one process while the others wait."""
        return self._pool.submit(rate, plan).result()


_barrier: Barrier | None = None  # of this process of a pool


def _start(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier
    torch.set_num_threads(1)


def _with_the_others(rate: Callable[[Plan], float], plan: Plan) -> float:
    assert _barrier is not None, "processes of a pool start with _start"
    _barrier.wait()  # or one process could do the work of two, one after the other
    return rate(plan)
