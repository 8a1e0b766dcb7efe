"""Module-level `__getattr__` (PEP 562): names imported at first use, and deprecated places of names."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Getattr = Callable[[str], Any]


def lazy_names(package: str, modules: Mapping[str, Sequence[str]]) -> tuple[Getattr, Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package whose public names are imported at first use.

    Importing the package then imports none of its modules. The package lists the names again in `__all__`, and under
    TYPE_CHECKING for type checkers; `tests/test_names.py` compares the three.

    Args:
        package: Name of the package.
        modules: Module -> the names that it defines.

    Returns:
        The two functions, to be assigned to `__getattr__` and `__dir__` in the package.
    """
    places = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:  # noqa: ANN401 - an object of any type
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(places[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places})

    return get, names


def moved(module: str, to: str) -> Getattr:
    """Return `__getattr__` of a deprecated module: it forwards names to the module `to`, with a warning."""

    def get(name: str) -> Any:  # noqa: ANN401 - an object of any type
        if name.startswith("__"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(to), name)
        text = f"{module} is deprecated and will be removed in version 0.3; import {name} from {to} instead."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return value

    return get
