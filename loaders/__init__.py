"""Loading zoos from directories and from the Hub: `datasets` objects, batches, single networks, summaries, figures.

May import: `rnn_zoos`; never `rnn_zoos.generation` or `rnn_zoos.baselines`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnn_zoos.lazy import lazy_names

if TYPE_CHECKING:
    from rnn_zoos.loaders.dataset import load_dataset
    from rnn_zoos.loaders.explorer.page import Page, build_page
    from rnn_zoos.loaders.features import Embedding, Rollouts, Weights, materialize
    from rnn_zoos.loaders.model import load_model, stack
    from rnn_zoos.loaders.paper.exporting import export_paper
    from rnn_zoos.loaders.paper.importing import import_paper
    from rnn_zoos.loaders.row import Row
    from rnn_zoos.loaders.torch_dataset import TorchDataset
    from rnn_zoos.loaders.views.figures import draw_zoo
    from rnn_zoos.loaders.views.info import zoo_info
    from rnn_zoos.loaders.views.sample import sample_network
    from rnn_zoos.loaders.zoo import Zoo, open_zoo

__all__ = [
    "Embedding",
    "Page",
    "Rollouts",
    "Row",
    "TorchDataset",
    "Weights",
    "Zoo",
    "build_page",
    "draw_zoo",
    "export_paper",
    "import_paper",
    "load_dataset",
    "load_model",
    "materialize",
    "open_zoo",
    "sample_network",
    "stack",
    "zoo_info",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "rnn_zoos.loaders.dataset": ("load_dataset",),
        "rnn_zoos.loaders.explorer.page": ("Page", "build_page"),
        "rnn_zoos.loaders.features": ("Embedding", "Rollouts", "Weights", "materialize"),
        "rnn_zoos.loaders.model": ("load_model", "stack"),
        "rnn_zoos.loaders.paper.exporting": ("export_paper",),
        "rnn_zoos.loaders.paper.importing": ("import_paper",),
        "rnn_zoos.loaders.row": ("Row",),
        "rnn_zoos.loaders.torch_dataset": ("TorchDataset",),
        "rnn_zoos.loaders.views.figures": ("draw_zoo",),
        "rnn_zoos.loaders.views.info": ("zoo_info",),
        "rnn_zoos.loaders.views.sample": ("sample_network",),
        "rnn_zoos.loaders.zoo": ("Zoo", "open_zoo"),
    },
)
