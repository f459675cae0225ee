"""Hypothesis strategies on demand: Hypothesis is an extra, and takes a while to import.

Above: `testing`, whose `__getattr__` this is. Below: `_strategies` and its siblings, which import Hypothesis.
"""

from __future__ import annotations

import importlib

from ..errors import MissingExtraError

__all__ = ["strategy"]

_MODULES = {
    **dict.fromkeys(
        (
            "control_elements",
            "data_elements",
            "elements",
            "json_objects",
            "json_values",
            "messages",
            "metadata",
            "parts",
            "text_elements",
            "usages",
        ),
        "._strategies",
    ),
    "graphs": "._graph_strategies",
}


def strategy(name: str) -> object:
    """Return the strategy of that name from its module.

    Raises:
        AttributeError: If there is none.
        MissingExtraError: If Hypothesis is not installed.
    """
    if name not in _MODULES:
        message = f"module 'streamflow.testing' has no attribute {name!r}"
        raise AttributeError(message)
    try:
        found: object = getattr(importlib.import_module(_MODULES[name], __package__), name)
    except ModuleNotFoundError as error:
        raise MissingExtraError("hypothesis", "testing") from error
    return found
