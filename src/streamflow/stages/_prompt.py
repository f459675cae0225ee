"""The prompt: what a model is told, made of the route, the history and what the user says.

Above: users, `apps`; a model's stage behind it. Below: `_contract`, `_intent` (a text is a message of the user).
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

from ..elements import Message, MessageElement, TextElement, TurnEnd
from ..errors import ConfigError
from ._contract import BaseStage, StageKind
from ._intent import as_message

if TYPE_CHECKING:
    from ..channels import ReceiveEnd, SendEnd
    from ._admission import Accepts
    from ._context import RunContext
    from ._turns import OnInterrupt

__all__ = ["PromptPart", "PromptStage"]

PromptPart: TypeAlias = (
    "str | Callable[[RunContext[object], MessageElement | None], str | Awaitable[str | None] | None]"
)
"""Something that a model is told in every turn: a text, or what a function returns; it may be async."""


class PromptStage(BaseStage):
    """Put together what a model is to read in one turn: the system message, the latest history, what the user says.

    In: `MessageElement`, the conversation, oldest first, as `RouteStage` or a store gives it; `TextElement`, each a whole message
    of the user; `TurnEnd`. Messages without content are left out.
    Out, for each turn with a message: the system message, whose text is chosen by `metadata["route"]` of the user's last message,
    and which carries that `route` too; the last `history_limit` messages before the newest, and the newest, just as they came; the
    `TurnEnd`, if one came. System messages in the history count as history and follow right behind the chosen one. Results of
    tools whose call was left out are left out too. Every `TurnEnd` starts a new collection.

    No text is a template: what users, stores and `system` say reaches the model letter by letter.

    `parts` make further system messages behind the chosen one, in their order: texts, or functions of the run (with its `deps`) and
    the user's last message, None without one. One that returns None or an empty text adds nothing.

    Flow:
        emits: on `TurnEnd`; for the rest when the input ends.
        backpressures: while the output is full; holds `history_limit + 1` messages, and forgets older ones.
        completes: when the input ends, after the last prompt.
        fails: with what a function of `parts` raises.

    Args:
        system: The system message's text, or one for each route. Empty text: no system message.
        default_route: Whose text is used for a message without a route, or with one that `system` does not name.
        history_limit: Most messages of the history.
        parts: What else the model is told in every turn.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.

    Source: seed 000 (LLMStage).
    """

    kind: StageKind = StageKind.ACCUMULATE
    on_interrupt: OnInterrupt | None = "fence"  # what it keeps are wholes
    accepts: Accepts | None = (TextElement, MessageElement, TurnEnd)
    emits: Accepts | None = (MessageElement, TurnEnd)

    def __init__(
        self,
        system: str | Mapping[str, str],
        *,
        default_route: str = "general",
        history_limit: int = 10,
        parts: Iterable[PromptPart] = (),
        name: str = "prompt",
    ) -> None:
        super().__init__(name)
        self._system = _checked_system(system, default_route)
        self._default_route = default_route
        self._parts = _checked_parts(parts)
        self.max_held: int | None = _checked_limit(history_limit) + 1

    async def process(
        self,
        input: ReceiveEnd[TextElement | MessageElement | TurnEnd],
        output: SendEnd[MessageElement | TurnEnd],
        run: RunContext[object],
    ) -> None:
        """Run the stage."""
        held: deque[MessageElement] = deque(maxlen=self.max_held)
        route = self._default_route
        async for element in input:
            if isinstance(element, TurnEnd):
                await self._send_prompt(held, route, output, run)
                await output.send(element)
                held.clear()
                route = self._default_route
                continue
            whole = as_message(element)
            if not whole.message.content:
                continue
            if whole.message.role == "user":
                said = whole.metadata.get("route")
                route = said if isinstance(said, str) else self._default_route
            held.append(whole)
        await self._send_prompt(held, route, output, run)

    async def _send_prompt(
        self,
        held: deque[MessageElement],
        route: str,
        output: SendEnd[MessageElement | TurnEnd],
        run: RunContext[object],
    ) -> None:
        if not held:
            return
        told = [await self._told(part, held, run) for part in self._parts]
        text = self._system.get(route, self._system[self._default_route])
        if text:
            await output.send(MessageElement(Message("system", text)).with_metadata(route=route))
        for said in filter(None, told):
            await output.send(MessageElement(Message("system", said)))
        latest = _without_orphans(held)
        for element in latest:
            if element.message.role == "system":
                await output.send(element)
        for element in latest:
            if element.message.role != "system":
                await output.send(element)

    async def _told(self, part: PromptPart, held: Iterable[MessageElement], run: RunContext[object]) -> str | None:
        if isinstance(part, str):
            return part
        asked = [one for one in held if one.message.role == "user"]
        said = part(run, asked[-1] if asked else None)
        return await said if inspect.isawaitable(said) else said


def _without_orphans(held: deque[MessageElement]) -> list[MessageElement]:
    """Leave out results of tools whose call fell off the history: a model refuses an answer to a question that it does not see."""
    asked: set[str] = set()
    kept: list[MessageElement] = []
    for element in held:
        results = element.message.tool_results
        if any(result.call_id not in asked for result in results):
            continue
        asked.update(call.call_id for call in element.message.tool_calls)
        kept.append(element)
    return kept


def _checked_parts(parts: object) -> tuple[PromptPart, ...]:
    if isinstance(parts, str) or not isinstance(parts, Iterable):
        raise ConfigError("parts", f"give a list of texts and functions, got {parts!r:.80}")
    given = tuple(cast("Iterable[object]", parts))
    for place, part in enumerate(given):
        if not isinstance(part, str) and not callable(part):
            raise ConfigError(f"parts[{place}]", f"give a text, or a function of run and message, got {part!r:.80}")
    return cast("tuple[PromptPart, ...]", given)


def _checked_limit(limit: object) -> int:
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise ConfigError("history_limit", f"give a number of messages, 0 or more, got {limit!r:.80}")
    return limit


def _checked_system(system: object, default_route: object) -> dict[str, str]:
    if not isinstance(default_route, str) or not default_route.strip():
        raise ConfigError("default_route", f"a route is a non-empty text, got {default_route!r:.80}")
    if isinstance(system, str):
        return {default_route: system}
    if not isinstance(system, Mapping) or not system:
        raise ConfigError("system", f"give a text, or a dict of a text for each route, got {system!r:.80}")
    texts: dict[str, str] = {}
    for route, text in cast("Mapping[object, object]", system).items():
        if not isinstance(route, str) or not isinstance(text, str):
            raise ConfigError(f"system[{route!r:.80}]", f"routes and their texts are strings, got {text!r:.80}")
        texts[route] = text
    if default_route not in texts:
        raise ConfigError(
            "default_route", f"system has no text for {default_route!r}; it has {', '.join(map(repr, texts))}"
        )
    return texts
