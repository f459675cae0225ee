"""How the answer of a provider is read: one message, at its end, and what is left of it when that never comes.

Above: `_stage`, `agents`. Below: `_cut`.
Rule: a provider gives the final usage before its message, and whoever passes the answer on sends it behind the message. So both
are kept here, and everything else is passed on as it comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..elements import MessageElement, UsageElement
from ..errors import ProviderError
from ._cut import Sent

if TYPE_CHECKING:
    from ..elements import StreamElement, TurnReset
    from ._protocol import Provider

__all__ = ["AnswerReader"]


class AnswerReader:
    """Holds a provider to what `Provider.stream` promises, while its answer comes in.

    Args:
        provider: Who answers.
    """

    def __init__(self, provider: Provider) -> None:
        self._name = provider.name
        self._message: MessageElement | None = None
        self._usage: UsageElement | None = None
        self._sent = Sent()

    def keeps(self, element: StreamElement) -> bool:
        """Say whether an element is kept until the answer has ended: its message, and its final usage. Others are passed on.

        Raises:
            ProviderError: `protocol`, if something comes behind the message.
        """
        if isinstance(element, UsageElement) and element.final:
            self._usage = element
        elif self._message is not None:
            raise self._broken(f"sent {type(element).__name__} after its message")
        elif isinstance(element, MessageElement):
            self._message = element
        else:
            return False
        return True

    def note(self, element: StreamElement) -> None:
        """Know that an element has been passed on, so that it is part of a message that is cut."""
        self._sent.note(element)

    def reset(self, given: TurnReset, index: int) -> TurnReset:
        """Return what is told of a new beginning: which answer of which turn is to be forgotten."""
        return given.replace(index=index, answer=self._sent.id)

    def message(self) -> MessageElement:
        """Return the message, now that the answer has ended.

        Raises:
            ProviderError: `protocol`, if there was none.
        """
        if self._message is None:
            raise self._broken("ended without its message")
        return self._message

    def message_so_far(self) -> MessageElement | None:
        """Return the message; of an answer that was interrupted before it, what was passed on, None if that is nothing."""
        return self._message if self._message is not None else self._sent.cut()

    def usage(self) -> UsageElement | None:
        """Return the final usage, None if none came."""
        return self._usage

    def usage_so_far(self) -> UsageElement | None:
        """Return the final usage; of an answer that was interrupted before it, the last that was told, as an estimate."""
        return self._usage if self._usage is not None else self._sent.usage_so_far()

    def _broken(self, what: str) -> ProviderError:
        return ProviderError("protocol", f"provider {self._name!r} {what}")
