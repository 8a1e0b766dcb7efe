"""The settings of a zoo: their types, and errors that say which value is wrong and what is allowed."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from rnn_zoos.errors import PresetError
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.run_table import MAX_WEIGHT, peak_rate
from rnn_zoos.networks.architecture import Architecture

_EXAMPLE = Path(__file__).with_name("presets") / "demo.yaml"

Count = Annotated[int, Field(ge=1, lt=2**31, strict=True)]
Step = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
DrawnNumber = Annotated[float, Field(ge=0, lt=2**31, allow_inf_nan=False, strict=True)]  # as zoo.json may have it
PositiveDrawnNumber = Annotated[DrawnNumber, Field(gt=0)]


Cell = Literal["lstm", "gru", "rnn"]


class NetworkSizes(BaseModel):
    """One of several architectures of a zoo.

    Attributes:
        cell: as in `Settings`.
        num_layers: as in `Settings`.
        hidden_size: as in `Settings`.
        weight: how many runs have this architecture, relative to the others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell: Cell
    num_layers: Count
    hidden_size: Count
    weight: Annotated[int, Field(ge=1, le=MAX_WEIGHT, strict=True)] = 1


class LogRange(BaseModel):
    """Bounds of numbers that are drawn log-uniformly: their logarithms are uniform."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: PositiveDrawnNumber
    high: PositiveDrawnNumber

    @model_validator(mode="after")
    def _ordered(self) -> LogRange:
        if self.low >= self.high:
            raise ValueError("low should be less than high")
        return self


def _kind_of_choices(value: object) -> str:
    return _LIST if isinstance(value, (list, tuple)) else _RANGE


_LIST, _RANGE = "list", "range"
_Range = Annotated[LogRange, Tag(_RANGE)]
_List = Annotated[tuple[DrawnNumber, ...], Field(min_length=1), Tag(_LIST)]
_PositiveList = Annotated[tuple[PositiveDrawnNumber, ...], Field(min_length=1), Tag(_LIST)]
Numbers = Annotated[_Range | _List, Discriminator(_kind_of_choices)]
PositiveNumbers = Annotated[_Range | _PositiveList, Discriminator(_kind_of_choices)]
Counts = Annotated[tuple[Count, ...], Field(min_length=1)]


class Variation(BaseModel):
    """What every run of a zoo draws for itself: from a list of values, or log-uniformly between `low` and `high`.

    Attributes:
        learning_rate: the highest rate of the schedule for this run; the others follow in proportion.
        batch_size: sequences per update.
        weight_decay: weight decay of AdamW, instead of the list in `Settings`.
        initial_scale: factor of the initial weights.
        num_updates: updates of the run; each is one of the zoo's snapshots.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: PositiveNumbers | None = None
    batch_size: Counts | None = None
    weight_decay: Numbers | None = None
    initial_scale: PositiveNumbers | None = None
    num_updates: Counts | None = None


