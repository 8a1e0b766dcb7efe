"""How fast zoos are made: every trainer beside the loop that anyone would write, on the same data, in one run."""

from __future__ import annotations

import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from rnn_zoos.generation.backends import BACKENDS, make_trainer
from rnn_zoos.generation.engine import available_cores
from rnn_zoos.generation.plan import Plan, make_plan
from rnn_zoos.model import RecurrentNetwork
from rnn_zoos.registry import ZOOS

_WARM_UP = 50  # updates


def measure_generation(updates: int, repeats: int) -> dict[str, Any]:
    """Return the machine and, for both zoos, the median rate (updates/s, all processes together) of each way to train.

    `bare` is torch.nn, autograd and torch.optim.AdamW with default options and threads, batches already drawn;
    `bare, one process a core` the same with one thread in each; a backend's name its trainer, one process a core.
    """
    cores = available_cores()
    machine = {
        "cores": cores,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    results = []
    for zoo in ZOOS:
        plan = _plan(zoo, updates)
        ways: dict[str, Callable[[], float]] = {
            "bare": partial(bare_rate, plan),
            "bare, one process a core": partial(_together, bare_rate, plan, cores),
        }
        for backend in BACKENDS:
            ways[backend] = partial(_together, trainer_rate, replace(plan, backend=backend), cores)
        # Ways in turn within a repeat, so that a slow minute of the machine meets all of them.
        rates = [{way: measure() for way, measure in ways.items()} for _ in range(repeats)]
        medians = {way: statistics.median(rate[way] for rate in rates) for way in ways}
        results += [
            {"zoo": zoo, "way": way, "updates/s": rate, "times bare": rate / medians["bare"]}
            for way, rate in medians.items()
        ]
    return {"machine": machine, "updates": updates, "repeats": repeats, "results": results}


def _plan(zoo: str, updates: int) -> Plan:
    plan = make_plan(zoo, "demo", runs=1)
    settings = plan.settings.model_copy(update={"snapshots": (updates,)})
    return replace(plan, settings=settings)


def bare_rate(plan: Plan) -> float:
    """Return updates/s of the plain torch loop on the plan's first run."""
    run, _ = next(plan.runs())
    sampler = plan.family.sampler(plan.settings.seed, [run.run], [run.task], plan.settings.batch_size)
    batches = [sampler.batch(drawn) for drawn in sampler.draw(0, plan.settings.num_updates + _WARM_UP).unbind(dim=1)]
    network = RecurrentNetwork(plan.architecture)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=run.weight_decay)
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
    """Return updates/s of the plan's backend on the plan's first run, its drawing of data included."""
    runs = [run for run, _ in plan.runs()]
    warm = _plan(plan.zoo, _WARM_UP)
    list(make_trainer(plan.backend).train(warm.family, warm.settings, runs, lambda updates: None))
    started = time.perf_counter()
    list(make_trainer(plan.backend).train(plan.family, plan.settings, runs, lambda updates: None))
    return plan.settings.num_updates / (time.perf_counter() - started)


def _together(rate: Callable[[Plan], float], plan: Plan, processes: int) -> float:
    """Return the sum of the rates of single-threaded processes that run side by side."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (1,)) as pool:
        return sum(pool.map(rate, [plan] * processes))
