"""The faces of rooms: what a program needs that runs a pipeline is imported with them, all else when it is asked for.

Above: the `__init__` of rooms. Below: nothing.

A face imports for type checkers whatever it offers. What it leaves to be loaded late it names once more, by the module that has it.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["loading"]


def loading(face: str, modules: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` of a face, which loads what is asked for by name and keeps it there, and its `__dir__`.

    Args:
        face: The module's `__name__`.
        modules: The modules that are loaded late, each with the names that it has for the face, with spaces between them.
    """
    homes = {name: module for module, names in modules.items() for name in names.split()}

    def load(name: str) -> object:
        if name not in homes:
            message = f"module {face!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=sys.modules[face])
        found: object = getattr(importlib.import_module(homes[name], face), name)
        setattr(sys.modules[face], name, found)
        return found

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[face]), *homes})

    return load, listed
