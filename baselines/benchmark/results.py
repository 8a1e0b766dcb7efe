"""The benchmark: encoders trained by emulation, then read by predictors; one JSON for every encoder and seed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch.utils.flop_counter import FlopCounterMode

from rnn_zoos import __version__
from rnn_zoos.baselines.benchmark.embedding_map import asked, embedding_map
from rnn_zoos.baselines.downstream.clones import clone_fidelity
from rnn_zoos.baselines.downstream.controls import CONTROLS, control_features
from rnn_zoos.baselines.downstream.end_to_end import EndToEndSettings, train_end_to_end
from rnn_zoos.baselines.downstream.predictors import PROTOCOLS, Features, evaluate
from rnn_zoos.baselines.downstream.targets import TARGETS
from rnn_zoos.baselines.emulation.data import Biases, ZooData
from rnn_zoos.baselines.emulation.invariance import SYMMETRIES, invariance_error
from rnn_zoos.baselines.emulation.training import EmulationRun, EmulationSettings, count_parameters
from rnn_zoos.errors import PlanMismatchError, UnknownNameError
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.sequential_mnist import SequentialMnist
from rnn_zoos.format.files import write_json
from rnn_zoos.machine import describe_machine
from rnn_zoos.networks.stack import NetworkStack

FORMAT = 1
TESTED = ("validation", "test", "ood")
_BOOTSTRAPS = 200
_NETWORKS = 64  # on which invariance is measured


@dataclass(frozen=True)
class Preset:
    """How encoders are trained on every zoo, and their own sizes where they are not the paper's."""

    settings: Mapping[str, EmulationSettings]
    end_to_end: EndToEndSettings
    sizes: Mapping[str, Mapping[str, Any]]


_SMALL = EmulationSettings(updates=2000, evaluate_every=200, hidden=64)
_PAPER = EmulationSettings(updates=100_000, evaluate_every=1000)
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # At most four minutes an encoder and seed on 2 cores: the same number of updates for all. To emulate digits is
        # first of all to learn to read digits, which takes many of them.
        "cpu": Preset(
            {
                FormalLanguages.name: _SMALL,
                SequentialMnist.name: replace(_SMALL, networks=32, sequences=4, learning_rate=2e-3),
            },
            EndToEndSettings(updates=500),
            {
                "interactive": {"hidden": 64},
                "non-interactive": {"hidden": 64},
                "transformer": {"width": 64, "layers": 2, "feedforward": 128},
                "dws": {"channels": 16, "layers": 2},
            },
        ),
        "paper": Preset(
            {FormalLanguages.name: _PAPER, SequentialMnist.name: _PAPER}, EndToEndSettings(updates=20_000), {}
        ),
    }
)


def preset_of(name: str) -> Preset:
    """Return a preset of the benchmark by name. Raises UnknownNameError."""
    if name not in PRESETS:
        raise UnknownNameError.among("preset", name, PRESETS)
    return PRESETS[name]


def result_path(out: Path, zoo: str, encoder: str, seed: int | None, biases: Biases = "apart") -> Path:
    """Return where the JSON of an encoder and seed (None: a control, which has none) belongs."""
    name = encoder.replace(":", ".").replace(" ", "-").replace(",", "")
    name += ".merged" if biases == "merged" else ""
    return out / zoo / (f"control.{name}.json" if seed is None else f"{name}.{seed}.json")


def run_encoder(
    data: ZooData,
    encoder: str,
    seed: int,
    preset: str,
    out: Path,
    report: Callable[[int, float], None] = lambda update, loss: None,
) -> Path:
    """Train an encoder and measure it; return the path of its JSON. What is there is not done again.

    The checkpoint stands beside the JSON until that is written: training goes on from it. Raises PlanMismatchError if
    there is a JSON of other settings.
    """
    chosen = preset_of(preset)
    settings = chosen.settings[data.zoo.manifest.zoo]
    sizes = dict(chosen.sizes.get(encoder, {}))
    path = result_path(out, data.zoo.manifest.zoo, encoder, seed, data.biases)
    identity = {
        "encoder": encoder,
        "seed": seed,
        "preset": preset,
        "settings": asdict(settings),
        "end_to_end_settings": asdict(chosen.end_to_end),
        "sizes": sizes,
        **_identity(data),
    }
    if _is_done(path, identity):
        return path
    run = EmulationRun(data, encoder, seed, settings, path.with_suffix(""), sizes)
    run.train(report)
    started = time.monotonic()
    supervised = train_end_to_end(data, encoder, seed, chosen.end_to_end, sizes, _BOOTSTRAPS)
    supervised_seconds, started = time.monotonic() - started, time.monotonic()
    measured = {**_measure(run), "end_to_end": supervised}
    seconds = {"emulation": run.seconds, "end_to_end": supervised_seconds, "measuring": time.monotonic() - started}
    write_json(path, {**identity, **measured, "seconds": seconds, "made": _made(data)})
    shutil.rmtree(run.folder, ignore_errors=True)
    return path


