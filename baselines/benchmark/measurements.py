"""What is measured of a trained encoder: emulation losses, clones, invariance, downstream scores, cost, figure data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch.utils.flop_counter import FlopCounterMode

from rnn_zoos.baselines.benchmark.figure_data import embedding_map, example_probes
from rnn_zoos.baselines.downstream.clones import clone_fidelity
from rnn_zoos.baselines.downstream.predictors import EvaluationSettings, evaluate
from rnn_zoos.baselines.downstream.protocols import EVALUATED_SPLITS, PROTOCOLS, Features
from rnn_zoos.baselines.downstream.targets import TARGETS
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.baselines.emulation.invariance import SYMMETRIES, invariance_error
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.baselines.encoders.encoder import count_parameters
from rnn_zoos.networks.stack import NetworkStack

BOOTSTRAP_REPEATS = 200
_INVARIANCE_NETWORKS = 64
_FLOP_NETWORKS = 8


def measure_encoder(run: EmulationRun) -> dict[str, Any]:
    """Return the measurements of an encoder that was trained by emulation, by the keys of a result file."""
    data, embedder = run.data, run.embedder
    features = {split: embedder.embeddings(split).cpu().numpy() for split in data.splits}
    return {
        "information": run.encoder.information,
        "parameters": count_parameters(run.encoder),
        "queries": run.encoder.num_queries,
        "flop_per_network": _flop_per_network(run),
        "emulation": {split: run.losses(split) for split in ("train", *EVALUATED_SPLITS)},
        "history": run.history,
        "clones": {split: clone_fidelity(run, split) for split in EVALUATED_SPLITS},
        "invariance": _invariance(run),
        "downstream": evaluate_targets(data, features, run.seed),
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

    def scores(protocol: str, predictor: str) -> dict[str, Any]:
        settings = EvaluationSettings(protocol, predictor, seed, permuted, BOOTSTRAP_REPEATS)
        targets = TARGETS[data.zoo.manifest.zoo]
        return {name: evaluate(data, features, target, settings) for name, target in targets.items()}

    # One thread: when other processes keep the cores busy, threads of small matrix products wait for each other, and
    # fitting takes four times as long.
    with threadpool_limits(1):
        return {
            protocol: {predictor: scores(protocol, predictor) for predictor in predictors} for protocol in PROTOCOLS
        }


def _invariance(run: EmulationRun) -> dict[str, float]:
    """Return symmetry -> how much it changes the embeddings of some test networks."""
    test = run.data.splits["test"]
    weights = test.weights_of(torch.arange(min(_INVARIANCE_NETWORKS, len(test))))
    generators = {name: torch.Generator().manual_seed(run.seed) for name in SYMMETRIES}
    return {name: invariance_error(run.encoder, weights, name, generators[name]) for name in SYMMETRIES}


def _flop_per_network(run: EmulationRun) -> float:
    """Return the floating-point operations of embedding one network, including those of running it on probes."""
    weights = run.data.splits["train"].weights_of(torch.arange(_FLOP_NETWORKS))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run.encoder(weights, NetworkStack(run.data.architecture, weights))
    return float(counter.get_total_flops()) / _FLOP_NETWORKS
