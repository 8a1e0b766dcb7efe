"""The zoos that there are, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from rnn_zoos.errors import UnknownNameError
from rnn_zoos.families.family import TaskFamily
from rnn_zoos.families.formal_languages import FormalLanguages
from rnn_zoos.families.sequential_mnist import SequentialMnist

_FAMILIES: Mapping[str, Callable[[str], TaskFamily]] = MappingProxyType(
    {
        FormalLanguages.name: lambda mnist: FormalLanguages(),
        SequentialMnist.name: SequentialMnist,
    }
)
ZOOS = tuple(_FAMILIES)


def task_family(zoo: str, mnist: str = "embedded") -> TaskFamily:
    """Return the task family of a zoo; `mnist` says where its digits come from, if it has any (not loaded yet).

    Raises UnknownNameError for a zoo that is not known.
    """
    if zoo not in _FAMILIES:
        raise UnknownNameError.among("zoo", zoo, ZOOS)
    return _FAMILIES[zoo](mnist)