def _measure(run: EmulationRun) -> dict[str, Any]:
    """Return all that is told of a trained encoder."""
    data, embedder = run.data, run.embedder
    features = {split: embedder.embeddings(split).cpu().numpy() for split in data.splits}
    weights = data.splits["test"].weights_of(torch.arange(min(_NETWORKS, len(data.splits["test"]))))
    changes = {name: torch.Generator().manual_seed(run.seed) for name in SYMMETRIES}
    return {
        "information": run.encoder.information,
        "parameters": count_parameters(run.encoder),
        "queries": run.encoder.num_queries,
        "flop_per_network": _flop(run, data),
        "emulation": {split: run.losses(split) for split in ("train", *TESTED)},
        "history": run.history,
        "clones": {split: clone_fidelity(run, split) for split in TESTED},
        "invariance": {name: invariance_error(run.encoder, weights, name, drawn) for name, drawn in changes.items()},
        "downstream": read_all(data, features, run.seed),
        "map": embedding_map(data, features),
        "asked": asked(embedder),
    }


def run_control(data: ZooData, name: str, out: Path) -> Path:
    """Measure a control; return the path of its JSON. What is there is not done again.

    Raises PlanMismatchError if there is a JSON of another zoo.
    """
    path = result_path(out, data.zoo.manifest.zoo, name, None, data.biases)
    identity = {"control": name, **_identity(data)}
    if not _is_done(path, identity):
        features, control = control_features(data, name), CONTROLS[name]
        read = read_all(data, features, 0, control.predictors, control.permuted)
        write_json(path, {**identity, "downstream": read, "made": _made(data)})
    return path


def _identity(data: ZooData) -> dict[str, Any]:
    zoo = data.zoo
    told = {"name": zoo.manifest.zoo, "preset": zoo.manifest.preset, "sha256": zoo.identity}
    return {"format": FORMAT, "zoo": told, "biases": data.biases}


def _made(data: ZooData) -> dict[str, Any]:
    return {"rnn-zoos": __version__, "device": data.device, "threads": torch.get_num_threads(), **describe_machine()}


def read_all(
    data: ZooData,
    features: Features,
    seed: int,
    predictors: tuple[str, ...] = ("linear", "mlp"),
    permuted: bool = False,
) -> dict[str, Any]:
    """Return protocol -> predictor -> target -> split -> measure: all that is read from features of a zoo."""
    with threadpool_limits(1):  # threads of small matrix products that wait for a busy core take four times as long
        return {
            protocol: {
                predictor: {
                    name: evaluate(data, features, target, protocol, predictor, seed, permuted, _BOOTSTRAPS)
                    for name, target in TARGETS[data.zoo.manifest.zoo].items()
                }
                for predictor in predictors
            }
            for protocol in PROTOCOLS
        }


def _is_done(path: Path, identity: Mapping[str, Any]) -> bool:
    """Say whether there is a result of this identity. Raises PlanMismatchError if it is another's."""
    if not path.is_file():
        return False
    there = json.loads(path.read_text())
    differing = [key for key, value in json.loads(json.dumps(identity)).items() if there.get(key) != value]
    if differing:
        raise PlanMismatchError(f"{path} is a result of another {', '.join(differing)}. Give another --out.")
    return True


def _flop(run: EmulationRun, data: ZooData) -> float:
    """Return the floating-point operations of embedding one network, its own included if it is asked."""
    weights = data.splits["train"].weights_of(torch.arange(8))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run.encoder(weights, NetworkStack(data.architecture, weights))
    return float(counter.get_total_flops()) / 8
