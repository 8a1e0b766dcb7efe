"""Duration of a training update with every encoder, compared with an update of the emulator alone.

At the sizes of a preset, on networks of the formal languages, with random inputs and targets.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.benchmark.presets import preset_of
from rnn_zoos.baselines.emulation.losses import total_variation
from rnn_zoos.baselines.emulation.optimisation import Optimisation
from rnn_zoos.baselines.emulation.settings import EmulationSettings
from rnn_zoos.baselines.emulation.training import make_emulator
from rnn_zoos.baselines.encoders.encoder import Encoder, count_parameters, embeddings_of
from rnn_zoos.baselines.encoders.feature_encoder import FeatureEncoder
from rnn_zoos.baselines.encoders.layers import unit_length
from rnn_zoos.baselines.encoders.registry import make_encoder, usable_encoders
from rnn_zoos.baselines.encoders.weights.transformer import TransformerEncoder
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.language_strings import LENGTH, NUM_SYMBOLS
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights
from rnn_zoos.symmetry.signed import SignedPermutation

_ARCHITECTURE = Architecture("lstm", 2, NUM_SYMBOLS, 32, NUM_SYMBOLS)
_EMULATOR, _BARE, _PRODUCTS = "emulator alone", "bare nn.TransformerEncoder", "matrix products of the emulator"
_SIDE = 512  # of the square matrices whose product gives the rate of this machine


class _Update:
    """Does one update per call: embeds networks, emulates strings of each, and optimises the total variation.

    Inputs and targets are random. Without an encoder the embeddings are constants.
    """

    def __init__(self, encoder: Encoder | None, settings: EmulationSettings) -> None:
        self.encoder, networks = encoder, settings.networks
        self.generator = torch.Generator().manual_seed(0)
        self.weights = stack_weights([initial_weights(_ARCHITECTURE, 0, run) for run in range(networks)])
        self.embeddings = torch.randn(networks, settings.embedding_size, generator=self.generator)
        shape = (networks, settings.sequences, LENGTH - 1)
        self.inputs = torch.eye(NUM_SYMBOLS)[torch.randint(NUM_SYMBOLS, shape, generator=self.generator)]
        self.targets = torch.randn(*shape, NUM_SYMBOLS, generator=self.generator).log_softmax(-1)
        self.emulator = make_emulator(_ARCHITECTURE, settings)
        parts = [self.emulator] if encoder is None else [encoder, self.emulator]
        self.optimisation, self.updates = Optimisation(parts, settings, type(encoder).__name__), 0
        if encoder is not None:
            stack = NetworkStack(_ARCHITECTURE, self.weights)
            encoder.fit_networks(stack, self.inputs.flatten(0, 1) if encoder.information == "data" else None)
            if isinstance(encoder, FeatureEncoder):
                self.features = encoder.features(self.weights, stack)

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
            permutation = SignedPermutation.sample(_ARCHITECTURE, len(self.embeddings), generator=self.generator)
            weights = permutation.apply(_ARCHITECTURE, weights)
        return embeddings_of(encoder, weights, NetworkStack(_ARCHITECTURE, weights))


def _bare_transformer(encoder: TransformerEncoder, settings: EmulationSettings) -> Callable[[], None]:
    """Return an update of an nn.TransformerEncoder of the encoder's size, on constant tokens."""
    places, blocks = encoder.transformer.places, list(encoder.transformer.blocks)[:-1]
    first: Any = blocks[0]
    block = nn.TransformerEncoderLayer(
        places.shape[1], first.heads, first.into.out_features, dropout=0.0, batch_first=True, norm_first=True
    )
    norm = nn.LayerNorm(places.shape[1])
    bare: nn.Module = nn.TransformerEncoder(block, len(blocks), norm, enable_nested_tensor=False)
    tokens = torch.randn(settings.networks, *places.shape, generator=torch.Generator().manual_seed(0))
    optimisation = Optimisation([bare], settings, _BARE)

    def update() -> None:
        optimisation.step(bare(tokens).square().mean(), 0)

    return update


def _matrix_products(settings: EmulationSettings) -> Callable[[], None]:
    """Return products of square matrices with as many operations as those of an update of the emulator.

    Its LSTM layers alone, with inputs of width `hidden`, forward and twice backward.
    """
    per_step = 2 * settings.layers * (2 * settings.hidden) * (4 * settings.hidden)
    operations = 3 * per_step * settings.networks * settings.sequences * (LENGTH - 1)
    one, other = torch.randn(2, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    whole, rest = divmod(operations, 2 * _SIDE**3)
    last = one[: max(1, rest // (2 * _SIDE**2))]

    def products() -> None:
        for _ in range(whole):
            one @ other
        last @ other

    return products


def measure_encoders(names: Sequence[str] | None, repeats: int, preset: str) -> list[dict[str, Any]]:
    """Measure updates with the named encoders, by default all that fit; return a table row for each.

    Rows are medians of `repeats` updates.
    `ms` is the duration of an update, `times emulator` its ratio to an update of the emulator alone, and `times bare`,
    for the transformer, its ratio to an update of a bare nn.TransformerEncoder of the same size. The row `matrix
    products of the emulator` has as many operations as the LSTM layers of the emulator in an update. The networks have
    13,766 weights; the strings have 41 steps. Updates with different encoders are interleaved, after one warm-up each.
    """
    chosen, zoo = preset_of(preset), FormalLanguages.name
    settings, names = chosen.settings_of(zoo), names or usable_encoders(_ARCHITECTURE)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoders = {name: make_encoder(name, _ARCHITECTURE, **chosen.sizes_of(name, zoo)) for name in names}
        updates: dict[str, Callable[[], None]] = {_PRODUCTS: _matrix_products(settings)}
        updates[_EMULATOR] = _Update(None, settings)
        updates |= {name: _Update(encoder, settings) for name, encoder in encoders.items()}
        for encoder in encoders.values():
            if isinstance(encoder, TransformerEncoder):
                updates[_BARE] = _bare_transformer(encoder, settings)
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
    update()  # as in training, the last update is one of the same encoder: its data are in the caches
    started = time.perf_counter()
    update()
    return time.perf_counter() - started
