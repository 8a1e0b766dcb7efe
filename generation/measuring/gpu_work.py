"""Work in slices: steps of units, of which a state file says which are done, until the time of a call is over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnn_zoos.errors import FormatError, PlanMismatchError, ZooError
from rnn_zoos.format.files import file_blocks, write_atomically

Rows = list[dict[str, Any]]
"""Rows of a table of the report. `right` is False for a wrong result; `failed` is the message of an error."""
STATE = "state.json"


class Clock:
    """The time of one call.

    Attributes:
        total: Its seconds, from the start.
    """

    def __init__(self, seconds: float) -> None:
        self.total, self._end = seconds, time.monotonic() + seconds

    @property
    def left(self) -> float:
        """The seconds that are left; negative when the time is over."""
        return self._end - time.monotonic()


@dataclass(frozen=True)
class Unit:
    """A piece of work that is done within one call.

    Attributes:
        name: Its name, unique in its step.
        work: Does it and returns rows; None if it stopped in time, to be continued by the next call.
        expected: How long it takes, in seconds; it is not started with less time left.
        keeps_record: Whether files of its own tell what is done. Then it is only offered while something is missing,
            and done whenever it is offered.
    """

    name: str
    work: Callable[[], Rows | None]
    expected: float = 60.0
    keeps_record: bool = False


@dataclass(frozen=True)
class Step:
    """A step of the work: units in a fixed order, created one after the other when the earlier ones are done."""

    name: str
    about: str
    units: Callable[[], Iterator[Unit]]


@dataclass
class State:
    """What is done, kept in a JSON file.

    Attributes:
        path: The file.
        about: What the work is done with; another call must have the same.
        machines: The machines that calls ran on.
        results: Step -> unit -> its `rows` and `seconds`.
    """

    path: Path
    about: dict[str, Any]
    machines: list[dict[str, Any]]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, directory: Path, about: dict[str, Any], machine: dict[str, Any] | None = None) -> State:
        """Read the state of a directory, or start a new one.

        Raises:
            PlanMismatchError: It is of other work.
            FormatError: It is not a state, or a damaged one.
        """
        state = cls(directory / STATE, json.loads(json.dumps(about)), [machine or {}])
        if state.path.is_file():
            stored = _read_state(state.path)
            differing = [key for key, value in state.about.items() if stored["about"].get(key) != value]
            if differing:
                raise PlanMismatchError(
                    f"{directory} was started with another {', '.join(differing)}. Give the same options, or another "
                    "--out."
                )
            state.results = stored["results"]
            state.machines = stored["machines"] + [new for new in state.machines if new not in stored["machines"]]
        return state

    def rows(self, step: str) -> Rows:
        """Return the rows of a step so far."""
        return [row for unit in self.results.get(step, {}).values() for row in unit["rows"]]

    def is_done(self, step: str, unit: str) -> bool:
        """Return whether a unit is done."""
        return unit in self.results.get(step, {})

    def forget_failures(self) -> None:
        """Let units that failed be done again."""
        for units in self.results.values():
            for name in [name for name, unit in units.items() if any("failed" in row for row in unit["rows"])]:
                del units[name]

    def add(self, step: str, unit: str, rows: Rows, seconds: float) -> None:
        """Add the result of a unit, and write the file atomically."""
        self.results.setdefault(step, {})[unit] = {"rows": rows, "seconds": round(seconds, 2)}
        content = json.dumps({name: value for name, value in vars(self).items() if name != "path"}, indent=1) + "\n"
        write_atomically(self.path, content.encode())


def _read_state(path: Path) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = json.loads(b"".join(file_blocks(path)))
        expected = {"about": dict, "machines": list, "results": dict}
        if all(isinstance(stored[name], kind) for name, kind in expected.items()):
            return stored
        problem = "an entry has another type"
    except (ValueError, KeyError, TypeError) as error:
        problem = repr(error)
    raise FormatError(
        f"{path} is not a state that this command wrote ({problem}). Give another --out; or delete the file: finished "
        "runs are kept, the rest is done again."
    )


def work_through(
    steps: Sequence[Step], state: State, clock: Clock, show: Callable[[str], None] = print
) -> dict[str, str]:
    """Do the units of steps that are not done, until the time is over; a failure does not end the work.

    Returns:
        Step -> the unit at which it stopped, in order; empty if everything is done. A step with a unit that does not
        fit even into a whole call is left at that unit, and the next step begins. When the time is over, all later
        steps are named with an empty unit.
    """
    left: dict[str, str] = {}
    for position, step in enumerate(steps):
        for unit in step.units():
            if state.is_done(step.name, unit.name) and not unit.keeps_record:
                continue
            if unit.expected > clock.total:
                show(f"{step.name}: {unit.name} takes about {unit.expected / 60:.1f} minutes: give more --minutes.")
                left[step.name] = unit.name
                break
            if unit.expected > clock.left or not _do(step, unit, state, show):
                later = {other.name: "" for other in steps[position + 1 :]}
                return {**left, step.name: unit.name, **later}
    return left


def _do(step: Step, unit: Unit, state: State, show: Callable[[str], None]) -> bool:
    """Do a unit and keep its rows; return whether it is finished."""
    show(f"{step.name}: {unit.name} ...")
    started = time.monotonic()
    rows: Rows | None
    try:
        rows = unit.work()
    except (RuntimeError, ZooError) as error:  # reported by a device, a driver or a compiler
        rows = [{"failed": f"{type(error).__name__}: {error}"}]
    if rows is not None:
        state.add(step.name, unit.name, rows, time.monotonic() - started)
    return rows is not None


def is_wrong(row: dict[str, Any]) -> bool:
    """Return whether a row is a wrong or failed result."""
    return "failed" in row or not row.get("right", True)


def print_table(name: str, rows: Rows) -> None:
    """Print rows, a line each."""
    print(f"\n{name}")
    for row in rows:
        cells = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
        print("  " + "  ".join(cells))
