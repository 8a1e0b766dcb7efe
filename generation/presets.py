"""Presets: the settings of zoos in YAML files, read and validated before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rnn_zoos.errors import PresetError, UnknownNameError
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.registry import task_family
from rnn_zoos.generation.settings import Settings, check_settings

_FOLDER = Path(__file__).with_name("presets")
_SUFFIXES = (".yaml", ".yml")
NAME = "name"
"""Key of a preset file that names the preset; all other keys are zoos."""
SHARD_BYTES = 128 << 20
"""Weights that a shard holds at most, unless a single run has more. A worker needs several times as much memory."""


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
    family, path = task_family(zoo), _path_of(preset)
    content = _read_yaml(path)
    content.pop(NAME, None)
    if zoo not in content:
        raise UnknownNameError.among(f"zoo of preset {preset}", zoo, content)
    values = content[zoo]
    if isinstance(values, dict):
        values = values | {key: value for key, value in changes.items() if value is not None}
    return bound_shards(check_settings(values, family, f"{path.name}: {zoo}"), family)


def preset_name(preset: str) -> str:
    """Return the name that zoos have for their preset: its name, or that of its YAML file without the ending.

    A file can have the key `name` with another one, as the preset.yaml beside a published zoo has. Raises PresetError
    if the file cannot be read, or its `name` is no string.
    """
    if not preset.endswith(_SUFFIXES):
        return preset
    path = _path_of(preset)
    name = _read_yaml(path).get(NAME, path.stem)
    if not isinstance(name, str):
        raise PresetError(f"{path.name}: {NAME} is {name!r}; expected a string.")
    return name


def _path_of(preset: str) -> Path:
    if preset.endswith(_SUFFIXES):
        path = Path(preset)
        if not path.is_file():
            raise PresetError(
                f"There is no preset file {path}. Give the path of a YAML file, or one of {preset_names()}."
            )
        return path
    if preset not in preset_names():
        raise UnknownNameError.among("preset", preset, [*preset_names(), "FILE.yaml"])
    return _FOLDER / f"{preset}.yaml"


def bound_shards(settings: Settings, family: TaskFamily) -> Settings:
    """Return settings whose shards have at most `SHARD_BYTES` of weights, or one run."""
    most = max_runs_per_shard(settings, family)
    return settings if settings.runs_per_shard <= most else settings.model_copy(update={"runs_per_shard": most})


def max_runs_per_shard(settings: Settings, family: TaskFamily) -> int:
    """Return how many runs, with all of their snapshots, have at most `SHARD_BYTES` of weights; at least 1."""
    largest = max(architecture.num_parameters for architecture in settings.all_architectures(family))
    run_bytes = 4 * largest * len(settings.snapshots)
    return max(1, SHARD_BYTES // run_bytes)


_MERGE = "tag:yaml.org,2002:merge"  # of the key <<, with settings that are shared


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a duplicate key is an error, instead of silently replacing the first one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node. Raises YAMLError for a duplicate key."""
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value if key.tag != _MERGE]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} is given twice, {node.start_mark}")
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except OSError as error:
        raise PresetError(f"{path} cannot be read: {error.strerror or error}. Fix its permissions.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise PresetError(f"{path} is not readable YAML: {error}") from error
    if not isinstance(content, dict):
        raise PresetError(f"{path} holds {type(content).__name__}; expected a mapping of zoos to their settings.")
    return content
