"""The benchmark: encoders trained by emulation, then read by predictors; one JSON for every encoder and seed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from rnn_zoos import __version__
from rnn_zoos.baselines.controls import control_features
from rnn_zoos.baselines.data import ZooData
from rnn_zoos.baselines.downstream import PREDICTORS, PROTOCOLS, Features, evaluate
from rnn_zoos.baselines.emulation import EmulationRun, EmulationSettings, count_parameters
from rnn_zoos.baselines.targets import TARGETS
from rnn_zoos.errors import PlanMismatchError, UnknownNameError
from rnn_zoos.files import write_json
from rnn_zoos.machine import describe_machine
from rnn_zoos.stack import NetworkStack

FORMAT = 1
_BOOTSTRAPS = 200


@dataclass(frozen=True)
class Preset:
    """How encoders are trained, and their own sizes where they are not the paper's."""

    settings: EmulationSettings
    sizes: Mapping[str, Mapping[str, Any]]


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # At most four minutes an encoder and seed on 2 cores: the same number of updates for all.
        "cpu": Preset(
            EmulationSettings(updates=2000, evaluate_every=200, hidden=64),
            {
                "interactive": {"hidden": 64},
                "non-interactive": {"hidden": 64},
                "transformer": {"width": 64, "layers": 2, "feedforward": 128},
                "dws": {"channels": 16, "layers": 2},
            },
        ),
        "paper": Preset(EmulationSettings(updates=100_000, evaluate_every=1000), {}),
    }
)


def preset_of(name: str) -> Preset:
    """Return a preset of the benchmark by name. Raises UnknownNameError."""
    if name not in PRESETS:
        raise UnknownNameError.among("preset", name, PRESETS)
    return PRESETS[name]


def result_path(out: Path, zoo: str, encoder: str, seed: int | None) -> Path:
    """Return where the JSON of an encoder and seed (None: a control, which has none) belongs."""
    safe = encoder.replace(":", ".").replace(" ", "-")
    return out / zoo / (f"control.{safe}.json" if seed is None else f"{safe}.{seed}.json")


def run_encoder(
    data: ZooData,
    encoder: str,
    seed: int,
    preset: str,
    out: Path,
    report: Callable[[int, float], None] = lambda update, loss: None,
) -> Path:
    """Train an encoder and measure it; return the path of its JSON. What is there is not done again.

    The checkpoint stands beside the JSON while training, which goes on from it. Raises PlanMismatchError if there is a
    JSON of other settings.
    """
    chosen, zoo = preset_of(preset), data.zoo.manifest.zoo
    sizes = dict(chosen.sizes.get(encoder, {}))
    path = result_path(out, zoo, encoder, seed)
    identity = {
        "format": FORMAT,
        "encoder": encoder,
        "seed": seed,
        "preset": preset,
        "settings": asdict(chosen.settings),
        "sizes": sizes,
        "zoo": {"name": zoo, "preset": data.zoo.manifest.preset, "sha256": data.zoo.identity},
    }
    if _is_done(path, identity):
        return path
    started = time.monotonic()
    run = EmulationRun(data, encoder, seed, chosen.settings, path.with_suffix(""), sizes)
    run.train(report)
    trained = time.monotonic()
    features = {split: run.embeddings(split).numpy() for split in data.splits}
    result = {
        **identity,
        "information": run.encoder.information,
        "parameters": count_parameters(run.encoder),
        "queries": run.encoder.num_queries,
        "flop_per_network": _flop(run, data),
        "emulation": {split: run.losses(split) for split in ("train", "validation", "test", "ood")},
        "history": run.history,
        "downstream": read_all(data, features, seed),
        "seconds": {"training": trained - started, "all": time.monotonic() - started},
        "made": _made(),
    }
    write_json(path, result)
    run.checkpoint.unlink(missing_ok=True)
    run.checkpoint.parent.rmdir()
    return path


def run_control(data: ZooData, name: str, out: Path) -> Path:
    """Measure a control; return the path of its JSON. What is there is not done again.

    Raises PlanMismatchError if there is a JSON of another zoo.
    """
    zoo = data.zoo.manifest.zoo
    path = result_path(out, zoo, name, None)
    identity = {"format": FORMAT, "control": name, "zoo": {"name": zoo, "sha256": data.zoo.identity}}
    if not _is_done(path, identity):
        downstream = read_all(data, control_features(data, name), 0)
        write_json(path, {**identity, "downstream": downstream, "made": _made()})
    return path


def _made() -> dict[str, Any]:
    return {"rnn-zoos": __version__, **describe_machine()}


def read_all(data: ZooData, features: Features, seed: int) -> dict[str, Any]:
    """Return protocol -> predictor -> target -> split -> measure: all that is read from features of a zoo."""
    return {
        protocol: {
            predictor: {
                name: evaluate(data, features, target, protocol, predictor, seed, repeats=_BOOTSTRAPS)
                for name, target in TARGETS[data.zoo.manifest.zoo].items()
            }
            for predictor in PREDICTORS
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
