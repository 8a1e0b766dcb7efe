"""Presets of the benchmark: how long encoders are trained on each zoo, and with which sizes.

A new preset is an entry of `PRESETS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from rnn_zoos.baselines.downstream.settings import EndToEndSettings
from rnn_zoos.baselines.emulation.data import benchmark_of
from rnn_zoos.baselines.emulation.settings import EmulationSettings
from rnn_zoos.baselines.encoders.probes import probing
from rnn_zoos.baselines.encoders.registry import ENCODERS, encoder_class, is_encoder
from rnn_zoos.baselines.encoders.weights import statistics, transformer
from rnn_zoos.errors import EncoderError, UnknownNameError
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.sequential_mnist import SequentialMnist

Sizes = Mapping[str, Mapping[str, Any]]
"""Encoder name -> keyword arguments that replace default sizes of the encoder."""

_LANGUAGES, _DIGITS = FormalLanguages.name, SequentialMnist.name


@dataclass(frozen=True)
class Preset:
    """Settings of the benchmark.

    Attributes:
        settings: Zoo name -> settings of emulation; other zoos have those of the languages.
        end_to_end: Settings of end-to-end training, the same for all zoos.
        sizes: Sizes of encoders on all zoos.
        zoo_sizes: Zoo name -> sizes of encoders on this zoo, in addition.
    """

    settings: Mapping[str, EmulationSettings]
    end_to_end: EndToEndSettings
    sizes: Sizes
    zoo_sizes: Mapping[str, Sizes] = field(default_factory=dict)

    def settings_of(self, zoo: str) -> EmulationSettings:
        """Return the settings of emulation on a zoo."""
        return self.settings.get(zoo, self.settings[_LANGUAGES])

    def sizes_of(self, encoder: str, zoo: str) -> dict[str, Any]:
        """Return the keyword arguments of an encoder on a zoo.

        Raises UnknownNameError if there is no such zoo, EncoderError if the encoder does not support its family.
        """
        kind = encoder_class(encoder) if is_encoder(encoder) else None
        if kind is not None and not kind.supports_family(benchmark_of(zoo)):
            able = ", ".join(name for name in ENCODERS if encoder_class(name).supports_family(benchmark_of(zoo)))
            raise EncoderError(f"The encoder {encoder} cannot query networks of {zoo}. Choose one of {able}.")
        chosen = {**self.sizes.get(encoder, {}), **self.zoo_sizes.get(zoo, {}).get(encoder, {})}
        if zoo in self.settings or kind is None:
            return chosen
        return {**kind.family_options(benchmark_of(zoo)), **chosen}


# Chosen on validation; the studies `emulator-languages` and `emulator-digits` repeat the search. An emulator of
# networks that classify digits first has to learn to classify digits, which takes many sequences.
_CPU = EmulationSettings(updates=12_000, evaluate_every=1000, hidden=128, layers=1)
_CPU_DIGITS = replace(_CPU, networks=32, sequences=4)
_SMALL_TRANSFORMER = {"width": 64, "layers": 2, "feedforward": 128}
_SMALL = {
    "interactive": {"hidden": 64},
    "non-interactive": {"hidden": 64},
    "transformer": _SMALL_TRANSFORMER,
    "canonical-transformer": _SMALL_TRANSFORMER,
    "dws": {"channels": 16, "layers": 2},
}
# Chosen on validation in the study `probing-languages`. Not tried on other zoos.
_ORTHOGONAL = {"initial_core": "orthogonal"}
_SMALL_ON_ZOOS = {_LANGUAGES: {"interactive": _ORTHOGONAL, "non-interactive": _ORTHOGONAL}}
_PAPER = EmulationSettings(
    updates=100_000,
    evaluate_every=1000,
    hidden=256,
    conditioning="first",
    learning_rate=1e-4,
    schedule="constant",
    clip=0.1,
)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        # For trying: 2 to 4 minutes per encoder on one core.
        "quick": Preset(
            {
                _LANGUAGES: replace(_CPU, updates=4000, evaluate_every=500),
                _DIGITS: replace(_CPU_DIGITS, updates=3000, evaluate_every=500),
            },
            EndToEndSettings(updates=500),
            _SMALL,
            _SMALL_ON_ZOOS,
        ),
        # The leaderboard.
        "cpu": Preset({_LANGUAGES: _CPU, _DIGITS: _CPU_DIGITS}, EndToEndSettings(updates=1000), _SMALL, _SMALL_ON_ZOOS),
        # The configuration of the paper's code, as far as it is known (Herrmann et al., ICML 2024); docs/benchmark.md
        # lists what differs. No stored result was made with it.
        "paper": Preset(
            {_LANGUAGES: _PAPER, _DIGITS: _PAPER},
            EndToEndSettings(updates=20_000),
            {
                "statistics": dict(statistics.PAPER_FORM),
                "flat": {"hidden": 128, "layers": 3},
                "dws": {"channels": 48, "layers": 4},
                "transformer": dict(transformer.PAPER_FORM),
            },
            {
                zoo: {
                    name: {**probing.PAPER_FORM, "questions": questions} for name in ("interactive", "non-interactive")
                }
                for zoo, questions in ((_LANGUAGES, "soft"), (_DIGITS, "sigmoid"))
            },
        ),
    }
)


def preset_of(name: str) -> Preset:
    """Return a preset of the benchmark by name. Raises UnknownNameError."""
    if name not in PRESETS:
        raise UnknownNameError.among("preset", name, PRESETS)
    return PRESETS[name]