class Settings(BaseModel):
    """The settings of one zoo of a preset.

    Attributes:
        seed: the seed of the zoo, from which all random draws follow.
        runs: the number of runs.
        runs_per_shard: the number of runs that are stored in one file; in a preset, its upper bound (`bound_shards`).
        cell: the cell of the networks, "lstm", "gru" or "rnn"; None if there are `architectures`.
        num_layers: the number of recurrent layers; None if there are `architectures`.
        hidden_size: the number of hidden units per layer; None if there are `architectures`.
        architectures: two or more architectures, dealt evenly to the runs, instead of the three settings before.
        batch_size: sequences per update.
        snapshots: the steps at which weights are kept, ascending. The last one is the number of updates.
        learning_rate: points update -> rate, between which the rate is linear.
        weight_decay: the values from which every run draws one.
        evaluation: the sizes of the evaluation of a snapshot, by the names of `LanguageEvaluation` or
            `DigitEvaluation`.
        stratified_tasks: whether tasks are assigned evenly to runs, instead of drawn independently for each.
        vary: hyperparameters that every run draws for itself.

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
    cell: Cell | None = None
    num_layers: Count | None = None
    hidden_size: Count | None = None
    architectures: tuple[NetworkSizes, ...] = ()
    batch_size: Count
    snapshots: Annotated[tuple[Step, ...], Field(min_length=1)]
    learning_rate: Annotated[dict[Step, Number], Field(min_length=1)]
    weight_decay: Annotated[tuple[DrawnNumber, ...], Field(min_length=1)]
    evaluation: dict[str, Count]
    stratified_tasks: Annotated[bool, Field(strict=True)] = False
    vary: Variation | None = None

    @field_validator("snapshots")
    @classmethod
    def _ascending(cls, snapshots: tuple[int, ...]) -> tuple[int, ...]:
        if list(snapshots) != sorted(set(snapshots)):
            raise ValueError("steps should be ascending and different")
        return snapshots

    @model_validator(mode="after")
    def _one_kind_of_sizes(self) -> Settings:
        sizes = (self.cell, self.num_layers, self.hidden_size)
        given = sum(size is not None for size in sizes)
        if given != (0 if self.architectures else len(sizes)):
            raise ValueError("give either cell, num_layers and hidden_size, or architectures")
        kinds = {(member.cell, member.num_layers, member.hidden_size) for member in self.architectures}
        if (self.architectures and len(kinds) != len(self.architectures)) or len(kinds) == 1:
            raise ValueError("architectures should be two or more, all different")
        return self

    @model_validator(mode="after")
    def _possible_variation(self) -> Settings:
        vary = self.vary or Variation()
        if unknown := sorted(set(vary.num_updates or ()) - set(self.snapshots)):
            raise ValueError(f"vary.num_updates has {unknown}, which are not among the snapshots {self.snapshots}")
        shortest = min(vary.num_updates or (self.num_updates,))
        if vary.learning_rate is not None and not peak_rate({"learning_rate": self.learning_rate}, shortest) > 0:
            raise ValueError(f"vary.learning_rate needs a schedule with a rate above 0 in its first {shortest} updates")
        return self

    @property
    def num_updates(self) -> int:
        """The largest number of updates of a run."""
        return self.snapshots[-1]

    def as_data(self) -> dict[str, Any]:
        """Return the settings as JSON data.

        Returns:
            Name -> value. Settings that version 0.1 did not have are left out if they have the value that was implied
            then, so that manifests of the same zoo stay equal.
        """
        data = self.model_dump(mode="json", exclude_none=True)
        for name in ("stratified_tasks", "architectures"):
            if not data[name]:
                del data[name]
        return data

    def all_architectures(self, family: TaskFamily) -> tuple[Architecture, ...]:
        """Return the architectures of the zoo.

        Args:
            family: the task family, which determines the sizes of input and output.

        Returns:
            One architecture, or those of `architectures` in their order.

        Example:
            >>> from rnn_zoos.families.registry import task_family
            >>> from rnn_zoos.generation import load_preset
            >>> settings = load_preset("mixed", "formal-languages")
            >>> settings.all_architectures(task_family("formal-languages"))[0].name
            'lstm-3x16'
        """
        if not self.architectures:
            return (self.architecture(family),)
        return tuple(
            family.architecture(sizes.cell, sizes.num_layers, sizes.hidden_size) for sizes in self.architectures
        )

    def architecture(self, family: TaskFamily) -> Architecture:
        """Return the architecture of all networks of the zoo.

        Args:
            family: the task family, which determines the sizes of input and output.

        Returns:
            The architecture, with the cell, layers and hidden units of these settings.

        Raises:
            PresetError: if there are several.
        """
        if self.cell is None or self.num_layers is None or self.hidden_size is None:
            raise PresetError(
                f"These settings have {len(self.architectures)} architectures, where one is needed. Give cell, "
                "num_layers and hidden_size instead of architectures."
            )
        return family.architecture(self.cell, self.num_layers, self.hidden_size)

    def of_architecture(self, number: int) -> Settings:
        """Return the settings of the runs that have one of the architectures.

        Args:
            number: the number of the architecture; 0 if there is only one.

        Returns:
            Settings with one cell, number of layers and number of hidden units.

        Example:
            >>> from rnn_zoos.generation import load_preset
            >>> load_preset("mixed", "formal-languages").of_architecture(0).cell
            'lstm'
        """
        if not self.architectures:
            return self
        sizes = self.architectures[number].model_dump(exclude={"weight"})
        return self.model_copy(update={**sizes, "architectures": ()})

    def largest(self) -> list[Settings]:
        """Return the settings by which memory is estimated.

        Returns:
            The settings of each architecture, with the largest batch that a run may draw.

        Example:
            >>> from rnn_zoos.generation import load_preset
            >>> len(load_preset("mixed", "formal-languages").largest())
            12
        """
        batch_size = max((self.vary and self.vary.batch_size) or (self.batch_size,))
        own = [self.of_architecture(number) for number in range(max(1, len(self.architectures)))]
        return [settings.model_copy(update={"batch_size": batch_size}) for settings in own]

    def evaluation_sizes(self, family: TaskFamily) -> Any:  # noqa: ANN401 - the family's own dataclass
        """Return `evaluation` as the dataclass of the family.

        Args:
            family: the task family of the zoo.

        Returns:
            An instance of `family.evaluation_type`.
        """
        return family.evaluation_type(**self.evaluation)


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


_MODELS: dict[str, list[type[BaseModel]]] = {
    "vary": [Variation, LogRange],
    "architectures": [NetworkSizes, NetworkSizes],
}
"""Setting that has settings of its own -> whose keys they are, one and two names below it."""


def _explain(detail: dict[str, Any], where: str) -> str:
    given = [str(part) for part in detail["loc"]]
    parts = given[:2] + [part for part in given[2:] if part not in (_LIST, _RANGE)]  # below a hyperparameter
    key, group = ".".join([where, *parts]), parts[0] if parts else ""
    if detail["type"] == "extra_forbidden":
        allowed = _MODELS[group][len(parts) - 2] if len(parts) > 1 else Settings
        return f"{key} is not a setting. Allowed: {', '.join(allowed.model_fields)}."
    if detail["type"] == "missing":
        return f"{key} is missing. Add it; see {_EXAMPLE} for an example."
    if detail["type"] == "model_type" and group == "vary":
        return f"{key} is {detail['input']!r}. Give a list of values, or the bounds of a range, low and high."
    if detail["type"] == "value_error" and isinstance(detail["input"], dict):
        return f"{key}: {detail['msg'].removeprefix('Value error, ')}."
    return f"{key} is {detail['input']!r}. {detail['msg']}."
