"""One network of a zoo."""

from __future__ import annotations

from pathlib import Path

from rnn_zoos.loaders.zoo import open_zoo
from rnn_zoos.networks.model import RecurrentNetwork


def load_model(
    name_or_dir: str | Path, run: int, step: int, revision: str | None = None, token: str | None = None
) -> RecurrentNetwork:
    """Return the network of a run after `step` updates, in evaluation mode.

    It is a torch module: `network(inputs)` maps [B, T, I] to logits [B, T, O]; the recurrent part is `network.lstm`
    (`.gru`, `.rnn`), the readout `network.linear`. Of a zoo on the Hub (OWNER/NAME, at `revision`, with `token`, as in
    `load_dataset`) the index and one shard are fetched.

    Raises FormatError for what is no zoo, UnknownNameError for a run or step that it does not hold, IntegrityError for
    damaged files, HubError for what the Hub does not give.

        network = load_model("zoos/formal-languages", run=17, step=1500)
    """
    zoo = open_zoo(name_or_dir, revision, token)
    return RecurrentNetwork(zoo.manifest.architecture, zoo.weights(zoo.row(run, step))).eval()
