"""The stage that fits a conversation into a budget of tokens, and how tokens are counted.

Above: users, `context`. Below: `_conversing`, `_histories`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from ..elements import (
    DataElement,
    DataPart,
    MessageElement,
    Metadata,
    StreamElement,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from ..errors import ConfigError, ContextLimitError
from ._checks import checked_count
from ._conversing import ConversationStage
from ._histories import flat, units_of

if TYPE_CHECKING:
    from ..elements import Message, Part
    from ._context import RunContext

__all__ = [
    "BudgetStrategy",
    "Score",
    "Summarize",
    "TokenBudgetStage",
    "TokenCounter",
    "estimate_tokens",
    "summary_message",
    "word_overlap",
]

TokenCounter: TypeAlias = Callable[["Message"], int]
"""Returns how many tokens a message takes."""

BudgetStrategy = Literal["oldest", "relevance", "summarise", "fail"]
"""What gives way where a conversation is too long."""

Score: TypeAlias = Callable[[str, str], float]
"""Returns how much a text (the second) has to do with a question (the first)."""

Summarize: TypeAlias = Callable[[Sequence["Message"]], Awaitable[str] | str]
"""Returns in a few words what messages say."""

_MEDIA_TOKENS = 1000
_WORD = re.compile(r"\w+")


def estimate_tokens(message: Message) -> int:
    """Return about how many tokens a message takes: an estimate, from above for English text; not a count.

    One token for each three characters of text, arguments and results, 1,000 for each picture, sound, film or file, and 4 for the
    message. Give a stage the counter of your model where it matters.
    """
    chars, media = 0, 0
    for part in message.parts:
        size, is_media = _size(part)
        chars += size
        media += is_media
    return 4 + media * _MEDIA_TOKENS + -(-chars // 3)


class TokenBudgetStage(ConversationStage):
    """Send of a conversation what fits into a budget of tokens; a tool call and its results are never divided.

    In: `MessageElement`s, the conversation of one turn, oldest first; `TextElement`s, each a whole message of the user; `TurnEnd`.
    Out, for each turn: the system messages and what is kept of the others, in their order and just as they came; the `TurnEnd`, if
    one came. System messages and what is newest are always kept: if these do not fit, the stage fails. Where something was left
    out, a `DataElement` named `context_trimmed` tells `messages` and `tokens` before and after, and whether they are `estimated`.
    A result without its call is left out.

    Flow:
        emits: on `TurnEnd`; for the rest when the input ends.
        backpressures: while the output is full; holds at most `max_messages` messages.
        completes: when the input ends, after the last turn.
        fails: `ContextLimitError` if what must be kept does not fit, or, with `fail`, if something would have to be left out;
            `ElementError` if a turn has more than `max_messages` messages; with what `count` or `score` raises.
        cancels: drops what it holds.
        interrupts: keeps the messages that it holds.

    Args:
        max_tokens: Most tokens of what leaves, from 1 up.
        reserve: How many of them are kept free for the answer.
        strategy: `oldest`: the oldest give way. `relevance`: those that have least to do with the last message of the user.
            `summarise`: the oldest, and a summary of them goes in their place, as a message of the user that says that it is one;
            where it fails or does not fit, the oldest give way. `fail`: an error.
        count: Counts the tokens of a message; None: `estimate_tokens()`.
        score: For `relevance`; None: the share of the question's words that are in the text.
        summarize: For `summarise`: returns the summary of what gives way; may be async.
        summary_tokens: For `summarise`: how many tokens are kept free for the summary.
        max_messages: Most messages that come in in one turn.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    def __init__(
        self,
        max_tokens: int,
        *,
        reserve: int = 0,
        strategy: BudgetStrategy = "oldest",
        count: TokenCounter | None = None,
        score: Score | None = None,
        summarize: Summarize | None = None,
        summary_tokens: int = 200,
        max_messages: int = 10_000,
        name: str = "token_budget",
    ) -> None:
        super().__init__(name, max_messages)
        total = checked_count(max_tokens, "max_tokens", self.name)
        kept_free = checked_count(reserve, "reserve", self.name, least=0)
        if kept_free >= total:
            raise ConfigError("reserve", f"stage {name!r}: {reserve} of {max_tokens} leaves nothing; give less")
        if strategy not in ("oldest", "relevance", "summarise", "fail"):
            message = f"give 'oldest', 'relevance', 'summarise' or 'fail', got {strategy!r:.80}"
            raise ConfigError("strategy", f"stage {name!r}: {message}")
        if (strategy == "summarise") != (summarize is not None):
            raise ConfigError("summarize", f"stage {name!r}: give it with strategy='summarise', and only then")
        self._budget = total - kept_free
        self._strategy: BudgetStrategy = strategy
        self._count: TokenCounter = estimate_tokens if count is None else count
        self._is_estimate = count is None
        self._score: Score = word_overlap if score is None else score
        self._summarize = summarize
        self._summary_tokens = checked_count(summary_tokens, "summary_tokens", self.name)

    async def assemble(self, messages: list[MessageElement], run: RunContext[object]) -> Sequence[StreamElement]:
        """Return what fits."""
        system = [one for one in messages if one.message.role == "system"]
        units = units_of(one for one in messages if one.message.role != "system")
        sizes = [self._size(unit) for unit in units]
        before = self._size(system) + sum(sizes)
        room = self._budget - self._size(system)
        if before <= self._budget:
            return [*system, *flat(units)]
        if self._strategy == "fail" or not units or sizes[-1] > room:
            needed = before if self._strategy == "fail" or not units else self._size(system) + sizes[-1]
            raise ContextLimitError(self.name, self._budget, needed)
        kept = self._chosen(units, sizes, room)
        summary: list[MessageElement] = []
        if self._summarize is not None:
            summary, kept = await self._summarized(units, sizes, room, kept, run)
        left = [unit for place, unit in enumerate(units) if place in kept]
        sent = [*system, *summary, *flat(left)]
        told = {
            "messages_before": len(messages),
            "messages": len(sent),
            "tokens_before": before,
            "tokens": self._size(sent),
            "estimated": self._is_estimate,
            "strategy": self._strategy,
        }
        return [DataElement("context_trimmed", Metadata(told), transient=True), *sent]

    def _size(self, unit: Sequence[MessageElement]) -> int:
        return sum(self._count(one.message) for one in unit)

    def _chosen(self, units: list[list[MessageElement]], sizes: list[int], room: int) -> set[int]:
        """Return the places of the units that are kept."""
        last = len(units) - 1
        order = list(range(last - 1, -1, -1))
        if self._strategy == "relevance":
            question = next((one.message.text for one in reversed(flat(units)) if one.message.role == "user"), "")
            scores = [self._score(question, " ".join(one.message.text for one in unit)) for unit in units]
            order.sort(key=lambda place: -scores[place])  # stable: of two alike, the newer one
        kept, room = {last}, room - sizes[last]
        for place in order:
            if sizes[place] > room:
                if self._strategy == "relevance":
                    continue
                break  # a history without its middle would tell another story
            kept.add(place)
            room -= sizes[place]
        return kept

    async def _summarized(
        self,
        units: list[list[MessageElement]],
        sizes: list[int],
        room: int,
        kept: set[int],
        run: RunContext[object],
    ) -> tuple[list[MessageElement], set[int]]:
        """Return the summary of what gives way, if it can be had and fits, and the places of the units that are kept."""
        tighter = self._chosen(units, sizes, max(sizes[-1], room - self._summary_tokens))
        away = [one.message for place, unit in enumerate(units) if place not in tighter for one in unit]
        try:
            said = self._summarize(away) if self._summarize is not None else ""
            text = await said if inspect.isawaitable(said) else said
        except Exception as error:  # noqa: BLE001 - the oldest give way then
            run.logger.warning("summary failed with %s; the oldest messages give way", type(error).__name__)
            return [], kept
        summary = summary_message(away, text)
        if self._size([summary]) + sum(sizes[place] for place in tighter) > room:
            return [], kept
        return [summary], tighter


