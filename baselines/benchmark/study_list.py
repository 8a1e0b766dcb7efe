"""The studies by name. What they found is in baselines/studies; a new study is an entry of `STUDIES`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rnn_zoos.baselines.benchmark.studies import Study, Variant
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.sequential_mnist import SequentialMnist

_SEARCH = ("train", "validation")
_SEARCH_BASE = {"hidden": 64, "layers": 2, "learning_rate": 3e-3, "clip": 1.0}
_LANGUAGES, _DIGITS = FormalLanguages.name, SequentialMnist.name


def _self_rollout(**settings: object) -> Variant:
    return Variant("self-rollout", settings=settings)


def _bank(**settings: object) -> Variant:
    return Variant("data-bank", settings=settings)


def _interactive(**sizes: object) -> Variant:
    return Variant("interactive", sizes=sizes)


def _non_interactive(**sizes: object) -> Variant:
    return Variant("non-interactive", sizes=sizes)


_PAPER = {"questions": "soft", "answers": "probabilities", "bos": False, "standardised": False}
_UNIFORM, _ORTHOGONAL = {"initial_core": "uniform"}, {"initial_core": "orthogonal"}


STUDIES: Mapping[str, Study] = MappingProxyType(
    {
        "emulator-languages": Study(
            "which emulator, batch and learning rate at 6,000 updates?",
            _LANGUAGES,
            seeds=1,
            splits=_SEARCH,
            settings={"updates": 6000, "evaluate_every": 1000, **_SEARCH_BASE},
            variants={
                "base": _self_rollout(),
                "1x64": _self_rollout(layers=1),
                "1x128": _self_rollout(layers=1, hidden=128),
                "first-step-only": _self_rollout(conditioning="first"),
                "rate-.006": _self_rollout(learning_rate=6e-3),
                "rate-.0015": _self_rollout(learning_rate=1.5e-3),
                "1x128-rate-.006": _self_rollout(layers=1, hidden=128, learning_rate=6e-3),
                "1x128-clip-.3": _self_rollout(layers=1, hidden=128, clip=0.3),
                "1x128-128-networks": _self_rollout(layers=1, hidden=128, networks=128),
            },
        ),
        "rates-languages": Study(
            "is twice the learning rate better for all encoders, at 6,000 updates?",
            _LANGUAGES,
            seeds=1,
            splits=_SEARCH,
            settings={"updates": 6000, "evaluate_every": 1000},
            variants={
                f"{encoder}-rate-{str(rate).lstrip('0')}": Variant(encoder, settings={"learning_rate": rate})
                for encoder in ("self-rollout", "interactive", "non-interactive", "neural-graph", "flat")
                for rate in (0.003, 0.006)
            },
        ),
        "updates-languages": Study(
            "what do more updates give, with which emulator?",
            _LANGUAGES,
            seeds=1,
            splits=_SEARCH,
            settings={"evaluate_every": 2000, **_SEARCH_BASE, "layers": 1},
            variants={
                "1x64-12000": _self_rollout(updates=12_000),
                "1x64-24000": _self_rollout(updates=24_000),
                "1x128-12000": _self_rollout(hidden=128, updates=12_000),
                "1x64-24000-rate-.0015": _self_rollout(updates=24_000, learning_rate=1.5e-3),
                "1x128-24000": _self_rollout(hidden=128, updates=24_000),
            },
        ),
        "self-rollout-languages": Study(
            "which beginnings, how many, how their answers are arranged and read, at 6,000 updates?",
            _LANGUAGES,
            seeds=1,
            splits=_SEARCH,
            settings={"updates": 6000, "evaluate_every": 1000, **_SEARCH_BASE, "layers": 1},
            variants={
                "4-9": Variant("self-rollout"),
                "4-9-one-mlp": Variant("self-rollout", {"apart": False}),
                "4-9-one-mlp-2-layers": Variant("self-rollout", {"apart": False, "layers": 2}),
                "4-9-2-layers": Variant("self-rollout", {"layers": 2}),
                "4-9-by-step": Variant("self-rollout", {"arranged": "steps"}),
                "4-9-probabilities": Variant("self-rollout", {"answers": "probabilities"}),
                "4-9-log": Variant("self-rollout", {"answers": "log"}),
                "9": Variant("self-rollout", {"prefixes": (9,)}),
                "3-7": Variant("self-rollout", {"prefixes": (3, 7)}),
                "3-5-7-9": Variant("self-rollout", {"prefixes": (3, 5, 7, 9)}),
                "3-5-7-9-by-step": Variant("self-rollout-by-step"),
                "1-to-9": Variant("self-rollout", {"prefixes": tuple(range(1, 10))}),
                "branching-2": Variant("self-rollout-branching"),
                "branching-4": Variant("self-rollout-branching", {"branches": 4}),
            },
        ),
        "emulator-digits": Study(
            "which emulator, batch and learning rate at 4,000 updates?",
            _DIGITS,
            seeds=1,
            splits=_SEARCH,
            settings={"updates": 4000, "evaluate_every": 500, **_SEARCH_BASE},
            variants={
                "base": _bank(),
                "1x64": _bank(layers=1),
                "1x128": _bank(layers=1, hidden=128),
                "1x192": _bank(layers=1, hidden=192),
                "1x128-rate-.006": _bank(layers=1, hidden=128, learning_rate=6e-3),
                "1x128-64-networks": _bank(layers=1, hidden=128, networks=64),
                "1x128-16x8": _bank(layers=1, hidden=128, networks=16, sequences=8),
            },
        ),
        "banks-digits": Study(
            "how many digits at how many angles, at 4,000 updates?",
            _DIGITS,
            seeds=1,
            splits=_SEARCH,
            settings={"updates": 4000, "evaluate_every": 500},
            variants={
                "rotation-bank": Variant("rotation-bank"),
                "4-digits": Variant("rotation-bank", {"digits": 4}),
                "16-digits": Variant("rotation-bank", {"digits": 16}),
                "12-angles": Variant("rotation-bank", {"angles": 12}),
                "36-angles": Variant("rotation-bank", {"angles": 36}),
                "last-step": Variant("rotation-bank", {"read_steps": (49,)}),
                "64-channels": Variant("rotation-bank", {"channels": 64}),
                "data-bank": Variant("data-bank"),
                "data-bank-4": Variant("data-bank", {"sequences": 4}),
            },
        ),
        "probing-languages": Study(
            "what makes probing learn, at 6,000 updates? One part changed at a time, with two forms of initial weights",
            _LANGUAGES,
            seeds=3,
            splits=("train", "validation", "test", "ood"),
            settings={"updates": 6000, "evaluate_every": 1000},
            variants={
                "interactive": _interactive(**_UNIFORM),
                "interactive-soft-questions": _interactive(**_UNIFORM, questions="soft"),
                "interactive-linear-answers": _interactive(**_UNIFORM, answers="probabilities"),
                "interactive-without-bos": _interactive(**_UNIFORM, bos=False),
                "interactive-unstandardised": _interactive(**_UNIFORM, standardised=False),
                "interactive-residual": _interactive(**_UNIFORM, residual=True),
                "interactive-residual-mlps": _interactive(**_UNIFORM, residual=True, mlps=True),
                "interactive-paper": _interactive(**_UNIFORM, **_PAPER, residual=True, mlps=True),
                "non-interactive": _non_interactive(**_UNIFORM),
                "non-interactive-paper": _non_interactive(**_UNIFORM, **_PAPER, residual=True, mlps=True),
                "interactive-orthogonal": _interactive(**_ORTHOGONAL),
                "interactive-orthogonal-soft-questions": _interactive(**_ORTHOGONAL, questions="soft"),
                "interactive-orthogonal-linear-answers": _interactive(**_ORTHOGONAL, answers="probabilities"),
                "interactive-orthogonal-without-bos": _interactive(**_ORTHOGONAL, bos=False),
                "interactive-orthogonal-unstandardised": _interactive(**_ORTHOGONAL, standardised=False),
                "interactive-orthogonal-residual-mlps": _interactive(**_ORTHOGONAL, residual=True, mlps=True),
                "non-interactive-orthogonal": _non_interactive(**_ORTHOGONAL),
            },
        ),
        "probing-digits": Study(
            "what makes probing of digits learn, at 4,000 updates?",
            _DIGITS,
            seeds=3,
            splits=("train", "validation", "test", "ood"),
            settings={"updates": 4000, "evaluate_every": 500},
            variants={
                "interactive": _interactive(),
                "interactive-22-steps": _interactive(steps=22),
                "interactive-sigmoid": _interactive(questions="sigmoid"),
                "interactive-probabilities": _interactive(answers="probabilities"),
                "interactive-unstandardised": _interactive(standardised=False),
                "interactive-orthogonal": _interactive(**_ORTHOGONAL),
                "non-interactive": _non_interactive(),
                "non-interactive-orthogonal": _non_interactive(**_ORTHOGONAL),
            },
        ),
        "low-data-languages": Study(
            "what do encoders learn from few training runs, at 6,000 updates?",
            _LANGUAGES,
            seeds=1,
            splits=("train", "validation", "test", "ood"),
            settings={"updates": 6000, "evaluate_every": 1000},
            variants={
                f"{encoder}-{runs}": Variant(encoder, settings={"training_runs": runs})
                for encoder in ("self-rollout", "interactive", "dws", "flat")
                for runs in (50, 200, 700)
            },
        ),
    }
)
