"""Presets of the benchmark: how long encoders are trained on each zoo, and with which sizes.

A new preset is an entry of `PRESETS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from rnn_zoos.baselines.downstream.end_to_end import EndToEndSettings
from rnn_zoos.baselines.emulation.training import EmulationSettings
from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.sequential_mnist import SequentialMnist


@dataclass(frozen=True)
class Preset:
    """Settings of the benchmark.

    Attributes:
        settings: Zoo name -> settings of emulation.
        end_to_end: Settings of end-to-end training, the same for all zoos.
        sizes: Encoder name -> keyword arguments that replace default sizes of the encoder.
    """

    settings: Mapping[str, EmulationSettings]
    end_to_end: EndToEndSettings
    sizes: Mapping[str, Mapping[str, Any]]


_CPU = EmulationSettings(updates=2000, evaluate_every=200, hidden=64)
_PAPER = EmulationSettings(updates=100_000, evaluate_every=1000)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # The same number of updates for every encoder. The 77 stored results of encoders took 1 to 10 minutes each on
        # one thread of an AMD EPYC (both trainings and the evaluation), 31 of them more than 4 minutes. An emulator of
        # networks that classify digits first has to learn to classify digits, which takes many sequences: therefore
        # four per network, and a higher learning rate.
        "cpu": Preset(
            {
                FormalLanguages.name: _CPU,
                SequentialMnist.name: replace(_CPU, networks=32, sequences=4, learning_rate=2e-3),
            },
            EndToEndSettings(updates=500),
            {
                "interactive": {"hidden": 64},
                "non-interactive": {"hidden": 64},
                "transformer": {"width": 64, "layers": 2, "feedforward": 128},
                "dws": {"channels": 16, "layers": 2},
            },
        ),
        # The number of updates of the paper (Herrmann et al., ICML 2024), an emulator of 2 x 256 units, and the default
        # sizes of the encoders. It is not the configuration of the paper's code: learning rate and schedule, encoder
        # sizes, the statistics and the lengths of the probe sequences differ. No stored result was made with it.
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