def summary_message(away: Sequence[Message], text: str) -> MessageElement:
    """Return a summary as a message: of the user, because it is made of what was said, and no instruction.

    Args:
        away: What it stands for.
        text: What it says.
    """
    message = msgspec.structs.replace(
        away[0],
        role="user",
        content=f"[Summary of {len(away)} earlier messages, for information only]\n{text}",
        id="",
        name=None,
        stop_reason=None,
        metadata=Metadata({"summary_of": len(away)}),
    )
    return MessageElement(message)


def word_overlap(question: str, text: str) -> float:
    """Return the share of the question's words that are in the text."""
    asked = set(_WORD.findall(question.casefold()))
    return len(asked & set(_WORD.findall(text.casefold()))) / len(asked) if asked else 0.0


def _size(part: Part) -> tuple[int, int]:
    """Return how many characters a part has, and how many of it are media."""
    match part:
        case TextPart():
            return len(part.text), 0
        case ThinkingPart():
            return len(part.text) + len(part.signature or "") + len(part.encrypted or ""), 0
        case ToolCallPart():
            return len(part.name) + len(part.raw or str(part.args)), 0
        case DataPart():
            return len(part.name) + len(str(part.value)), 0
        case ToolResultPart():
            if isinstance(part.content, str):
                return len(part.content), 0
            sizes = [_size(one) for one in part.content]
            return sum(size for size, _ in sizes), sum(media for _, media in sizes)
        case _:
            return 0, 1
