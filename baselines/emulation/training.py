"""Training an encoder by emulation: an emulator has to imitate each network, given only its embedding.

No labels are used. Encoder and emulator are trained together, to minimise the total variation distance per step between
the outputs of network and emulator (Herrmann et al., ICML 2024, section 4).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnn_zoos.baselines.emulation.captured import Batch, Updates
from rnn_zoos.baselines.emulation.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rnn_zoos.baselines.emulation.data import SplitData, ZooData, benchmark_of
from rnn_zoos.baselines.emulation.embedding import SEED_STRIDE, Embedder
from rnn_zoos.baselines.emulation.emulator import Emulator
from rnn_zoos.baselines.emulation.losses import emulation_losses, total_variation
from rnn_zoos.baselines.emulation.optimisation import Optimisation, seeded
from rnn_zoos.baselines.emulation.references import REFERENCES, make_reference
from rnn_zoos.baselines.emulation.settings import EmulationSettings
from rnn_zoos.baselines.encoders.encoder import Encoder
from rnn_zoos.baselines.encoders.registry import ENCODERS, code_hash, make_encoder
from rnn_zoos.errors import EncoderError, PresetError
from rnn_zoos.networks.architecture import Architecture


class EmulationRun:
    """The training of one encoder with one seed by emulation.

    It writes a checkpoint at every evaluation; a new run with the same arguments continues from it, bit for bit.
    All random numbers follow from the seed and the number of the update.

    Attributes:
        data: The zoo.
        encoder: The encoder.
        emulator: The emulator.
        embedder: Embeds rows of the zoo by the encoder.
        updates: Does the updates.
        modules: Encoder and emulator as one module.
        identity: What the run is, as stored in the checkpoint: encoder, sizes, seed, zoo, biases, settings.
        update: Number of updates done.
        history: Validation losses of all evaluations, each with its `update` and the `seconds` of training before it.
        best_loss: Lowest validation total variation so far.
        training_rows: Rows of split `train` that batches are drawn from.
        seconds: Duration of the updates, over all sessions, without evaluations; see `work_clock`.

    Args:
        data: The zoo.
        encoder: Name of the encoder, as for `make_encoder`, or of a reference in `REFERENCES`.
        seed: Seed of initial parameters and batches.
        settings: Settings of the training.
        folder: Folder of the checkpoint.
        sizes: Further keyword arguments of the encoder.

    Raises:
        UnknownNameError: If the encoder's name is unknown.
        EncoderError: If the encoder cannot be made for the zoo's networks.
        PresetError: If the seed is negative or has more than 32 bits.
        FormatError: If the checkpoint in `folder` is damaged.
        PlanMismatchError: If the checkpoint in `folder` is of a run with other arguments.

    Example:
        >>> from rnn_zoos.baselines import EmulationRun, EmulationSettings, load_data
        >>> data = load_data("zoos/formal-languages")
        >>> settings = EmulationSettings(updates=4, evaluate_every=2, networks=8, hidden=16)
        >>> run = EmulationRun(data, "statistics", 0, settings, "statistics.0")
        >>> run.train()
        >>> run.losses("test")["total_variation"] < 1
        True
    """

    def __init__(
        self,
        data: ZooData,
        encoder: str,
        seed: int,
        settings: EmulationSettings,
        folder: str | Path,
        sizes: dict[str, Any] | None = None,
    ) -> None:
        if not 0 <= seed < 2**32:
            raise PresetError(f"The seed is {seed}; expected a whole number from 0 to 2^32 - 1.")
        self.data, self.seed, self.settings, self.folder = data, seed, settings, Path(folder)
        self.identity = {
            "encoder": encoder,
            **code_hash(encoder),
            "sizes": sizes or {},
            "seed": seed,
            "zoo": data.zoo.identity,
            "biases": data.biases,
            "settings": asdict(settings),
            **({} if data.transfer is None else {"transfer": data.transfer}),
        }
        reads_first = not benchmark_of(data.zoo.manifest.zoo).starts_with_bos
        with torch.random.fork_rng():  # initial parameters are drawn from torch's global generator
            torch.manual_seed(seed)
            self.emulator = make_emulator(data.architecture, settings, reads_first)  # first: equal for all encoders
            self.encoder = _make_encoder(data, encoder, settings.embedding_size, sizes or {})
        self.training_rows = _rows_of_first_runs(data.splits["train"], settings.training_runs)
        self.embedder = Embedder(data, self.encoder, seed, self.training_rows)
        self.modules = nn.ModuleDict({"encoder": self.encoder, "emulator": self.emulator.to(data.device)})
        self.optimisation = Optimisation([self.encoder, self.emulator], settings, f"{encoder} with seed {seed}")
        self.update, self.best_loss, self.history = 0, math.inf, list[dict[str, float]]()
        self.seconds = 0.0
        # Nothing is known of own encoders; stacks of several architectures are put together anew for every batch.
        known = encoder in ENCODERS or encoder in REFERENCES
        self.updates = Updates(self.optimisation, data.device, known and len(data.architectures) == 1)
        self._best_state = self._copy_state()
        if self.checkpoint.is_file():
            self._load()

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint; the file exists from the first evaluation on.

        Example:
            >>> from rnn_zoos.baselines import EmulationRun, EmulationSettings, load_data
            >>> settings = EmulationSettings(updates=4, evaluate_every=2)
            >>> run = EmulationRun(load_data("zoos/formal-languages"), "flat", 0, settings, "flat.0")
            >>> run.checkpoint.is_file()
            False
        """
        return self.folder / "checkpoint.safetensors"

    def train(
        self,
        report: Callable[[int, float], None] = lambda update, loss: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Do the remaining updates, then load the state with the lowest validation loss into encoder and emulator.

        Args:
            report: Called after every update with the number of updates done and the loss.
            stop: Called after every evaluation but the last, when the checkpoint is written; True ends the training
                there, to be continued by a new run.

        Returns:
            Whether all updates are done.

        Raises:
            EncoderError: If the encoder returns wrong embeddings, or the loss is not finite.

        Example:
            See the class.
        """
        self.modules.train()
        self.data.splits["train"].load()
        clock = work_clock(self.data.device)
        started, before, evaluating = clock(), self.seconds, 0.0
        while self.update < self.settings.updates:
            loss = self.step()
            report(self.update, loss)
            if self.update % self.settings.evaluate_every == 0 or self.update == self.settings.updates:
                self.seconds = before + clock() - started - evaluating
                evaluated = clock()
                self._evaluate()
                self._save()
                evaluating += clock() - evaluated
                if self.update < self.settings.updates and stop():
                    return False
        self.modules.load_state_dict(self._best_state)
        self.modules.eval()
        return True

    def step(self) -> float:
        """Do one update of encoder and emulator, without evaluation.

        Returns:
            The loss of its batch: total variation per step, between 0 and 1.

        Raises:
            EncoderError: If the encoder returns wrong embeddings, or the loss is not finite.

        Example:
            >>> from rnn_zoos.baselines import EmulationRun, EmulationSettings, load_data
            >>> settings = EmulationSettings(updates=4, evaluate_every=2, networks=8, hidden=16)
            >>> run = EmulationRun(load_data("zoos/formal-languages"), "flat", 0, settings, "flat.0")
            >>> loss = run.step()
        """
        generator = torch.Generator().manual_seed(self.seed * SEED_STRIDE + self.update)
        train, networks = self.data.splits["train"], self.settings.networks
        rows = self.training_rows[torch.randint(len(self.training_rows), (networks,), generator=generator)]
        sequences = torch.randint(train.num_rollouts, (networks, self.settings.sequences), generator=generator)
        batch = Batch(rows, sequences, self.embedder.draw_permutation(networks, generator))
        with seeded(generator.initial_seed(), self.data.device):
            value = self.updates.do(self._loss, batch, self.update)
        self.update += 1
        return value

    def _loss(self, batch: Batch, checked: bool) -> Tensor:
        """Return the total variation per step of a batch, with gradients."""
        behaviour = self.data.splits["train"].behaviour(batch.rows, batch.sequences)
        embeddings = self.embedder.embed("train", batch.rows, batch.permutation, checked)
        return total_variation(self.emulator(embeddings, behaviour.inputs), behaviour.log_probs).mean()

    def losses(self, split: str) -> dict[str, float]:
        """Evaluate encoder and emulator on all networks of a split.

        Args:
            split: train, validation, test or ood.

        Returns:
            `total_variation` and `reverse_kl` (in nats), means over all steps of the first `evaluated_sequences` stored
            sequences of each network; `total_variation_unpadded` and `reverse_kl_unpadded`, means over the steps before
            the padding after EOS.

        Example:
            See the class.
        """
        return emulation_losses(self.emulator, self.embedder, split, self.settings.evaluated_sequences)

    def _evaluate(self) -> None:
        """Add the validation losses to the history, and keep the state if it is the best so far."""
        self.modules.eval()
        losses = self.losses("validation")
        self.modules.train()
        self.history.append({"update": self.update, "seconds": self.seconds, **losses})
        if losses["total_variation"] < self.best_loss:
            self.best_loss = losses["total_variation"]
            self._best_state = self._copy_state()

    def _copy_state(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.modules.state_dict().items()}

    def _save(self) -> None:
        moments = self.optimisation.optimizer.state_dict()["state"]
        state = Checkpoint(
            self.identity,
            self.update,
            self.best_loss,
            self.history,
            self.seconds,
            self.modules.state_dict(),
            self._best_state,
            moments,
        )
        save_checkpoint(self.checkpoint, state)

    def _load(self) -> None:
        state = load_checkpoint(self.checkpoint, self.identity)
        self.update, self.best_loss, self.history = state.update, state.best_loss, state.history
        self.seconds = state.seconds
        self.modules.load_state_dict(state.current)
        self._best_state = dict(state.best)
        optimizer = self.optimisation.optimizer
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state.moments})


def _make_encoder(data: ZooData, name: str, embedding_size: int, sizes: dict[str, Any]) -> Encoder:
    """Return a new encoder, or a reference that reads the zoo's labels."""
    if name in REFERENCES:
        return make_reference(data, name, embedding_size)
    return make_encoder(name, data.architectures, embedding_size, **sizes)


def work_clock(device: str) -> Callable[[], float]:
    """Return the clock that trainings are timed with, in seconds: CPU time of this process, or time on other devices.

    Results are made next to each other on shared machines; CPU time does not contain the others.
    """
    return time.process_time if device == "cpu" else time.monotonic


def make_emulator(architecture: Architecture, settings: EmulationSettings, reads_first: bool = False) -> Emulator:
    """Return a new emulator of networks of an architecture, drawn from torch's global random generator."""
    return Emulator(
        architecture.input_size,
        architecture.output_size,
        settings.embedding_size,
        settings.hidden,
        settings.layers,
        settings.conditioning,
        reads_first,
    )


def _rows_of_first_runs(train: SplitData, runs: int) -> Tensor:
    """Return the row numbers of the first runs of a split, or of all runs if `runs` is 0. Raises EncoderError."""
    if not runs:
        return torch.arange(len(train))
    numbers = torch.from_numpy(train.labels("run").copy())
    known = numbers.unique()
    if not 0 < runs <= len(known):
        raise EncoderError(f"training_runs is {runs}; split train has {len(known)} runs. Use 1 to {len(known)}, or 0.")
    (rows,) = torch.nonzero(numbers <= known[runs - 1], as_tuple=True)
    return rows
