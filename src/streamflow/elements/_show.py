"""The `repr` of elements and parts: what differs from the default, and never a megabyte.

Above: the types of this package. Below: nothing.
"""

from __future__ import annotations

from functools import cache

import msgspec

_MAX_CHARS = 200  # of one field; enough to recognise an element in a log line or an assertion


def show(self: msgspec.Struct) -> str:
    """Return `Type(field=value, …)` without the fields that have their default; bytes are shown by their length."""
    told = (
        f"{name}={_show_value(value)}"
        for name, default in _fields(type(self))
        if (value := getattr(self, name)) is not default and (value != default or default is msgspec.NODEFAULT)
    )
    return f"{type(self).__name__}({', '.join(told)})"


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, object], ...]:
    return tuple((field.name, field.default) for field in msgspec.structs.fields(kind))


def _show_value(value: object) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, str):
        return repr(value) if len(value) <= _MAX_CHARS else f"{value[:_MAX_CHARS]!r}…<{len(value)} characters>"
    shown = repr(value)
    return shown if len(shown) <= 2 * _MAX_CHARS else f"{shown[: 2 * _MAX_CHARS]}…"
