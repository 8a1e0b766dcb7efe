"""What is measured of a trained encoder: emulation losses, clones, invariance, downstream scores, cost, figure data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch.utils.flop_counter import FlopCounterMode

from rnn_zoos.baselines.benchmark.figures.data import clone_points, embedding_map, example_probes
from rnn_zoos.baselines.benchmark.loss_details import by_run, position_losses
from rnn_zoos.baselines.downstream.clones import clone_fidelity
from rnn_zoos.baselines.downstream.predictors import EvaluationSettings, predictor_scores
from rnn_zoos.baselines.downstream.protocols import EVALUATED_SPLITS, PROTOCOLS, Features
from rnn_zoos.baselines.downstream.retrieval import retrieval_scores
from rnn_zoos.baselines.downstream.targets import targets_of
from rnn_zoos.baselines.downstream.trajectories import trajectory_scores
from rnn_zoos.baselines.downstream.trajectory_retrieval import trajectory_retrieval
from rnn_zoos.baselines.downstream.trajectory_tasks import early_steps
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.baselines.emulation.invariance import SYMMETRIES, invariance_error
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.baselines.encoders.encoder import count_parameters
from rnn_zoos.networks.native.recurrence import without_native_code

BOOTSTRAP_REPEATS = 1000
_INVARIANCE_NETWORKS = 64
_FLOP_NETWORKS = 8


def measure_encoder(run: EmulationRun) -> dict[str, Any]:
    """Return the measurements of an encoder that was trained by emulation, by the keys of a result file.

    A reference that reads labels in place of weights costs no operations to embed, and changes with no symmetry.
    """
    data, embedder = run.data, run.embedder
    features = {split: embedder.embeddings(split).cpu().numpy() for split in data.splits}
    reads_weights = run.encoder.information != "labels"
    return {
        "information": run.encoder.information,
        "parameters": count_parameters(run.encoder),
        "queries": run.encoder.num_queries,
        "flop_per_network": _flop_per_network(run) if reads_weights else 0,
        "emulation": {split: run.losses(split) for split in ("train", *EVALUATED_SPLITS)},
        **_loss_details(run),
        "history": run.history,
        **_clones(run),
        "invariance": _invariance(run) if reads_weights else dict.fromkeys(SYMMETRIES, 0),
        "downstream": evaluate_targets(data, features, run.seed),
        "trajectories": evaluate_trajectories(data, features, run.seed),
        "retrieval": retrieval_scores(data, features, BOOTSTRAP_REPEATS),
        "map": embedding_map(data, features),
        "asked": example_probes(embedder),
    }


def evaluate_targets(
    data: ZooData,
    features: Features,
    seed: int,
    predictors: Sequence[str] = ("linear", "mlp"),
    permuted: bool = False,
) -> dict[str, Any]:
    """Return protocol -> predictor -> target -> split -> measure -> score, for all targets of a zoo.

    With `permuted`, the labels of the training rows are permuted first.
    """

    targets = targets_of(data.zoo.manifest.zoo, data.zoo.manifest.settings)
    settings = EvaluationSettings(seed=seed, permuted=permuted, repeats=BOOTSTRAP_REPEATS)
    return _by_predictor(predictors, settings, lambda chosen: predictor_scores(data, features, targets, chosen))


def evaluate_trajectories(
    data: ZooData,
    features: Features,
    seed: int,
    predictors: Sequence[str] = ("linear", "mlp"),
    permuted: bool = False,
) -> dict[str, Any]:
    """Return the scores of trajectory tasks.

    `early_steps` has the early steps of the zoo; `predicted` protocol -> predictor -> task -> split -> measure ->
    score; `retrieved` the same without protocol and predictor. With `permuted`, the labels of the training rows are
    permuted first.
    """
    settings = EvaluationSettings(seed=seed, permuted=permuted, repeats=BOOTSTRAP_REPEATS)
    return {
        "early_steps": list(early_steps(data.zoo.manifest.snapshots)),
        "predicted": _by_predictor(predictors, settings, lambda chosen: trajectory_scores(data, features, chosen)),
        "retrieved": trajectory_retrieval(data, features, BOOTSTRAP_REPEATS),
    }


def _by_predictor(
    predictors: Sequence[str], settings: EvaluationSettings, scores: Callable[[EvaluationSettings], dict[str, Any]]
) -> dict[str, Any]:
    """Return protocol -> predictor -> scores with the settings of both."""
    # One thread: when other processes keep the cores busy, threads of small matrix products wait for each other, and
    # fitting takes four times as long.
    with threadpool_limits(1):
        return {
            protocol: {
                predictor: scores(replace(settings, protocol=protocol, predictor=predictor)) for predictor in predictors
            }
            for protocol in PROTOCOLS
        }


def _loss_details(run: EmulationRun) -> dict[str, Any]:
    """Return the total variation of every run, and at every position in the sequence, by split."""
    details: dict[str, Any] = {"by_run": {}, "by_position": {}}
    for split in EVALUATED_SPLITS:
        rows, losses = run.data.splits[split], position_losses(run, split)
        details["by_run"][split] = by_run(losses, rows.labels("run"), rows.labels("task"))
        details["by_position"][split] = losses.mean(axis=0).tolist()
    return details


def _clones(run: EmulationRun) -> dict[str, Any]:
    """Return the fidelity of clones by split, and accuracies of single networks of `test` and of their clones."""
    clones = {split: clone_fidelity(run, split) for split in EVALUATED_SPLITS}
    return {
        "clones": {split: fidelity for split, (fidelity, _) in clones.items()},
        "clone_points": clone_points(run.data, clones["test"][1]),
    }


def _invariance(run: EmulationRun) -> dict[str, float]:
    """Return symmetry -> how much it changes the embeddings of some test networks."""
    networks = run.data.splits["test"].some_networks(_INVARIANCE_NETWORKS)
    generators = {name: torch.Generator().manual_seed(run.seed) for name in SYMMETRIES}
    return {name: invariance_error(run.encoder, networks, name, generators[name]) for name in SYMMETRIES}


def _flop_per_network(run: EmulationRun) -> float:
    """Return the floating-point operations of embedding one network, including those of running it on probes."""
    stack = run.data.splits["train"].some_networks(_FLOP_NETWORKS)
    with without_native_code(), FlopCounterMode(display=False) as counter, torch.no_grad():
        run.encoder(stack.weights, stack)
    return float(counter.get_total_flops()) / stack.num_networks
