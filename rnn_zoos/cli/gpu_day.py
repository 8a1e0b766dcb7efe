"""The steps of the command for the day a GPU is there (`gpu.py`), from its options."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnn_zoos.errors import PresetError, ZooError

if TYPE_CHECKING:
    from rnn_zoos.baselines.emulation.data import ZooData
    from rnn_zoos.families.family import TaskFamily
    from rnn_zoos.generation.measuring.gpu_carry import RowFiles
    from rnn_zoos.generation.measuring.gpu_checks import Methods
    from rnn_zoos.generation.measuring.gpu_work import Clock, Rows, State, Step, Unit
    from rnn_zoos.generation.measuring.gpu_zoos import GpuZoo, ZooSizes
    from rnn_zoos.generation.trainers.trainer import Trainer

METHODS = ("triton tf32x3", "triton ieee", "stacked")
"""The training methods that are checked and measured."""
_DEFAULT_METHODS = {"triton": "triton tf32x3", "stacked": "stacked"}
"""Backend -> the method that trains as the backend does by default: zoos are made by these."""


@dataclass
class GpuDay:
    """The work with all of its options: it makes the steps."""

    options: argparse.Namespace
    clock: Clock
    state: State

    def steps(self) -> list[Step]:
        """Return all steps, in order."""
        from rnn_zoos.generation.measuring.gpu_checks import Sizes, check_gradients, check_training
        from rnn_zoos.generation.measuring.gpu_speed import measure_speed, profile
        from rnn_zoos.generation.measuring.gpu_work import Step

        methods, families, runs = self.methods, self.families, self.options.runs
        paper, awkward = [Sizes()], [Sizes(*sizes, 13, 5) for sizes in (("lstm", 3), ("gru", 2), ("rnn", 1))]
        others = (132, 264, 528) if runs >= 528 else (runs,)

        def check_awkward() -> Iterator[Unit]:
            yield from check_gradients(methods, awkward, families)
            yield from check_training(methods, awkward, families)

        return [
            Step(
                "gradients",
                "loss and gradients compared with autograd",
                lambda: check_gradients(methods, paper, families),
            ),
            Step("training", "20 updates compared with `loop`", lambda: check_training(methods, paper, families)),
            Step("speed", f"updates/s of {runs:,} runs", lambda: measure_speed(methods, families, (runs,))),
            Step("profile", "where the time goes", lambda: profile(methods, families, runs)),
            Step("zoos", "the runs of both zoos, in groups", partial(self._each_zoo, "zoos")),
            Step("check", "hashes, initial weights, some runs trained again", partial(self._each_zoo, "check")),
            Step("carry", "the first runs, compressed", partial(self._each_zoo, "carry")),
            Step("awkward", "odd sizes and other cells: gradients and training", check_awkward),
            Step(
                "warps",
                "updates/s with other numbers of warps",
                lambda: measure_speed(self._warps(), families, (runs,)),
            ),
            Step("counts", "updates/s of other numbers of runs", lambda: measure_speed(methods, families, others)),
            Step("rollouts", "what the networks do, for the benchmark", partial(self._each_zoo, "rollouts")),
            Step("benchmark", "encoders trained with the preset `paper`, seed 0", self._benchmark),
        ]

    @cached_property
    def methods(self) -> Methods:
        """The training methods that are checked and measured, by name."""
        from rnn_zoos.generation.trainers.stacked import StackedTrainer
        from rnn_zoos.generation.trainers.triton.trainer import TritonTrainer

        device = self.options.device
        trainers: list[Callable[[], Trainer]] = [
            partial(TritonTrainer, device),
            partial(TritonTrainer, device, precision="ieee"),
            partial(StackedTrainer, device),
        ]
        chosen = self.options.methods or METHODS
        return {name: make for name, make in zip(METHODS, trainers, strict=True) if name in chosen}

    @cached_property
    def families(self) -> list[TaskFamily]:
        """The task families of the zoos."""
        from rnn_zoos.families.registry import task_family

        return [task_family(zoo, self.options.mnist) for zoo in self.options.zoo]

    def zoos(self) -> Iterator[GpuZoo]:
        """Yield the zoos that are made."""
        from rnn_zoos.generation.measuring.gpu_zoos import GpuZoo

        sizes, preset = read_sizes(self.options.settings)
        folder = self.options.out / "raw"
        for family in self.families:
            yield GpuZoo(family, sizes[family.name], preset, folder / family.name, self.options.device)

    def _warps(self) -> Methods:
        """Return Triton with several numbers of warps, if Triton is among the methods."""
        from rnn_zoos.generation.trainers.triton.trainer import TritonTrainer

        if not any(name.startswith("triton") for name in self.methods):
            return {}
        make = partial(TritonTrainer, self.options.device)
        return {f"{warps} warps": partial(make, num_warps=warps) for warps in (2, 4, 8, 16)}

    def _each_zoo(self, step: str) -> Iterator[Unit]:
        """Yield the units of a step for every zoo."""
        from rnn_zoos.generation.measuring.gpu_carry import carry_zoo
        from rnn_zoos.generation.measuring.gpu_training import check_zoo, generate_zoo
        from rnn_zoos.generation.measuring.gpu_work import Unit

        options = self.options
        for zoo in self.zoos():
            if step == "rollouts":
                yield from self._rows(zoo).units()
            elif step == "carry":
                megabytes = options.carry_mb / len(self.families)
                yield from carry_zoo(zoo, options.out / "carry" / zoo.family.name, megabytes, options.carry_file_mb)
            elif (backend := self._backend(zoo)) is None:
                yield Unit(f"{zoo.family.name}, nothing is right", _refuse, 0, keeps_record=True)
            else:
                make = self.methods[_DEFAULT_METHODS[backend]]
                results = partial(self.state.rows, "zoos")
                generate = generate_zoo(zoo, backend, make, self.clock, results)
                yield from generate if step == "zoos" else check_zoo(zoo, make)

    def _backend(self, zoo: GpuZoo) -> str | None:
        """Return the backend that began the zoo; for a new one the fastest that was not found wrong, if any is not."""
        from rnn_zoos.generation.measuring.gpu_work import is_wrong

        if zoo.is_begun:
            return zoo.raw().backend
        wrong = {row.get("way") for step in ("gradients", "training") for row in self.state.rows(step) if is_wrong(row)}
        speeds = {row["way"]: row["updates/s"] for row in self.state.rows("speed") if row.get("zoo") == zoo.family.name}
        usable = [backend for backend, method in _DEFAULT_METHODS.items() if method in self.methods]
        right = [backend for backend in usable if _DEFAULT_METHODS[backend] not in wrong]
        return max(right, key=lambda backend: speeds.get(_DEFAULT_METHODS[backend], 0.0), default=None)

    def _rows(self, zoo: GpuZoo) -> RowFiles:
        from rnn_zoos.generation.measuring.gpu_carry import RowFiles

        return RowFiles(zoo, self.options.out / "rollouts" / zoo.family.name)

    def _benchmark(self) -> Iterator[Unit]:
        from rnn_zoos.generation.measuring.gpu_work import Unit

        for zoo in self.zoos():
            if self._rows(zoo).is_whole:
                data = _Loaded(self, zoo)
                for encoder in self.options.encoder:
                    yield Unit(f"{zoo.family.name}, {encoder}, seed 0", partial(self._train, data, zoo, encoder))

    def _train(self, loaded: _Loaded, zoo: GpuZoo, encoder: str) -> Rows | None:
        """Train an encoder, or go on with it until the time is over."""
        from rnn_zoos.baselines.benchmark.on_device import PRESET, train_on_device
        from rnn_zoos.baselines.benchmark.presets import preset_of

        out = self.options.out / "benchmark" / zoo.family.name
        changes = _content(self.options.settings).get("benchmark", {})
        _check_names("benchmark", changes, fields(preset_of(PRESET).settings_of(zoo.family.name)))
        row = train_on_device(loaded.data, encoder, 0, out, lambda: self.clock.left, changes)
        return None if row is None else [row]


@dataclass
class _Loaded:
    """The rows of a zoo for training encoders, read when they are first used."""

    day: GpuDay
    zoo: GpuZoo

    @cached_property
    def data(self) -> ZooData:
        """The rows on the device."""
        from rnn_zoos.baselines.emulation.memory import MemoryManifest, MemoryZoo, memory_data

        zoo = self.zoo
        files = json.dumps({name: entry["sha256"] for name, entry in zoo.raw().files.items()}, sort_keys=True)
        about = MemoryManifest(zoo.family.name, zoo.preset, zoo.architecture)
        memory = MemoryZoo(hashlib.sha256(files.encode()).hexdigest(), about)
        return memory_data(memory, zoo.family, self.day._rows(zoo).read(), self.day.options.device)


def _refuse() -> Rows:
    raise ZooError("No training method is right, so no zoo is generated. See the steps gradients and training.")


def _content(path: Path | None) -> dict[str, Any]:
    """Return the content of --settings. Raises PresetError unless it is a JSON object of such objects."""
    from rnn_zoos.format.files import file_blocks

    if path is None:
        return {}
    try:
        content = dict(json.loads(b"".join(file_blocks(path))))
    except (ValueError, TypeError) as error:
        raise PresetError(f"--settings: {path} is not a JSON object with `zoos` or `benchmark` ({error}).") from error
    for name, value in content.items():
        if name not in ("zoos", "benchmark") or not isinstance(value, dict):
            raise PresetError(
                f"--settings: {path} has {name!r}: {json.dumps(value)}; expected `zoos` or `benchmark`, a JSON object."
            )
    return content


def read_sizes(path: Path | None) -> tuple[dict[str, ZooSizes], str]:
    """Return the settings of every zoo, and the name of the preset. Raises PresetError if they cannot be used."""
    from rnn_zoos.generation.measuring.gpu_zoos import PAPER

    given = _content(path).get("zoos", {})
    sizes = dict(PAPER)
    for zoo, values in given.items():
        if zoo not in PAPER:
            raise PresetError(f"--settings: {path} has settings of {zoo!r}; zoos: {', '.join(PAPER)}.")
        if not isinstance(values, dict):
            raise PresetError(f"--settings: {zoo} is {json.dumps(values)}; expected a JSON object with its settings.")
        _check_names(zoo, values, fields(PAPER[zoo]))
        changes: dict[str, Any] = {}
        for name, value in values.items():
            like = getattr(PAPER[zoo], name)
            if not _is_like(value, like) or (name == "evaluation" and value.keys() != like.keys()):
                raise PresetError(f"--settings: {zoo}: {name} is {json.dumps(value)}; expected the form of {like!r}.")
            changes[name] = tuple(value) if isinstance(value, list) else value
        if "learning_rate" in changes:
            changes["learning_rate"] = {int(update): rate for update, rate in changes["learning_rate"].items()}
        sizes[zoo] = replace(PAPER[zoo], **changes)
    return sizes, "paper" if path is None else path.stem


def _check_names(where: str, values: Mapping[str, Any], settings: Iterable[Field[Any]]) -> None:
    """Raise PresetError if some values are no settings."""
    if unknown := values.keys() - {field.name for field in settings}:
        raise PresetError(f"--settings: {where} has no setting {', '.join(sorted(unknown))}.")


def _is_like(value: object, like: object) -> bool:
    """Return whether a value of a JSON file can take the place of a setting."""
    if isinstance(like, Mapping):
        whole = all(str(key).isdecimal() for key in value) if isinstance(value, dict) and 0 in like else True
        return isinstance(value, dict) and bool(value) and whole and all(map(_is_number, value.values()))
    if isinstance(like, tuple):
        return isinstance(value, list) and bool(value) and all(map(_is_number, value))
    return type(value) is type(like)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
