"""The stage that writes down what passes it.

Above: users. Below: `_contract`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..elements import (
    AudioElement,
    ErrorElement,
    MessageElement,
    StreamElement,
    TextElement,
    ThinkingElement,
    ToolCallElement,
)
from ._admission import EVERYTHING
from ._checks import checked_count
from ._contract import BaseStage

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd
    from ._admission import Accepts
    from ._context import RunContext
    from ._turns import OnInterrupt

__all__ = ["DebugStage"]


class DebugStage(BaseStage):
    """Write a line to the log for each element that passes, and pass it on unchanged.

    A line has the ordinal, the type, the id, and sizes. What is said, the arguments of tools, results and metadata are not in it,
    because a log is read by others; `preview_chars` shows the beginning of texts, and nothing else. Lines go to the logger
    `streamflow.stage.<name>`, with `run_id` and `stage`.

    Flow:
        emits: each element, at once, control too.

    Args:
        level: Level of the lines.
        preview_chars: How many characters of a text a line shows.
        max_lines: After how many elements of a run it says that there are more, and no more.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    on_interrupt: OnInterrupt | None = "fence"
    accepts: Accepts | None = EVERYTHING
    emits: Accepts | None = EVERYTHING

    def __init__(
        self, *, level: int = logging.DEBUG, preview_chars: int = 0, max_lines: int = 10_000, name: str = "debug"
    ) -> None:
        super().__init__(name)
        self._level = level
        self._preview_chars = checked_count(preview_chars, "preview_chars", self.name, least=0)
        self._max_lines = checked_count(max_lines, "max_lines", self.name)

    async def process(
        self, input: ReceiveEnd[StreamElement], output: SendEnd[StreamElement], run: RunContext[object]
    ) -> None:
        """Run the stage."""
        log = run.logger
        number = 0
        async for element in input:
            if number <= self._max_lines and log.isEnabledFor(self._level):
                if number < self._max_lines:
                    log.log(self._level, "#%d %s", number, self._line(element))
                else:
                    log.log(self._level, "more than %d elements; no more are logged", self._max_lines)
            number += 1
            await output.send(element)

    def _line(self, element: StreamElement) -> str:
        said = [type(element).__name__]
        if element.id:
            said.append(f"id={element.id[:40]!r}")
        match element:
            case TextElement() | ThinkingElement():
                said.append(self._text(element.text))
            case MessageElement():
                parts = element.message.parts
                said.append(f"role={element.message.role} parts={len(parts)} calls={len(element.message.tool_calls)}")
                said.append(self._text(element.message.text))
            case ToolCallElement():
                said.append(f"tool={element.name[:40]!r} args={len(element.raw)} chars")
            case AudioElement():
                said.append(f"{len(element.data)} bytes")
            case ErrorElement():
                said.append(f"code={element.code[:40]!r}")
            case _:
                pass
        return " ".join(said)

    def _text(self, text: str) -> str:
        shown = f" {text[: self._preview_chars]!r}" if self._preview_chars else ""
        return f"{len(text)} chars{shown}"
