"""All zoos by name, and the task family of each: those of this package, and those of installed packages.

A package adds a family with an entry point of the group `rnn_zoos.families`, in its pyproject.toml:

    [project.entry-points."rnn_zoos.families"]
    reversals = "my_package.reversals:Reversals"  # the name of the zoo, and a subclass of TaskFamily

Worker processes and the command line find it there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from rnn_zoos.errors import FamilyError, UnknownNameError
from rnn_zoos.families.automata import Automata
from rnn_zoos.families.columns import RESERVED
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.sequential_mnist import SequentialMnist

GROUP = "rnn_zoos.families"
"""Group of the entry points of families in other packages."""

_FAMILIES: Mapping[str, Callable[[str], TaskFamily]] = MappingProxyType(
    {
        FormalLanguages.name: lambda mnist: FormalLanguages(),
        SequentialMnist.name: SequentialMnist,
        Automata.name: lambda mnist: Automata(),
    }
)
ZOOS = tuple(_FAMILIES)
"""The zoos of this package."""


def zoo_names() -> tuple[str, ...]:
    """Return the names of all zoos: those of this package, and those of installed packages."""
    return (*ZOOS, *sorted(entry_points(group=GROUP).names - {*ZOOS}))


def task_family(zoo: str, mnist: str = "embedded") -> TaskFamily:
    """Return the task family of a zoo.

    Args:
        zoo: Name of the zoo, one of `ZOOS` or of an installed package.
        mnist: Source of the digits for families that need them: `embedded`, `hub` or a directory. They are loaded when
            they are first used.

    Returns:
        The task family.

    Raises:
        UnknownNameError: There is no zoo of this name.
        FamilyError: The package of the family cannot be imported, or has another family.
    """
    if zoo in _FAMILIES:
        return _FAMILIES[zoo](mnist)
    installed = entry_points(group=GROUP)
    if zoo not in installed.names:
        raise UnknownNameError.among("zoo", zoo, zoo_names())
    return _load(installed[zoo])


def _load(found: EntryPoint) -> TaskFamily:
    try:
        family = found.load()
    except (ImportError, AttributeError, SyntaxError) as error:
        raise FamilyError(f"The family {found.name!r} cannot be imported from {found.value}: {error}.") from error
    if not (isinstance(family, type) and issubclass(family, TaskFamily)):
        raise FamilyError(f"{found.value} is not a subclass of TaskFamily.")
    if getattr(family, "name", None) != found.name:
        raise FamilyError(f"{found.value} has not the name of its entry point. Give it: name = {found.name!r}.")
    if missing := sorted(family.__abstractmethods__):
        raise FamilyError(f"{found.value} lacks the methods {', '.join(missing)} of a TaskFamily.")
    made = family()
    if repeated := sorted(name for name in made.task_columns if name in RESERVED or name in made.labels):
        raise FamilyError(f"{found.value} has task columns of a name that has another meaning: {', '.join(repeated)}.")
    if repeated := sorted(RESERVED & made.measured_labels.keys()):
        raise FamilyError(f"{found.value} has labels of a name that has another meaning: {', '.join(repeated)}.")
    return made
