"""Learning from zoos: encoders of network weights, and the benchmark that compares them.

    encoders        modules that map the weights of networks to embeddings
    emulation       training of encoders without labels, by imitating the networks
    downstream      prediction of labels from embeddings; controls; end-to-end training
    benchmark       training and evaluating encoders and controls; result files, leaderboard, figures
    interrogation   the theory of probing: how many queries identify a function
    results         stored results, the leaderboard and the figures

May import: `rnn_zoos`, `rnn_zoos.loaders`; never `rnn_zoos.generation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnn_zoos.lazy import lazy_names

if TYPE_CHECKING:
    from rnn_zoos.baselines.benchmark.leaderboard import leaderboard
    from rnn_zoos.baselines.benchmark.result_files import read_results
    from rnn_zoos.baselines.benchmark.runner import run_control, run_encoder
    from rnn_zoos.baselines.emulation.data import ZooData, load_data
    from rnn_zoos.baselines.emulation.saved_encoder import load_encoder, save_encoder
    from rnn_zoos.baselines.emulation.settings import EmulationSettings
    from rnn_zoos.baselines.emulation.training import EmulationRun
    from rnn_zoos.baselines.encoders.encoder import Encoder, embeddings_of
    from rnn_zoos.baselines.encoders.feature_encoder import FeatureEncoder
    from rnn_zoos.baselines.encoders.registry import ENCODERS, make_encoder

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
    "load_encoder",
    "make_encoder",
    "read_results",
    "run_control",
    "run_encoder",
    "save_encoder",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "rnn_zoos.baselines.benchmark.leaderboard": ("leaderboard",),
        "rnn_zoos.baselines.benchmark.result_files": ("read_results",),
        "rnn_zoos.baselines.benchmark.runner": ("run_control", "run_encoder"),
        "rnn_zoos.baselines.emulation.data": ("ZooData", "load_data"),
        "rnn_zoos.baselines.emulation.saved_encoder": ("load_encoder", "save_encoder"),
        "rnn_zoos.baselines.emulation.settings": ("EmulationSettings",),
        "rnn_zoos.baselines.emulation.training": ("EmulationRun",),
        "rnn_zoos.baselines.encoders.encoder": ("Encoder", "embeddings_of"),
        "rnn_zoos.baselines.encoders.feature_encoder": ("FeatureEncoder",),
        "rnn_zoos.baselines.encoders.registry": ("ENCODERS", "make_encoder"),
    },
)
