"""The stage that shortens a long conversation between its turns, while streaming goes on.

Above: users. Below: `stages`.
Rules: a turn never waits for a summary. One is made beside the stream, after a turn has been sent, and stands for its messages from
the next turn on, as long as these are still what the conversation begins with. If it fails, the history stays whole.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import anyio

from ..elements import DataElement, MessageElement, Metadata
from ..errors import ConfigError
from ..stages import (
    ConversationStage,
    checked_count,
    checked_seconds,
    estimate_tokens,
    flat,
    summary_message,
    turns_in,
    units_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..channels import ReceiveEnd, SendEnd
    from ..elements import Message, StreamElement, TextElement, TurnEnd
    from ..stages import RunContext, Summarize, TokenCounter

__all__ = ["CompactionStage"]


class CompactionStage(ConversationStage):
    """Let a summary stand for the older turns of a long conversation; it is made between turns, and no turn waits for it.

    In: `MessageElement`s, the whole conversation at each turn, oldest first; `TextElement`s, each a whole message of the user;
    `TurnEnd`. It belongs behind a stage that gives the history of each turn again.
    Out, for each turn: all system messages; the summary, if there is one, as a message of the user that says that it is one; the
    other messages, just as they came; the `TurnEnd`. Tool calls and their results are never divided. When a summary stands for
    messages for the first time, a `DataElement` named `context_compacted` tells of how many.

    Flow:
        emits: on `TurnEnd`; for the rest when the input ends. Never waits for a summary.
        backpressures: while the output is full; holds at most `max_messages` messages, and those that a summary stands for.
        completes: when the input ends, after the last turn; a summary that is being made is given up.
        fails: `ElementError` if a turn has more than `max_messages` messages. A summary that fails is logged, and leaves the
            history whole; it is tried again after the next turn.
        cancels: drops what it holds, and gives up the summary.
        interrupts: keeps the messages that it holds; a summary goes on.

    Args:
        summarize: Returns the summary of messages; may be async. See `ProviderSummarizer`.
        above_tokens: How long a conversation may be before its older turns are summarised.
        keep_turns: How many of the latest turns are never summarised, from 1 up.
        count: Counts the tokens of a message; None: `estimate_tokens()`.
        timeout_s: Longest time that a summary may take, in seconds.
        max_messages: Most messages that come in in one turn.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    def __init__(
        self,
        summarize: Summarize,
        *,
        above_tokens: int = 8000,
        keep_turns: int = 4,
        count: TokenCounter | None = None,
        timeout_s: float = 60.0,
        max_messages: int = 10_000,
        name: str = "compaction",
    ) -> None:
        super().__init__(name, max_messages)
        if not callable(summarize):
            raise ConfigError("summarize", f"stage {name!r}: give a function of messages, got {summarize!r:.80}")
        self._summarize = summarize
        self._above_tokens = checked_count(above_tokens, "above_tokens", name)
        self._keep_turns = checked_count(keep_turns, "keep_turns", name)
        self._count: TokenCounter = estimate_tokens if count is None else count
        self._timeout_s = checked_seconds(timeout_s, "timeout_s", name)

    def open(self, run: RunContext[object]) -> _Compaction:
        """Return what compacts the conversation of one run."""
        return _Compaction(self, run)

    async def summary_of(self, away: Sequence[Message]) -> str:
        """Return the summary of messages, in time."""
        with anyio.fail_after(self._timeout_s):
            said = self._summarize(away)
            return await said if inspect.isawaitable(said) else said

    def older(self, messages: list[MessageElement]) -> list[MessageElement]:
        """Return the messages that a summary is to stand for, if the conversation is too long."""
        if sum(self._count(one.message) for one in messages) <= self._above_tokens:
            return []
        return flat(turns_in(units_of(messages))[: -self._keep_turns])


class _Compaction(ConversationStage):
    """The conversation of one run: the stage itself, with what it has summarised."""

    def __init__(self, blueprint: CompactionStage, run: RunContext[object]) -> None:
        super().__init__(blueprint.name, blueprint.max_held or 1)
        self._blueprint = blueprint
        self._run = run
        self._away: list[Message] = []
        self._summary: MessageElement | None = None
        self._is_told = True
        self._scope: anyio.CancelScope | None = None

    async def process(
        self,
        input: ReceiveEnd[TextElement | MessageElement | TurnEnd],
        output: SendEnd[StreamElement],
        run: RunContext[object],
    ) -> None:
        """Run the stage, then give up the summary that is being made."""
        await super().process(input, output, run)
        if self._scope is not None:
            self._scope.cancel()

    async def assemble(self, messages: list[MessageElement], run: RunContext[object]) -> Sequence[StreamElement]:
        """Return the turn, shortened as far as there is a summary; begin a new one if it is still too long."""
        system = [one for one in messages if one.message.role == "system"]
        rest = [one for one in messages if one.message.role != "system"]
        known = len(self._away)
        if self._summary is None or [one.message for one in rest[:known]] != self._away:
            sent, told = rest, False  # another conversation, or one that was changed
        else:
            sent, told = [self._summary, *rest[known:]], not self._is_told
        older = self._blueprint.older([*system, *sent])
        older = [one for one in older if one.message.role != "system"]
        if len(older) > (sent is not rest) and self._scope is None:
            shorter = rest if sent is rest else rest[:known] + sent[1:]
            last = next(at for at in reversed(range(len(shorter))) if shorter[at] is older[-1])
            self._scope = anyio.CancelScope()
            run.start_soon(
                self._make, self._scope, [one.message for one in shorter[: last + 1]], [one.message for one in older]
            )
        if not told:
            return [*system, *sent]
        self._is_told = True
        return [DataElement("context_compacted", Metadata({"messages": known}), transient=True), *system, *sent]

    async def _make(self, scope: anyio.CancelScope, away: list[Message], said: list[Message]) -> None:
        try:
            with scope:
                text = await self._blueprint.summary_of(said)
                self._summary, self._away, self._is_told = summary_message(away, text), away, False
        except Exception as error:  # noqa: BLE001 - the history stays whole then
            self._run.logger.warning("summary failed with %s; the history stays whole", type(error).__name__)
        finally:
            self._scope = None
