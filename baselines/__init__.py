"""Learns from zoos: encoders, emulation, downstream tasks, the benchmark that compares them, a package each.

May import: `rnn_zoos`, `rnn_zoos.loaders`; never `rnn_zoos.generation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnn_zoos.lazy import lazy_names

if TYPE_CHECKING:
    from rnn_zoos.baselines.benchmark.leaderboard import leaderboard
    from rnn_zoos.baselines.benchmark.reading import read_results
    from rnn_zoos.baselines.benchmark.results import run_control, run_encoder
    from rnn_zoos.baselines.emulation.data import ZooData, load_data
    from rnn_zoos.baselines.emulation.training import EmulationRun, EmulationSettings
    from rnn_zoos.baselines.encoders.encoder import Encoder, FeatureEncoder
    from rnn_zoos.baselines.encoders.registry import ENCODERS, embeddings_of, make_encoder

__all__ = [
    "ENCODERS",
    "EmulationRun",
    "EmulationSettings",
    "Encoder",
    "FeatureEncoder",
    "ZooData",
    "embeddings_of",
    "leaderboard",
    "load_data",
    "make_encoder",
    "read_results",
    "run_control",
    "run_encoder",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "rnn_zoos.baselines.benchmark.leaderboard": ("leaderboard",),
        "rnn_zoos.baselines.benchmark.reading": ("read_results",),
        "rnn_zoos.baselines.benchmark.results": ("run_control", "run_encoder"),
        "rnn_zoos.baselines.emulation.data": ("ZooData", "load_data"),
        "rnn_zoos.baselines.emulation.training": ("EmulationRun", "EmulationSettings"),
        "rnn_zoos.baselines.encoders.encoder": ("Encoder", "FeatureEncoder"),
        "rnn_zoos.baselines.encoders.registry": ("ENCODERS", "embeddings_of", "make_encoder"),
    },
)
