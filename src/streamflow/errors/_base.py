"""The base of the tree, and what a wrong value is.

Above: the other modules. Below: nothing.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DecodeError",
    "ElementError",
    "JsonStreamError",
    "StreamflowError",
]


class StreamflowError(Exception):
    """Base of every error that streamflow raises on purpose.

    ```python
    try:
        result = pipeline.execute_sync("hello")
    except StreamflowError as error:
        print(error)
    ```
    """

    # A traceback, and the type of an error in a trace, have the name under which the error is imported.
    __module__ = "streamflow.errors"

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.startswith(f"{StreamflowError.__module__}._"):
            cls.__module__ = StreamflowError.__module__


class ElementError(StreamflowError, ValueError):
    """A value is no `StreamElement`, or an element breaks a rule of its type.

    Args:
        message: What was wrong, and the way out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        """What was wrong, and the way out."""

    def __str__(self) -> str:
        return self.message


class DecodeError(ElementError):
    """Input that was to be decoded is malformed.

    Args:
        message: What was wrong.
        path: Where, as in `$.message.parts[0]`; `$` is the whole value.
    """

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.args: tuple[object, ...] = (message, path)
        self.path = path
        """Where the value was wrong, as in `$.message.parts[0]`."""

    def __str__(self) -> str:
        return f"{self.message} (at {self.path})"


class JsonStreamError(DecodeError):
    """JSON that was read as it arrived is malformed, beyond a limit, or ended too early.

    Args:
        message: What was wrong.
        offset: At which character of the document, from 0.
        truncated: Whether nothing was wrong but that the document ended there.
        path: In which value, as in `$.slots[0].message`.
    """

    def __init__(self, message: str, offset: int, truncated: bool = False, path: str = "$") -> None:
        super().__init__(message, path)
        self.args: tuple[object, ...] = (message, offset, truncated, path)
        self.offset = offset
        """At which character of the document, from 0."""
        self.truncated = truncated
        """Whether nothing was wrong but that the document ended there."""

    def __str__(self) -> str:
        return f"{self.message} (at {self.path}, character {self.offset})"


class ConfigError(StreamflowError, ValueError):
    """A setting has a wrong value.

    Args:
        field: Name of the setting.
        message: What was wrong, and what is allowed.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, message)
        self.field = field
        """Name of the setting."""
        self.message = message
        """What was wrong, and what is allowed."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"
