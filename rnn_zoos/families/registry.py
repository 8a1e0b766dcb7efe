"""All zoos by name, and the task family of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.automata import Automata
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.sequential_mnist import SequentialMnist

_FAMILIES: Mapping[str, Callable[[str], TaskFamily]] = MappingProxyType(
    {
        FormalLanguages.name: lambda mnist: FormalLanguages(),
        SequentialMnist.name: SequentialMnist,
        Automata.name: lambda mnist: Automata(),
    }
)
ZOOS = tuple(_FAMILIES)


def task_family(zoo: str, mnist: str = "embedded") -> TaskFamily:
    """Return the task family of a zoo.

    Args:
        zoo: Name of the zoo, one of `ZOOS`.
        mnist: Source of the digits for families that need them: `embedded`, `hub` or a directory. They are loaded when
            they are first used.

    Returns:
        The task family.

    Raises:
        UnknownNameError: There is no zoo of this name.
    """
    if zoo not in _FAMILIES:
        raise UnknownNameError.among("zoo", zoo, ZOOS)
    return _FAMILIES[zoo](mnist)
