"""Produces one result of the benchmark: trains and evaluates an encoder, or evaluates a control; writes the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rnn_zoos import __version__
from rnn_zoos.baselines.benchmark.measurements import (
    BOOTSTRAP_REPEATS,
    evaluate_targets,
    evaluate_trajectories,
    measure_encoder,
)
from rnn_zoos.baselines.benchmark.presets import preset_of
from rnn_zoos.baselines.benchmark.result_files import read_entries, result_path, write_result
from rnn_zoos.baselines.benchmark.result_format import FORMAT
from rnn_zoos.baselines.downstream.clones import check_judged
from rnn_zoos.baselines.downstream.controls import control_features, control_of
from rnn_zoos.baselines.downstream.end_to_end import train_end_to_end
from rnn_zoos.baselines.downstream.targets import targets_of
from rnn_zoos.baselines.emulation.data import ZooData, zoo_reference
from rnn_zoos.baselines.emulation.saved_encoder import save_encoder
from rnn_zoos.baselines.emulation.training import EmulationRun, work_clock
from rnn_zoos.baselines.encoders.registry import code_hash
from rnn_zoos.errors import PlanMismatchError
from rnn_zoos.machine import describe_machine


def run_encoder(
    data: ZooData,
    encoder: str,
    seed: int,
    preset: str,
    out: str | Path,
    report: Callable[[int, float], None] = lambda update, loss: None,
) -> Path:
    """Train an encoder by emulation and end to end, evaluate it, and write the result file.

    The trained encoder is saved next to the result file, for `load_encoder` and `rnn-zoos embed`. An existing result
    file with the same settings is returned unchanged. Until the result file is written, a checkpoint is kept in a
    folder next to it; an interrupted training continues from there.

    Args:
        data: The zoo, as `load_data` returns it.
        encoder: A name of `ENCODERS`, or `module:Class` of your own encoder, see `make_encoder`.
        seed: Seed of the initial weights and of everything that is drawn in training.
        preset: `quick`, `cpu` or `paper`, see `rnn_zoos.baselines.benchmark.presets`.
        out: Folder of results; the files are `out/ZOO/ENCODER.SEED.json` and `out/ZOO/ENCODER.SEED.safetensors`.
        report: Called after every update with the number of updates so far and the loss: those of emulation, then
            those of the end-to-end trainings.

    Returns:
        The path of the result file.

    Raises:
        UnknownNameError: There is no such encoder or preset.
        EncoderError: The encoder cannot be imported or created, or returns unsuitable embeddings, or the loss is not
            finite.
        PresetError: The seed is negative or has more than 32 bits.
        PlanMismatchError: `out` has a result or a checkpoint of this encoder and seed with other settings, or of
            `module:Class` with other code: the file that defines the class has changed.
        FormatError: The checkpoint or an existing result file is not readable, or nothing says which answers of the
            networks are right.
        LeakError: Splits of the zoo share a run or a task.

    Example:
        >>> from rnn_zoos.baselines import load_data, run_encoder
        >>> data = load_data("zoos/formal-languages")
        >>> run_encoder(data, "statistics", seed=0, preset="cpu", out="out")  # minutes  # doctest: +SKIP
    """
    chosen = preset_of(preset)
    identity = _encoder_identity(data, encoder, seed, preset)
    path = result_path(Path(out), data.zoo.manifest.zoo, encoder, seed, data.biases)
    if is_finished(path, identity):
        return path
    check_judged(data)
    settings, sizes = chosen.settings_of(data.zoo.manifest.zoo), chosen.sizes_of(encoder, data.zoo.manifest.zoo)
    run = EmulationRun(data, encoder, seed, settings, path.with_suffix(""), sizes)
    run.train(report)
    clock = work_clock(data.device)
    started, end_to_end = clock(), {}
    if run.encoder.information != "labels":
        save_encoder(run, path.with_suffix(".safetensors"), preset)
        scores = train_end_to_end(
            data,
            encoder,
            seed,
            chosen.end_to_end,
            sizes,
            BOOTSTRAP_REPEATS,
            lambda update, loss: report(settings.updates + update, loss),
        )
        end_to_end = {"end_to_end": scores}
    trained = clock()
    measurements = {"targets": _targets(data), **measure_encoder(run), **end_to_end}
    seconds = {"emulation": run.seconds, "end_to_end": trained - started, "measuring": clock() - trained}
    write_result(path, identity, {**measurements, "seconds": seconds, "made": _provenance(data)})
    shutil.rmtree(run.folder, ignore_errors=True)
    return path


def run_control(data: ZooData, name: str, out: str | Path) -> Path:
    """Evaluate a control, which needs no training by emulation, and write the result file.

    An existing result file of the same zoo is returned unchanged.

    Args:
        data: The zoo, as `load_data` returns it.
        name: A name of `rnn_zoos.baselines.downstream.controls.CONTROLS`, such as `step only`.
        out: Folder of results; the file is `out/ZOO/control.NAME.json`, with hyphens for spaces.

    Returns:
        The path of the result file.

    Raises:
        UnknownNameError: There is no such control.
        PlanMismatchError: `out` has a result of this control for another zoo.
        FormatError: An existing result file is not readable.
        LeakError: Splits of the zoo share a run or a task.

    Example:
        >>> from rnn_zoos.baselines import load_data, run_control
        >>> path = run_control(load_data("zoos/formal-languages"), "step only", "out")
    """
    control = control_of(name)
    path = result_path(Path(out), data.zoo.manifest.zoo, name, None, data.biases)
    identity = {"control": name, **_zoo_identity(data)}
    if not is_finished(path, identity):
        features = control_features(data, name)
        measured = {
            key: evaluate(data, features, 0, control.predictors, control.permuted)
            for key, evaluate in (("downstream", evaluate_targets), ("trajectories", evaluate_trajectories))
        }
        write_result(path, identity, {"targets": _targets(data), **measured, "made": _provenance(data)})
    return path


def _encoder_identity(data: ZooData, encoder: str, seed: int, preset: str) -> dict[str, Any]:
    """Return the entries of a result file that tell which training it belongs to."""
    chosen = preset_of(preset)
    return {
        "encoder": encoder,
        **code_hash(encoder),
        "seed": seed,
        "preset": preset,
        "settings": asdict(chosen.settings_of(data.zoo.manifest.zoo)),
        "end_to_end_settings": asdict(chosen.end_to_end),
        "sizes": chosen.sizes_of(encoder, data.zoo.manifest.zoo),
        **_zoo_identity(data),
    }


def _zoo_identity(data: ZooData) -> dict[str, Any]:
    return {"format": FORMAT, "zoo": zoo_reference(data.zoo), "biases": data.biases, "transfer": data.transfer}


def _targets(data: ZooData) -> dict[str, Any]:
    """Return what the targets of a zoo are, so that its results can be read without the zoo."""
    targets = targets_of(data.zoo.manifest.zoo, data.zoo.manifest.settings)
    return {name: asdict(target) for name, target in targets.items()}


def is_finished(path: Path, identity: Mapping[str, Any]) -> bool:
    """Return whether `path` is a result of this identity.

    Raises PlanMismatchError if it is one of another identity, FormatError if it is not readable.
    """
    if not path.is_file():
        return False
    stored = read_entries(path)
    differing = [key for key, value in json.loads(json.dumps(identity)).items() if stored.get(key) != value]
    if differing:
        raise PlanMismatchError(f"{path} is a result with different {', '.join(differing)}. Use another --out.")
    return True


def _provenance(data: ZooData) -> dict[str, Any]:
    """Return software, device and machine that a result was made with."""
    gpu = {} if data.device == "cpu" else {"gpu": torch.cuda.get_device_name(data.device)}
    return {
        "rnn-zoos": __version__,
        "device": data.device,
        **gpu,
        "threads": torch.get_num_threads(),
        **describe_machine(),
    }
