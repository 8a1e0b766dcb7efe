"""How long an update takes with every encoder, beside the emulator alone: ratios of one run, at the paper's sizes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.emulation.emulator import Emulator, total_variation
from rnn_zoos.baselines.encoders.encoder import Encoder, FeatureEncoder, unit_length
from rnn_zoos.baselines.encoders.registry import embeddings_of, make_encoder
from rnn_zoos.baselines.encoders.transformer import TransformerEncoder
from rnn_zoos.families.formal_languages import LENGTH, NUM_SYMBOLS
from rnn_zoos.networks.architecture import Architecture
from rnn_zoos.networks.model import initial_weights
from rnn_zoos.networks.stack import NetworkStack
from rnn_zoos.networks.weights import stack_weights
from rnn_zoos.symmetry.signed import SignedPermutation

NETWORKS = 64
_ARCHITECTURE = Architecture("lstm", 2, NUM_SYMBOLS, 32, NUM_SYMBOLS)
_EMULATOR, _BARE = "emulator alone", "bare nn.TransformerEncoder"


class _Update:
    """Does one update after another: embeddings of 64 networks, emulation of a string of each, AdamW."""

    def __init__(self, encoder: Encoder | None) -> None:
        self.encoder = encoder
        self.generator = torch.Generator().manual_seed(0)
        self.weights = stack_weights([initial_weights(_ARCHITECTURE, 0, run) for run in range(NETWORKS)])
        self.embeddings = torch.randn(NETWORKS, 16, generator=self.generator)
        self.inputs = torch.eye(NUM_SYMBOLS)[
            torch.randint(NUM_SYMBOLS, (NETWORKS, 1, LENGTH - 1), generator=self.generator)
        ]
        self.targets = torch.randn(NETWORKS, 1, LENGTH - 1, NUM_SYMBOLS, generator=self.generator).log_softmax(-1)
        self.emulator = Emulator(NUM_SYMBOLS, NUM_SYMBOLS)
        modules = [self.emulator] if encoder is None else [self.emulator, encoder]
        self.optimizer = torch.optim.AdamW(parameter for module in modules for parameter in module.parameters())
        if encoder is not None:
            sequences = self.inputs.flatten(0, 1) if encoder.information == "data" else None
            encoder.fit_inputs(self.weights, sequences)
            if isinstance(encoder, FeatureEncoder):
                self.features = encoder.features(self.weights, NetworkStack(_ARCHITECTURE, self.weights))

    def __call__(self) -> None:
        embeddings = self.embeddings if self.encoder is None else self._embed(self.encoder)
        loss = total_variation(self.emulator(embeddings, self.inputs), self.targets).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def _embed(self, encoder: Encoder) -> Tensor:
        if isinstance(encoder, FeatureEncoder):
            return unit_length(encoder.read(self.features))
        weights = self.weights
        if encoder.augmented:
            drawn = SignedPermutation.sample(_ARCHITECTURE, NETWORKS, generator=self.generator)
            weights = drawn.apply(_ARCHITECTURE, weights)
        return embeddings_of(encoder, weights, NetworkStack(_ARCHITECTURE, weights))


def _bare_transformer(encoder: TransformerEncoder) -> Callable[[], None]:
    """Return an update of the transformer's blocks alone, on tokens that are there already."""
    blocks: nn.Module = encoder.blocks
    tokens = torch.randn(NETWORKS, *encoder.places.shape, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(blocks.parameters())

    def update() -> None:
        optimizer.zero_grad()
        blocks(tokens).square().mean().backward()
        optimizer.step()

    return update


def measure_encoders(names: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """Return for every encoder medians of `repeats` updates: ms, and times an update of the emulator alone.

    64 networks of 13,766 weights, the paper's emulator (2 x 256) and probing cores, strings of 41 steps. Encoders in
    turn within a repeat. `times bare` is of the transformer: an update with it, over one of a bare
    nn.TransformerEncoder of its size.
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
    rows = []
    for name in updates:
        ratio = partial(_median_ratio, seconds, name)
        parameters = sum(p.numel() for p in encoders[name].parameters()) if name in encoders else None
        rows.append(
            {
                "update with": name,
                "parameters": parameters,
                "ms": 1e3 * statistics.median(repeat[name] for repeat in seconds),
                "times emulator": ratio(_EMULATOR),
                "times bare": ratio(_BARE) if isinstance(encoders.get(name), TransformerEncoder) else None,
            }
        )
    return rows


def _median_ratio(seconds: list[dict[str, float]], name: str, base: str) -> float:
    return statistics.median(repeat[name] / repeat[base] for repeat in seconds)


def _seconds(update: Callable[[], None]) -> float:
    started = time.perf_counter()
    update()
    return time.perf_counter() - started
