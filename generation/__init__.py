"""Generating zoos: presets and plans in this folder; trainers, engines, writing, publishing and measuring in packages.

May import: `rnn_zoos` and `rnn_zoos.loaders`, but not `rnn_zoos.baselines`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnn_zoos.lazy import lazy_names

if TYPE_CHECKING:
    from rnn_zoos.generation.engines.engine import Engine, generate
    from rnn_zoos.generation.engines.local import LocalEngine
    from rnn_zoos.generation.engines.ray_engine import RayEngine
    from rnn_zoos.generation.plan import Plan, make_plan
    from rnn_zoos.generation.presets import load_preset, preset_names
    from rnn_zoos.generation.publishing.export import export_parquet
    from rnn_zoos.generation.publishing.preparing import prepare_publication
    from rnn_zoos.generation.publishing.publish import publish
    from rnn_zoos.generation.settings import Settings
    from rnn_zoos.generation.trainers.backends import choose_backend, make_trainer
    from rnn_zoos.generation.trainers.trainer import Trainer
    from rnn_zoos.generation.writing.merge import merge
    from rnn_zoos.generation.writing.relabel import relabel
    from rnn_zoos.generation.writing.verify import verify

__all__ = [
    "Engine",
    "LocalEngine",
    "Plan",
    "RayEngine",
    "Settings",
    "Trainer",
    "choose_backend",
    "export_parquet",
    "generate",
    "load_preset",
    "make_plan",
    "make_trainer",
    "merge",
    "prepare_publication",
    "preset_names",
    "publish",
    "relabel",
    "verify",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "rnn_zoos.generation.engines.engine": ("Engine", "generate"),
        "rnn_zoos.generation.engines.local": ("LocalEngine",),
        "rnn_zoos.generation.engines.ray_engine": ("RayEngine",),
        "rnn_zoos.generation.plan": ("Plan", "make_plan"),
        "rnn_zoos.generation.presets": ("load_preset", "preset_names"),
        "rnn_zoos.generation.settings": ("Settings",),
        "rnn_zoos.generation.publishing.export": ("export_parquet",),
        "rnn_zoos.generation.publishing.preparing": ("prepare_publication",),
        "rnn_zoos.generation.publishing.publish": ("publish",),
        "rnn_zoos.generation.trainers.backends": ("choose_backend", "make_trainer"),
        "rnn_zoos.generation.trainers.trainer": ("Trainer",),
        "rnn_zoos.generation.writing.merge": ("merge",),
        "rnn_zoos.generation.writing.relabel": ("relabel",),
        "rnn_zoos.generation.writing.verify": ("verify",),
    },
)
