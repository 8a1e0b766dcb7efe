"""Presets: all settings of a zoo, in YAML files, validated before anything is trained."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from rnn_zoos.errors import PresetError, UnknownNameError
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.registry import task_family
from rnn_zoos.networks.architecture import Architecture

_FOLDER = Path(__file__).with_name("presets")
_SUFFIXES = (".yaml", ".yml")
SHARD_BYTES = 128 << 20
"""Weights that a shard holds at most, unless a single run has more. A worker needs several times as much memory."""

Count = Annotated[int, Field(ge=1, lt=2**31, strict=True)]
Step = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]


class Settings(BaseModel):
    """The settings of one zoo of a preset.

    Attributes:
        seed: the seed of the zoo, from which all random draws follow.
        runs: the number of runs.
        runs_per_shard: the number of runs that are stored in one file; in a preset, its upper bound (`bound_shards`).
        cell: the cell of the networks, "lstm", "gru" or "rnn".
        num_layers: the number of recurrent layers.
        hidden_size: the number of hidden units per layer.
        batch_size: sequences per update.
        snapshots: the steps at which weights are kept, ascending. The last one is the number of updates.
        learning_rate: points update -> rate, between which the rate is linear.
        weight_decay: the values from which every run draws one.
        evaluation: the sizes of the evaluation of a snapshot, by the names of `LanguageEvaluation` or
            `DigitEvaluation`.
        stratified_tasks: whether tasks are assigned evenly to runs, instead of drawn independently for each.

    Example:
        >>> from rnn_zoos.generation import load_preset
        >>> settings = load_preset("demo", "formal-languages")
        >>> settings.num_updates
        1000
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: Annotated[int, Field(ge=0, lt=2**64, strict=True)] = 0
    runs: Count
    runs_per_shard: Count
    cell: Literal["lstm", "gru", "rnn"]
    num_layers: Count
    hidden_size: Count
    batch_size: Count
    snapshots: Annotated[tuple[Step, ...], Field(min_length=1)]
    learning_rate: Annotated[dict[Step, Number], Field(min_length=1)]
    weight_decay: Annotated[tuple[Number, ...], Field(min_length=1)]
    evaluation: dict[str, Count]
    stratified_tasks: Annotated[bool, Field(strict=True)] = False

    @field_validator("snapshots")
    @classmethod
    def _ascending(cls, snapshots: tuple[int, ...]) -> tuple[int, ...]:
        if list(snapshots) != sorted(set(snapshots)):
            raise ValueError("steps should be ascending and different")
        return snapshots

    @property
    def num_updates(self) -> int:
        """The number of updates of one run."""
        return self.snapshots[-1]

    def as_data(self) -> dict[str, Any]:
        """Return the settings as JSON data.

        Returns:
            Name -> value. Settings that version 0.1 did not have are left out if they have the value that was implied
            then, so that manifests of the same zoo stay equal.
        """
        data = self.model_dump(mode="json")
        if not self.stratified_tasks:
            del data["stratified_tasks"]
        return data

    def architecture(self, family: TaskFamily) -> Architecture:
        """Return the architecture of all networks of the zoo.

        Args:
            family: the task family, which determines the sizes of input and output.

        Returns:
            The architecture, with the cell, layers and hidden units of these settings.
        """
        return family.architecture(self.cell, self.num_layers, self.hidden_size)

    def evaluation_sizes(self, family: TaskFamily) -> Any:  # noqa: ANN401 - the family's own dataclass
        """Return `evaluation` as the dataclass of the family.

        Args:
            family: the task family of the zoo.

        Returns:
            An instance of `family.evaluation_type`.
        """
        return family.evaluation_type(**self.evaluation)


def preset_names() -> list[str]:
    """Return the names of the presets that are part of the package.

    Returns:
        The names, sorted.

    Example:
        >>> from rnn_zoos.generation import preset_names
        >>> "paper" in preset_names()
        True
    """
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def default_digits(preset: str) -> str:
    """Return where `generate` finds the digits of a preset if it is not told: in the package for demo, else the Hub."""
    return "embedded" if preset == "demo" else "hub"


