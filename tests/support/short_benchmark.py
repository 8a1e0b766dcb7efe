"""Makes the benchmark short enough for tests."""

from collections.abc import Mapping

import pytest

from rnn_zoos.baselines.benchmark import measurements, presets, runner
from rnn_zoos.baselines.benchmark.presets import Preset
from rnn_zoos.baselines.downstream import mlp


def shorten_benchmark(patch: pytest.MonkeyPatch, short_presets: Mapping[str, Preset]) -> None:
    """Let these be the presets, MLPs stop after 3 epochs, and intervals come from 3 resamples."""
    patch.setattr(presets, "PRESETS", short_presets)
    patch.setattr(mlp, "_MOST_EPOCHS", 3)
    for module in (measurements, runner):
        patch.setattr(module, "BOOTSTRAP_REPEATS", 3)
