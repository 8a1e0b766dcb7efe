"""Training an encoder by emulation, without labels: its embeddings have to let an emulator imitate the networks."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from rnn_zoos.baselines.emulation.data import ZooData
from rnn_zoos.baselines.emulation.embedding import SEEDS_APART, Embedder, chunks
from rnn_zoos.baselines.emulation.emulator import Emulator, mean_over_steps, reverse_kl, total_variation
from rnn_zoos.baselines.encoders.encoder import Encoder
from rnn_zoos.baselines.encoders.registry import make_encoder
from rnn_zoos.errors import EncoderError, FormatError, PlanMismatchError
from rnn_zoos.format.files import write_atomically


@dataclass(frozen=True)
class EmulationSettings:
    """Sizes and rates. `networks` a batch, each with `sequences` of its rollouts; a one-cycle learning rate."""

    updates: int
    evaluate_every: int
    networks: int = 64
    sequences: int = 1
    hidden: int = 256
    layers: int = 2
    embedding_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    clip: float = 0.1
    evaluated_sequences: int = 8

    def rate(self, update: int) -> float:
        """Return the learning rate of an update."""
        return one_cycle(self.learning_rate, self.updates, update)


def one_cycle(highest: float, updates: int, update: int) -> float:
    """Return a learning rate that goes up along a cosine for a tenth of the updates, and down for the rest."""
    peak = max(1, updates // 10)
    share = (update + 1) / peak if update < peak else 1 - (update + 1 - peak) / max(1, updates - peak)
    return highest * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * share)))


class EmulationRun:
    """One encoder and one seed: trains, keeps the best on `validation`, goes on where it was stopped.

    `folder` gets checkpoint.safetensors. Everything drawn follows from the seed and the number of the update. Raises
    PlanMismatchError for a folder of other settings, EncoderError for what is wrong with the encoder.
    """

    def __init__(
        self,
        data: ZooData,
        encoder: str,
        seed: int,
        settings: EmulationSettings,
        folder: Path,
        sizes: dict[str, Any] | None = None,
    ) -> None:
        self.data, self.seed, self.settings, self.folder = data, seed, settings, folder
        self.identity = {
            "encoder": encoder,
            "sizes": sizes or {},
            "seed": seed,
            "zoo": data.zoo.identity,
            "biases": data.biases,
            "settings": asdict(settings),
        }
        architecture = data.architecture
        with torch.random.fork_rng():  # the modules draw from torch's global stream
            torch.manual_seed(seed)
            self.encoder = make_encoder(encoder, architecture, settings.embedding_size, **(sizes or {}))
            self.emulator = Emulator(
                architecture.input_size,
                architecture.output_size,
                settings.embedding_size,
                settings.hidden,
                settings.layers,
            )
        self.embedder = Embedder(data, self.encoder, seed)
        self.both = nn.ModuleDict({"encoder": self.encoder, "emulator": self.emulator.to(data.device)})
        self.optimizer = torch.optim.AdamW(self.both.parameters(), weight_decay=settings.weight_decay)
        self.update, self.best_loss, self.history = 0, math.inf, list[dict[str, float]]()
        self.seconds = 0.0  # of training, in all sessions
        self.best = {name: tensor.clone() for name, tensor in self.both.state_dict().items()}
        if self.checkpoint.is_file():
            self._load()

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.folder / "checkpoint.safetensors"

    def train(self, report: Callable[[int, float], None] = lambda update, loss: None) -> None:
        """Do the updates that are left, then take the best state. `report` gets the update and its loss."""
        self.both.train()
        started, before = time.monotonic(), self.seconds
        while self.update < self.settings.updates:
            loss = self.step()
            report(self.update, loss)
            if self.update % self.settings.evaluate_every == 0 or self.update == self.settings.updates:
                self._evaluate()
                self.seconds = before + time.monotonic() - started
                self._save()
        self.both.load_state_dict(self.best)
        self.both.eval()

    def step(self) -> float:
        """Do one update; return its loss, the total variation a step."""
        generator = torch.Generator().manual_seed(self.seed * SEEDS_APART + self.update)
        train = self.data.splits["train"]
        rows = torch.randint(len(train), (self.settings.networks,), generator=generator)
        which = torch.randint(
            train.num_rollouts, (self.settings.networks, self.settings.sequences), generator=generator
        )
        behaviour = train.behaviour(rows, which)
        embeddings = self.embedder.embed("train", rows, generator)
        losses = total_variation(self.emulator(embeddings, behaviour.inputs), behaviour.log_probs)
        loss = losses.mean()
        if not bool(loss.isfinite()):
            raise EncoderError(
                f"The loss of {self.identity['encoder']}, seed {self.seed}, is {loss.item()} at update {self.update}. "
                "Lower the learning rate, or bound the encoder's activations."
            )
        self.optimizer.zero_grad()
        loss.backward()
        for part in (self.encoder, self.emulator):
            nn.utils.clip_grad_norm_(part.parameters(), self.settings.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(self.update)
        self.optimizer.step()
        self.update += 1
        return loss.item()

    @torch.no_grad()
    def losses(self, split: str) -> dict[str, float]:
        """Return both losses of a split, mean of all steps and of those before the padding, on its first rollouts."""
        data, counted = self.data.splits[split], list[Tensor]()
        steps: dict[str, list[Tensor]] = {"total_variation": [], "reverse_kl": []}
        count = min(self.settings.evaluated_sequences, data.num_rollouts)
        for rows in chunks(data):
            behaviour = data.behaviour(rows, torch.arange(count).expand(len(rows), -1))
            emulated = self.emulator(self.embedder.embed(split, rows), behaviour.inputs)
            counted.append(behaviour.counted)
            steps["total_variation"].append(total_variation(emulated, behaviour.log_probs))
            steps["reverse_kl"].append(reverse_kl(emulated, behaviour.log_probs))
        found = {}
        for name, losses in steps.items():
            found[name] = float(mean_over_steps(torch.cat(losses)))
            found[f"{name}_unpadded"] = float(mean_over_steps(torch.cat(losses), torch.cat(counted)))
        return found

    def _evaluate(self) -> None:
        self.both.eval()
        losses = self.losses("validation")
        self.both.train()
        self.history.append({"update": self.update, **losses})
        if losses["total_variation"] < self.best_loss:
            self.best_loss = losses["total_variation"]
            self.best = {name: tensor.clone() for name, tensor in self.both.state_dict().items()}

    def _save(self) -> None:
        tensors = {f"now.{name}": tensor for name, tensor in self.both.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
        told = {
            "identity": self.identity,
            "update": self.update,
            "best": self.best_loss,
            "history": self.history,
            "seconds": self.seconds,
        }
        content = safetensors.torch.save(
            {name: tensor.contiguous() for name, tensor in tensors.items()}, metadata={"run": json.dumps(told)}
        )
        write_atomically(self.checkpoint, content)

    def _load(self) -> None:
        try:
            with safetensors.safe_open(self.checkpoint, framework="pt") as file:
                told = json.loads(file.metadata()["run"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except (safetensors.SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
            raise FormatError(f"{self.checkpoint} is no checkpoint ({error}). Delete it to begin anew.") from error
        if told["identity"] != json.loads(json.dumps(self.identity)):
            differing = [key for key, value in self.identity.items() if told["identity"].get(key) != value]
            raise PlanMismatchError(
                f"{self.checkpoint} was made with another {', '.join(differing)}. Give another folder, or the same."
            )
        self.update, self.best_loss, self.history = told["update"], told["best"], told["history"]
        self.seconds = told["seconds"]
        self.both.load_state_dict(_below(tensors, "now."))
        self.best = _below(tensors, "best.")
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _below(tensors, "optimizer.").items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def count_parameters(encoder: Encoder) -> int:
    """Return the number of an encoder's trained parameters."""
    return sum(parameter.numel() for parameter in encoder.parameters() if parameter.requires_grad)
