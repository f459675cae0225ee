"""What needs an extra, on demand: strategies need Hypothesis, which takes a while to import, the client of a fake server httpx2.

Above: `testing`, whose `__getattr__` this is. Below: `_strategies` and its siblings, which import Hypothesis; `_fake_transport`
and `_cassette`, which import httpx2.
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
    "json_byte_cuts": "._json_cuts",
    "json_cuts": "._json_cuts",
    **dict.fromkeys(("fake_client", "fake_transport"), "._fake_transport"),
    **dict.fromkeys(("Cassette", "record_cassette", "load_cassette"), "._cassette"),
}
_EXTRAS = {"._fake_transport": ("httpx2", "http"), "._cassette": ("httpx2", "http")}


def strategy(name: str) -> object:
    """Return what has that name from its module.

    Raises:
        AttributeError: If there is none.
        MissingExtraError: If what it needs is not installed.
    """
    if name not in _MODULES:
        message = f"module 'streamflow.testing' has no attribute {name!r}"
        raise AttributeError(message)
    try:
        found: object = getattr(importlib.import_module(_MODULES[name], __package__), name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(*_EXTRAS.get(_MODULES[name], ("hypothesis", "testing"))) from error
    return found
