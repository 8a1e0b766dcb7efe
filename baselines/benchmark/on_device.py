"""The part of the benchmark that a machine with torch and numpy alone can do: training by emulation, and its losses.

Predictors of labels need scikit-learn, and labels need all measurements of a zoo: `rnn-zoos benchmark` does the rest.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnn_zoos.baselines.benchmark.presets import preset_of
from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.baselines.emulation.saved_encoder import save_encoder
from rnn_zoos.baselines.emulation.training import EmulationRun
from rnn_zoos.baselines.encoders.encoder import count_parameters

PRESET = "paper"
PAPER_ENCODERS = ("statistics", "flat", "transformer", "dws", "non-interactive", "interactive")
"""The encoders of Herrmann et al., ICML 2024."""
_EVALUATED = ("validation", "test", "ood")


def train_on_device(
    data: ZooData,
    encoder: str,
    seed: int,
    out: Path,
    seconds_left: Callable[[], float],
    changes: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Train an encoder with the preset `paper`, evaluate it, and save it.

    A checkpoint is written at every evaluation. If the time ends before the next one, the training stops there; the
    same call continues it.

    Args:
        data: The zoo.
        encoder: Name of the encoder.
        seed: Seed of the training.
        out: Folder for the checkpoint and for ENCODER.SEED.safetensors.
        seconds_left: Returns how much time is left.
        changes: Settings of emulation that replace those of the preset.

    Returns:
        The losses by split, and what they are of; None if the training is not finished.
    """
    preset, zoo = preset_of(PRESET), data.zoo.manifest.zoo
    settings = replace(preset.settings_of(zoo), **changes)
    run = EmulationRun(data, encoder, seed, settings, out / f"{encoder}.{seed}", preset.sizes_of(encoder, zoo))
    if not run.train(stop=_Stop(seconds_left)):
        return None
    save_encoder(run, out / f"{encoder}.{seed}.safetensors", None if changes else PRESET)
    losses = {
        f"{loss} {split}": value
        for split in _EVALUATED
        for loss, value in run.losses(split).items()
        if loss in ("total_variation", "reverse_kl")
    }
    shutil.rmtree(run.folder, ignore_errors=True)
    about = {"zoo": zoo, "encoder": encoder, "seed": seed, "preset": PRESET, "updates": run.update}
    return {**about, "parameters": count_parameters(run.encoder), "seconds": run.seconds, **losses}


class _Stop:
    """Whether to stop after an evaluation: if the time does not suffice for as long as since the one before."""

    def __init__(self, seconds_left: Callable[[], float]) -> None:
        self._seconds_left, self._before = seconds_left, time.monotonic()

    def __call__(self) -> bool:
        now = time.monotonic()
        taken, self._before = now - self._before, now
        return self._seconds_left() < 1.2 * taken
