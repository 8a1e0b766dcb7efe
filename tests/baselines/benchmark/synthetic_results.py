"""Made-up result files with the content of real ones: encoders with a given loss, references and controls."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnn_zoos.baselines.benchmark.result_files import result_path, write_result
from rnn_zoos.baselines.benchmark.result_format import FORMAT
from rnn_zoos.baselines.downstream.controls import CONTROLS
from rnn_zoos.baselines.downstream.measures import MEASURES
from rnn_zoos.baselines.downstream.protocols import EVALUATED_SPLITS, PROTOCOLS
from rnn_zoos.baselines.downstream.targets import family_targets, task_targets
from rnn_zoos.baselines.downstream.trajectory_tasks import (
    RANK_MEASURES,
    RETRIEVED,
    asked_tasks,
    at_step,
    early_steps,
)

LANGUAGES, DIGITS = "formal-languages", "sequential-mnist"
STEPS = (0, 100, 200, 500, 1000, 2000, 5000)
RUNS = {"validation": 89, "test": 85, "ood": 120}


@dataclass(frozen=True)
class Fake:
    """An encoder with a known loss: the mean total variation of its runs, times a factor that all encoders share."""

    name: str
    loss: float
    queries: int = 0
    information: str = "weights"


MANY = (
    Fake("self-rollout", 0.0065, 164, "queries"),
    Fake("self-rollout-soft", 0.0069, 164, "queries"),
    Fake("self-rollout-learned", 0.007, 88, "queries"),
    Fake("self-rollout-short", 0.0098, 82, "queries"),
    Fake("interactive", 0.0118, 88, "queries"),
    Fake("interactive-plain", 0.043, 88, "queries"),
    Fake("probegen", 0.0165, 88, "queries"),
    Fake("non-interactive", 0.0182, 88, "queries"),
    Fake("data-probes", 0.022, 82, "data"),
    Fake("telling-probes", 0.025, 82, "data"),
    Fake("dws", 0.031),
    Fake("random-probes", 0.037, 82, "queries"),
    Fake("neural-graph", 0.038),
    Fake("transformer", 0.049),
    Fake("canonical-transformer", 0.05),
    Fake("flat", 0.061),
    Fake("canonical-flat", 0.0615),
    Fake("statistics-large", 0.068),
    Fake("statistics", 0.073),
    Fake("step-and-task-known", 0.0199, 0, "labels"),
    Fake("step-known", 0.0626, 0, "labels"),
    Fake("constant", 0.0685, 0, "labels"),
)


def synthetic(zoo: str, fake: Fake, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Return the content of the result file of a made-up encoder."""
    random = np.random.default_rng([seed, sum(fake.name.encode())])
    scale = fake.loss * (5 if zoo == DIGITS else 1)
    tables = {split: _by_run(zoo, split, scale * (1 + 0.02 * random.normal()), random) for split in EVALUATED_SPLITS}
    means = {split: float(np.mean(table["total_variation"])) for split, table in tables.items()}
    content = {
        **_identity(zoo),
        "encoder": fake.name,
        "seed": seed,
        "preset": "cpu",
        "settings": {"updates": 12000, "evaluate_every": 600, "learning_rate": 3e-3},
        "sizes": {},
        "information": fake.information,
        "parameters": 50_000 + 1000 * fake.queries,
        "queries": fake.queries,
        "flop_per_network": 1e6,
        "emulation": {split: _losses(mean) for split, mean in {**means, "train": scale * 0.8}.items()},
        "by_run": tables,
        "by_position": {split: _positions(zoo, mean) for split, mean in means.items()},
        "history": _history(means["validation"], fake, random),
        **_clones(scale, random),
        "invariance": dict.fromkeys(("permutations", "signs", "biases"), 0.1),
        "downstream": _downstream(zoo, ("linear", "mlp"), scale, random),
        "end_to_end": {protocol: _scores(zoo, scale, random) for protocol in PROTOCOLS},
        "end_to_end_settings": {"updates": 500},
        "trajectories": _trajectories(zoo, ("linear", "mlp"), scale, random),
        "retrieval": {name: _target_scores(zoo, name, scale, random) for name in task_targets(zoo)},
        "map": _map(zoo, random),
        "asked": _asked(zoo, random) if fake.name == "interactive" else None,
        "seconds": {"emulation": 300.0, "end_to_end": 40.0, "measuring": 25.0},
        "made": {"device": "cpu"},
    }
    if fake.information == "labels":
        del content["end_to_end"], content["asked"]
    return content | changes


