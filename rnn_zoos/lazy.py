"""Names that are imported when they are first used, so that importing a package costs nothing (PEP 562)."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Getattr = Callable[[str], Any]


def lazy_names(package: str, modules: Mapping[str, Sequence[str]]) -> tuple[Getattr, Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package for names (module -> names) that it does not import itself.

    The package repeats them in `__all__`, and under TYPE_CHECKING for type checkers; a test compares the three.
    """
    places = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(places[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *places})

    return get, names


def moved(module: str, to: str) -> Getattr:
    """Return `__getattr__` of a module whose names live in the module `to` now: they still work, with a warning."""

    def get(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
        if name.startswith("__"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(to), name)
        text = f"{module} is deprecated and goes with version 0.3: import {name} from {to}."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return value

    return get
