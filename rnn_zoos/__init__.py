"""Zoos of small recurrent networks. This page defines the terms and axis letters that all docstrings use.

    M networks    B sequences   T steps        L layers        H hidden units   G gates       I inputs
    O outputs     V symbols     P parameters   Z embedding     S snapshots      K updates drawn ahead

    run        one training of one network; it has a task, hyperparameters, a number
    snapshot   the network of a run after some number of updates (`step`); one row of a zoo
    stack      M networks along a leading axis: stacked weights [M, *shape], and `NetworkStack`, which runs them at once
    shard      a file with the stacked weights of some runs of one split

    >>> from rnn_zoos import load_dataset, load_model, open_zoo

`rnn_zoos.generation` makes zoos, `rnn_zoos.loaders` reads them, `rnn_zoos.baselines` learns from them. Importing this
package loads none of the three; each is imported when one of its names is first used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from rnn_zoos.errors import ZooError
from rnn_zoos.lazy import lazy_names

if TYPE_CHECKING:
    from rnn_zoos.format.check import check_zoo
    from rnn_zoos.loaders.dataset import load_dataset
    from rnn_zoos.loaders.features import Weights
    from rnn_zoos.loaders.model import load_model, stack
    from rnn_zoos.loaders.zoo import open_zoo
    from rnn_zoos.networks.architecture import Architecture
    from rnn_zoos.networks.model import RecurrentNetwork
    from rnn_zoos.networks.stack import NetworkStack
    from rnn_zoos.networks.weights import flatten, stack_weights, unflatten, unstack_weights

__version__ = "0.1.0"
__all__ = [
    "Architecture",
    "NetworkStack",
    "RecurrentNetwork",
    "Weights",
    "ZooError",
    "__version__",
    "check_zoo",
    "flatten",
    "load_dataset",
    "load_model",
    "open_zoo",
    "stack",
    "stack_weights",
    "unflatten",
    "unstack_weights",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "rnn_zoos.format.check": ("check_zoo",),
        "rnn_zoos.loaders.dataset": ("load_dataset",),
        "rnn_zoos.loaders.features": ("Weights",),
        "rnn_zoos.loaders.model": ("load_model", "stack"),
        "rnn_zoos.loaders.zoo": ("open_zoo",),
        "rnn_zoos.networks.architecture": ("Architecture",),
        "rnn_zoos.networks.model": ("RecurrentNetwork",),
        "rnn_zoos.networks.stack": ("NetworkStack",),
        "rnn_zoos.networks.weights": ("flatten", "stack_weights", "unflatten", "unstack_weights"),
    },
)

# Then `datasets` can read weights back from what it has stored; see rnn_zoos.loaders.features.
if sys.modules.get("datasets") is not None:
    importlib.import_module("rnn_zoos.loaders.features")