def synthetic_control(zoo: str, name: str) -> dict[str, Any]:
    """Return the content of the result file of a control."""
    random = np.random.default_rng(sum(name.encode()))
    predictors = CONTROLS[name].predictors
    scores = {
        "downstream": _downstream(zoo, predictors, 0.05, random),
        "trajectories": _trajectories(zoo, predictors, 0.05, random),
    }
    return {**_identity(zoo), "control": name, **scores, "made": {"device": "cpu"}}


def many_results(zoo: str, seeds: int = 3) -> list[dict[str, Any]]:
    """Return results of 19 encoders and 3 references with several seeds, and of all controls."""
    results = [synthetic(zoo, fake, seed) for fake in MANY for seed in range(seeds)]
    return results + [synthetic_control(zoo, name) for name in CONTROLS]


def write_results(results: list[dict[str, Any]], out: Path) -> Path:
    """Write results as files below a folder, and return the folder."""
    for result in results:
        name = result.get("encoder") or result["control"]
        path = result_path(out, result["zoo"]["name"], name, result.get("seed"), result["biases"])
        path.parent.mkdir(parents=True, exist_ok=True)
        write_result(path, {}, result)
    return out


def stored(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result as it is read back from a file."""
    return json.loads(json.dumps(result))


def _identity(zoo: str) -> dict[str, Any]:
    return {"format": FORMAT, "zoo": {"name": zoo, "preset": "medium", "sha256": zoo[:4] * 16}, "biases": "apart"}


def _tasks(zoo: str, split: str) -> list[str]:
    """Return the task of every run of a split: several runs per language, one per angle."""
    first = {"validation": 0, "test": 40, "ood": 80}[split]
    if zoo == DIGITS:
        return [f"{(first + 1.7 * run) % 360:g} degrees" for run in range(RUNS[split])]
    number = [first + run % 19 for run in range(RUNS[split])]
    return [f"b{n // 36 - 3:+d} c{n // 6 % 6 - 3:+d} d{n % 6 - 3:+d}" for n in number]


def _by_run(zoo: str, split: str, scale: float, random: np.random.Generator) -> dict[str, list[Any]]:
    """Return losses of runs: some tasks are harder than others, for all encoders alike."""
    shared, tasks = np.random.default_rng(9), _tasks(zoo, split)
    names, of_run = np.unique(tasks, return_inverse=True)
    hardness = np.exp(0.2 * shared.normal(size=len(names)))[of_run] * np.exp(0.1 * shared.normal(size=len(tasks)))
    noise = np.exp(0.05 * random.normal(size=len(tasks)))
    losses = np.clip(scale * hardness * noise * (1.1 if split == "ood" else 1), 0, 1)
    first = 1000 * list(RUNS).index(split)
    return {"run": [*range(first, first + len(tasks))], "task": tasks, "total_variation": losses.tolist()}


def _losses(mean: float) -> dict[str, float]:
    return {
        "total_variation": mean,
        "total_variation_unpadded": min(1.0, 1.5 * mean),
        "reverse_kl": 1.4 * mean,
        "reverse_kl_unpadded": 2 * mean,
    }


def _positions(zoo: str, mean: float) -> list[float]:
    places = np.arange(50 if zoo == DIGITS else 41)
    shape = np.exp(-(((places - 12) / 9) ** 2)) + 0.02
    return (mean * shape / shape.mean()).clip(0, 1).tolist()


def _history(final: float, fake: Fake, random: np.random.Generator) -> list[dict[str, float]]:
    updates = np.arange(600, 12001, 600)
    losses = final + (0.09 - min(final, 0.08)) * np.exp(-updates / 1800) * np.exp(0.05 * random.normal(size=20))
    each = 0.02 + 0.0004 * fake.queries
    return [
        {"update": int(update), "seconds": float(update * each), "total_variation": float(loss)}
        for update, loss in zip(updates, losses, strict=True)
    ]


def _clones(scale: float, random: np.random.Generator) -> dict[str, Any]:
    steps = random.choice(STEPS, size=300)
    accuracy = np.where(steps > 0, random.beta(4, 1.5, size=300) * (1 - np.exp(-steps / 200)), 0)
    clone = np.clip(accuracy + scale * 12 * random.normal(size=300), 0, 1)
    correlation = float(np.corrcoef(accuracy, clone)[0, 1])
    points = {"split": "test", "step": steps.tolist(), "accuracy": accuracy.tolist(), "clone": clone.tolist()}
    fidelity = {"accuracy": 0.4, "accuracy_of_originals": 0.5, "correlation": correlation, "kendall_tau": 0.5}
    return {"clones": dict.fromkeys(EVALUATED_SPLITS, fidelity), "clone_points": points}


def _target_scores(zoo: str, target: str, scale: float, random: np.random.Generator) -> dict[str, Any]:
    kind = family_targets(zoo)[target].kind
    quality = float(np.clip(1 - 9 * scale * random.uniform(0.7, 1.3), 0.02, 0.99))
    value = 90 * (1 - quality) if kind == "angle" else quality
    width = 6 if kind == "angle" else 0.06
    score = {"value": value, "low": value - width, "high": value + width}
    return {split: dict.fromkeys(MEASURES[kind], score) for split in EVALUATED_SPLITS}


def _scores(zoo: str, scale: float, random: np.random.Generator) -> dict[str, Any]:
    return {name: _target_scores(zoo, name, scale, random) for name in family_targets(zoo)}


def _downstream(zoo: str, predictors: tuple[str, ...], scale: float, random: np.random.Generator) -> dict[str, Any]:
    return {protocol: {predictor: _scores(zoo, scale, random) for predictor in predictors} for protocol in PROTOCOLS}


def _trajectories(zoo: str, predictors: tuple[str, ...], scale: float, random: np.random.Generator) -> dict[str, Any]:
    """Return scores of trajectory tasks: no run diverged, and digits have one run per task."""
    steps = early_steps(STEPS)

    def scores(name: str, measures: Iterable[str]) -> dict[str, Any]:
        if name.startswith("diverged") or (name.startswith("own_snapshot_of_task") and zoo == DIGITS):
            return {split: {"left_out": f"{split}: there is none"} for split in EVALUATED_SPLITS}
        value = float(np.clip(1 - 9 * scale * random.uniform(0.7, 1.3), 0.02, 0.99))
        found = {measure: {"value": value, "low": value - 0.06, "high": value + 0.06} for measure in measures}
        chance = {"value": 0.0125, "low": 0.0125, "high": 0.0125}
        found |= {measure: chance for measure in measures if measure.startswith("chance")}
        return dict.fromkeys(EVALUATED_SPLITS, found)

    def predicted() -> dict[str, Any]:
        return {name: scores(name, task.measures) for name, (task, _) in asked_tasks(steps).items()}

    return {
        "early_steps": list(steps),
        "predicted": {protocol: {name: predicted() for name in predictors} for protocol in PROTOCOLS},
        "retrieved": {at_step(name, step): scores(name, RANK_MEASURES) for name in RETRIEVED for step in steps},
    }


def _map(zoo: str, random: np.random.Generator) -> dict[str, Any]:
    tasks = sorted(set(_tasks(zoo, "test")))
    numbers = random.integers(len(tasks), size=300)
    centres = random.normal(size=(len(tasks), 2))
    return {
        "split": "test",
        "explained": [0.4, 0.2],
        "places": (centres[numbers] + 0.2 * random.normal(size=(300, 2))).tolist(),
        "tasks": tasks,
        "task": numbers.tolist(),
        "step": random.choice(STEPS, size=300).tolist(),
        "accuracy": random.random(300).tolist(),
    }


def _asked(zoo: str, random: np.random.Generator) -> list[dict[str, Any]]:
    steps, inputs = (50, 16) if zoo == DIGITS else (22, 6)
    task = "312.25 degrees" if zoo == DIGITS else "b-1 c+2 d-3"
    return [
        {
            "run": run,
            "step": step,
            "accuracy": 0.7,
            "task": task,
            "questions": random.dirichlet(np.full(inputs, 0.1), size=steps).tolist(),
        }
        for run, step in ((3, 0), (3, 5000), (14, 5000))
    ]
