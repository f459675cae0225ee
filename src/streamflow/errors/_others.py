"""What parts around the kernel can run into: providers, middleware, programs, packages that are not there.

Above: those. Below: `_base`.
"""

from __future__ import annotations

from ._base import StreamflowError

__all__ = [
    "LineError",
    "MiddlewareError",
    "MissingExtraError",
    "MissingProgramError",
    "ProcessError",
    "ProgramError",
    "ProviderError",
    "RecordingError",
    "ToolError",
]


class ProviderError(StreamflowError):
    """A model provider failed. Carries nothing secret: no header, no key, no prompt.

    Args:
        code: What kind of failure: `transport`, `auth`, `rate_limited`, `overloaded`, `bad_request`, `truncated`,
            `protocol` or `refused`.
        message: One line for a person.
        retryable: Whether the same request may succeed later.
        retry_after_s: How long the server asks to wait before that, in seconds; None: it does not say.
    """

    def __init__(self, code: str, message: str, retryable: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(code, message, retryable, retry_after_s)
        self.code = code
        """What kind of failure."""
        self.message = message
        """One line for a person."""
        self.retryable = retryable
        """Whether the same request may succeed later."""
        self.retry_after_s: float | None = retry_after_s
        """How long the server asks to wait before that, in seconds; None: it does not say."""

    def __str__(self) -> str:
        return self.message


class RecordingError(StreamflowError):
    """A recording cannot be written, read, or played as asked. Repeats nothing that was recorded.

    Args:
        path: The file.
        message: What is wrong, and what to do about it.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(path, message)
        self.path: str = path
        """The file."""
        self.message: str = message
        """What is wrong."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ToolError(StreamflowError):
    """A tool failed in a way that the model is to know. Raised by tools: the message goes to the model word for word.

    Args:
        message: What went wrong, and what the model can do about it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message: str = message
        """What the model is told."""

    def __str__(self) -> str:
        return self.message


class MiddlewareError(StreamflowError):
    """Wrapped middleware said that it failed, or broke its contract. Repeats no text of the middleware's: that is the cause.

    What middleware *raises* is not wrapped in this: it is the cause of the `StageError` itself.

    Args:
        code: What happened: `failed`, `refused`, `retries_exhausted`, `no_fallback`, `bad_result`, `next_twice` or `wrong_context`.
        message: One line for a person, safe to show.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        """What happened."""
        self.message = message
        """One line for a person, safe to show."""

    def __str__(self) -> str:
        return self.message


class ProgramError(StreamflowError):
    """Another program, such as `dot`, failed, took too long, or wrote something else than it should.

    Args:
        program: Its name.
        message: What happened, and the way out.
    """

    def __init__(self, program: str, message: str) -> None:
        super().__init__(program, message)
        self.program = program
        """Its name."""
        self.message = message
        """What happened, and the way out."""

    def __str__(self) -> str:
        return f"{self.program!r}: {self.message}"


class MissingProgramError(ProgramError):
    """Another program is not installed, or not on `PATH`."""


class LineError(StreamflowError, ValueError):
    """A line cannot become an element: it is too long, or not in the encoding that was said.

    Args:
        origin: The file or program that it is from.
        line: Which line, from 1.
        message: What was wrong, and the way out.
    """

    def __init__(self, origin: str, line: int, message: str) -> None:
        super().__init__(origin, line, message)
        self.origin: str = origin
        """The file or program that it is from."""
        self.line: int = line
        """Which line, from 1."""
        self.message: str = message
        """What was wrong, and the way out."""

    def __str__(self) -> str:
        return f"line {self.line} of {self.origin!r} {self.message}"


class ProcessError(StreamflowError):
    """A program ended with a failure.

    Args:
        program: What was started.
        status: Its exit status; negative: the number of the signal that ended it.
        stderr: The last that it wrote to its standard error.
    """

    def __init__(self, program: str, status: int, stderr: str = "") -> None:
        super().__init__(program, status, stderr)
        self.program: str = program
        """What was started."""
        self.status: int = status
        """Its exit status; negative: the number of the signal that ended it."""
        self.stderr: str = stderr
        """The last that it wrote to its standard error, at most 4 KiB."""

    def __str__(self) -> str:
        how = f"was ended by signal {-self.status}" if self.status < 0 else f"ended with exit status {self.status}"
        said = " / ".join(line.strip() for line in self.stderr.splitlines() if line.strip())
        return f"program {self.program!r} {how}; " + (f"it said: {said[-500:]}" if said else "it did not say why")


class MissingExtraError(StreamflowError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: What could not be imported.
        extra: The extra that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(package, extra)
        self.package = package
        """What could not be imported."""
        self.extra = extra
        """The extra that brings it."""

    def __str__(self) -> str:
        return f"{self.package!r} is not installed; install it with: pip install 'streamflow-runtime[{self.extra}]'"
