"""Duration of a training update with every encoder, compared with an update of the emulator alone.

At the sizes of the preset `paper`: 64 networks of the formal languages, one string each, an emulator of 2 x 256 units.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.benchmark.presets import PRESETS
from rnn_zoos.baselines.emulation.emulator import Emulator
from rnn_zoos.baselines.emulation.losses import total_variation
from rnn_zoos.baselines.emulation.optimisation import Optimisation
from rnn_zoos.baselines.encoders.encoder import Encoder, FeatureEncoder, count_parameters, embeddings_of
from rnn_zoos.baselines.encoders.layers import unit_length
from rnn_zoos.baselines.encoders.registry import make_encoder
from rnn_zoos.baselines.encoders.transformer import TransformerEncoder
from rnn_zoos.families.formal_languages import LENGTH, NUM_SYMBOLS, FormalLanguages
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights
from rnn_zoos.symmetry.signed import SignedPermutation

NETWORKS = 64
_ARCHITECTURE = Architecture("lstm", 2, NUM_SYMBOLS, 32, NUM_SYMBOLS)
_SETTINGS = PRESETS["paper"].settings[FormalLanguages.name]
_EMULATOR, _BARE = "emulator alone", "bare nn.TransformerEncoder"


class _Update:
    """Does one update per call: embeds 64 networks, emulates a string of each, and optimises the total variation.

    Inputs and targets are random. Without an encoder the embeddings are constants.
    """

    def __init__(self, encoder: Encoder | None) -> None:
        self.encoder = encoder
        self.generator = torch.Generator().manual_seed(0)
        self.weights = stack_weights([initial_weights(_ARCHITECTURE, 0, run) for run in range(NETWORKS)])
        self.embeddings = torch.randn(NETWORKS, _SETTINGS.embedding_size, generator=self.generator)
        symbols = torch.randint(NUM_SYMBOLS, (NETWORKS, 1, LENGTH - 1), generator=self.generator)
        self.inputs = torch.eye(NUM_SYMBOLS)[symbols]
        self.targets = torch.randn(NETWORKS, 1, LENGTH - 1, NUM_SYMBOLS, generator=self.generator).log_softmax(-1)
        self.emulator = Emulator(NUM_SYMBOLS, NUM_SYMBOLS)
        parts = [self.emulator] if encoder is None else [encoder, self.emulator]
        self.optimisation, self.updates = Optimisation(parts, _SETTINGS, type(encoder).__name__), 0
        if encoder is not None:
            encoder.fit_inputs(self.weights, self.inputs.flatten(0, 1) if encoder.information == "data" else None)
            if isinstance(encoder, FeatureEncoder):
                self.features = encoder.features(self.weights, NetworkStack(_ARCHITECTURE, self.weights))

    def __call__(self) -> None:
        embeddings = self.embeddings if self.encoder is None else self._embed(self.encoder)
        loss = total_variation(self.emulator(embeddings, self.inputs), self.targets).mean()
        self.optimisation.step(loss, self.updates)
        self.updates += 1

    def _embed(self, encoder: Encoder) -> Tensor:
        """Return embeddings [M, Z] as `Embedder` does: features are kept, augmented networks permuted."""
        if isinstance(encoder, FeatureEncoder):
            return unit_length(encoder.read(self.features))
        weights = self.weights
        if encoder.augmented:
            permutation = SignedPermutation.sample(_ARCHITECTURE, NETWORKS, generator=self.generator)
            weights = permutation.apply(_ARCHITECTURE, weights)
        return embeddings_of(encoder, weights, NetworkStack(_ARCHITECTURE, weights))


def _bare_transformer(encoder: TransformerEncoder) -> Callable[[], None]:
    """Return an update of the transformer's blocks alone, on constant tokens."""
    blocks: nn.Module = encoder.blocks
    tokens = torch.randn(NETWORKS, *encoder.places.shape, generator=torch.Generator().manual_seed(0))
    optimisation = Optimisation([blocks], _SETTINGS, _BARE)

    def update() -> None:
        optimisation.step(blocks(tokens).square().mean(), 0)

    return update


def measure_encoders(names: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """Measure updates with the named encoders; return a table row for each, medians of `repeats` updates.

    `ms` is the duration of an update, `times emulator` its ratio to an update of the emulator alone, and `times bare`,
    for the transformer, its ratio to an update of a bare nn.TransformerEncoder of the same size. The networks have
    13,766 weights; the strings have 41 steps. Updates with different encoders are interleaved, after one warm-up each.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoders = {name: make_encoder(name, _ARCHITECTURE) for name in names}
        updates: dict[str, Callable[[], None]] = {_EMULATOR: _Update(None)}
        updates |= {name: _Update(encoder) for name, encoder in encoders.items()}
        for encoder in encoders.values():
            if isinstance(encoder, TransformerEncoder):
                with torch.random.fork_rng():
                    updates[_BARE] = _bare_transformer(TransformerEncoder(_ARCHITECTURE))
    seconds = [{name: _seconds(update) for name, update in updates.items()} for _ in range(repeats + 1)][1:]
    return [_table_row(seconds, name, encoders.get(name)) for name in updates]


def _table_row(seconds: list[dict[str, float]], name: str, encoder: Encoder | None) -> dict[str, Any]:
    """Return the row of one method, from the seconds of every method in every repeat."""
    ratio = partial(_median_ratio, seconds, name)
    return {
        "update with": name,
        "parameters": None if encoder is None else count_parameters(encoder),
        "ms": 1e3 * statistics.median(repeat[name] for repeat in seconds),
        "times emulator": ratio(_EMULATOR),
        "times bare": ratio(_BARE) if isinstance(encoder, TransformerEncoder) else None,
    }


def _median_ratio(seconds: list[dict[str, float]], name: str, base: str) -> float:
    return statistics.median(repeat[name] / repeat[base] for repeat in seconds)


def _seconds(update: Callable[[], None]) -> float:
    started = time.perf_counter()
    update()
    return time.perf_counter() - started