def load_preset(preset: str, zoo: str, **changes: int | None) -> Settings:
    """Return the settings of a zoo in a preset.

    Args:
        preset: a name of `preset_names()`, or the path of a YAML file (.yaml or .yml) of the same form.
        zoo: the name of the zoo, such as "formal-languages".
        **changes: values that replace those of the preset; None replaces nothing.

    Returns:
        The settings, validated, with as many runs per shard as `bound_shards` allows.

    Raises:
        UnknownNameError: the preset or the zoo does not exist.
        PresetError: the file cannot be read, or a value is missing, unknown or not allowed.

    Example:
        >>> from rnn_zoos.generation import load_preset
        >>> load_preset("paper", "sequential-mnist", runs=10).runs
        10
    """
    family = task_family(zoo)
    if preset.endswith(_SUFFIXES):
        path = Path(preset)
        if not path.is_file():
            raise PresetError(
                f"There is no preset file {path}. Give the path of a YAML file, or one of {preset_names()}."
            )
    elif preset in preset_names():
        path = _FOLDER / f"{preset}.yaml"
    else:
        raise UnknownNameError.among("preset", preset, [*preset_names(), "FILE.yaml"])
    content = _read_yaml(path)
    if zoo not in content:
        raise UnknownNameError.among(f"zoo of preset {preset}", zoo, content)
    values = content[zoo]
    if isinstance(values, dict):
        values = values | {key: value for key, value in changes.items() if value is not None}
    return bound_shards(check_settings(values, family, f"{path.name}: {zoo}"), family)


def bound_shards(settings: Settings, family: TaskFamily) -> Settings:
    """Return settings whose shards have at most `SHARD_BYTES` of weights, or one run."""
    most = max_runs_per_shard(settings, family)
    return settings if settings.runs_per_shard <= most else settings.model_copy(update={"runs_per_shard": most})


def max_runs_per_shard(settings: Settings, family: TaskFamily) -> int:
    """Return how many runs, with all of their snapshots, have at most `SHARD_BYTES` of weights; at least 1."""
    run_bytes = 4 * settings.architecture(family).num_parameters * len(settings.snapshots)
    return max(1, SHARD_BYTES // run_bytes)


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a duplicate key is an error, instead of silently replacing the first one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node. Raises YAMLError for a duplicate key."""
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} is given twice, {node.start_mark}")
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except OSError as error:
        raise PresetError(f"{path} cannot be read: {error.strerror or error}. Fix its permissions.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PresetError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(content, dict):
        raise PresetError(f"{path} holds {type(content).__name__}; expected a mapping of zoos to their settings.")
    return content


def check_settings(values: object, family: TaskFamily, where: str) -> Settings:
    """Return plain data as settings; `where` names their source in messages.

    Raises PresetError, which names every wrong key, its value and what is allowed.
    """
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        lines = [_explain(dict(detail), where) for detail in error.errors()]
        raise PresetError("\n".join(lines)) from None
    allowed = [field.name for field in fields(family.evaluation_type)]
    if sorted(settings.evaluation) != sorted(allowed):
        raise PresetError(f"{where}.evaluation has the keys {sorted(settings.evaluation)}; expected {sorted(allowed)}.")
    return settings


def _explain(detail: dict[str, Any], where: str) -> str:
    key = ".".join([where, *(str(part) for part in detail["loc"])])
    if detail["type"] == "extra_forbidden":
        return f"{key} is not a setting. Allowed: {', '.join(Settings.model_fields)}."
    if detail["type"] == "missing":
        return f"{key} is missing. Add it; see {_FOLDER / 'demo.yaml'} for an example."
    return f"{key} is {detail['input']!r}. {detail['msg']}."
