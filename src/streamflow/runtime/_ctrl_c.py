"""Ctrl-C while a blocking call works: the first one ends the work as a cancellation does, so that it is cleaned up after.

Above: `_backend`. Below: nothing. The rules are those of `asyncio.Runner`: the program's own handler is left alone, and so are
other threads, to which no signal comes.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Self

__all__ = ["CtrlC"]

# What `signal` is made of: its own functions look for each handler in an enumeration, which costs 3 μs a call.
_signals: Any = getattr(signal, "_signal", signal)
_SIGINT: Final = int(signal.SIGINT)


class CtrlC:
    """While it is entered, the first Ctrl-C cancels; a further one raises `KeyboardInterrupt` wherever the program is.

    Args:
        cancel: Ends the work, and says whether there was something to end.
    """

    __slots__ = ("_cancel", "_is_handled", "was_heard")

    def __init__(self, cancel: Callable[[], bool]) -> None:
        self._cancel = cancel
        self._is_handled = False
        self.was_heard: bool = False
        """Whether it was pressed."""

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and _signals.getsignal(_SIGINT) is signal.default_int_handler:
            try:
                _signals.signal(_SIGINT, self)
            except ValueError:  # an interpreter inside another program, to which no signals come
                return self
            self._is_handled = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_handled:
            handler = _signals.signal(_SIGINT, signal.default_int_handler)
            if handler is not self:
                _signals.signal(_SIGINT, handler)  # the work has put one of its own there

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        """Hear the signal."""
        is_first, self.was_heard = not self.was_heard, True
        if not is_first or not self._cancel():
            raise KeyboardInterrupt
