"""Zoos of small recurrent networks: what a zoo is.

Axis letters, used in every docstring: M networks, B sequences, T steps, L layers, H hidden units, G gates, I inputs,
O outputs, V symbols, P parameters, Z embedding, S snapshots; K is a number of updates drawn ahead.

    >>> from rnn_zoos import load_dataset, load_model, open_zoo

`rnn_zoos.generation` makes zoos, `rnn_zoos.loaders` reads them; this package imports neither before it is asked to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnn_zoos.errors import ZooError

if TYPE_CHECKING:
    from rnn_zoos.loaders.dataset import load_dataset
    from rnn_zoos.loaders.model import load_model
    from rnn_zoos.loaders.zoo import open_zoo

__version__ = "0.1.0"
__all__ = ["ZooError", "__version__", "load_dataset", "load_model", "open_zoo"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: functions of another folder, imported on first use
    if name == "load_dataset":
        from rnn_zoos.loaders.dataset import load_dataset

        return load_dataset
    if name == "load_model":
        from rnn_zoos.loaders.model import load_model

        return load_model
    if name == "open_zoo":
        from rnn_zoos.loaders.zoo import open_zoo

        return open_zoo
    raise AttributeError(f"module 'rnn_zoos' has no attribute {name!r}")
