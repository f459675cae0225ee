"""A model that answers by rules: offline, without a key, the same every time.

Above: tests, examples, demonstrations. Below: `_protocol`.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from ..elements import (
    Message,
    MessageElement,
    StopReason,
    TextElement,
    TextPart,
    ThinkingElement,
    ThinkingPart,
    Usage,
    UsageElement,
)
from ..errors import ConfigError, ProviderError
from ._protocol import ModelRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..elements import StreamElement

__all__ = ["Answer", "Rule", "ScriptedProvider", "split_words"]

Answer = str | Callable[[ModelRequest], str]
"""What a scripted model says: a text, or a function of the request."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def split_words(text: str) -> list[str]:
    """Return the words of `text`, each with the white space before it, so that they join to `text`."""
    return re.findall(r"\s*\S+|\s+", text)


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    r"""One thing that a scripted model knows how to answer.

    ```python
    Rule(r"hello|hi\b", "Hello! What can I do for you?")
    Rule(r"my name is (?P<name>\w+)", "Nice to meet you, {name}.")
    Rule(lambda text: text.endswith("?"), "Good question.")
    Rule("fail", "This breaks off here", error=ProviderError("overloaded", "the model is busy", True), error_after=2)
    ```
    """

    when: str | re.Pattern[str] | Callable[[str], bool]
    """Looked for in the last text of the user: a regular expression (one given as text ignores case), or a predicate."""
    answer: Answer = ""
    """What to say. In a text, `{text}` is what the user said, `{1}` and `{name}` are groups of the expression;
    other braces are left as they are."""
    thinking: str = ""
    """What to think before."""
    stop_reason: StopReason = "stop"
    """Why the model stops."""
    error: ProviderError | None = None
    """How to fail, instead of finishing."""
    error_after: int = 0
    """Number of tokens to send before the failure."""

    def match(self, text: str) -> dict[str, str] | None:
        """Return what the answer's placeholders stand for, or None if the rule does not apply to `text`."""
        values = {"text": text}
        if callable(self.when):
            return values if self.when(text) else None
        found = re.search(self.when, text, re.IGNORECASE if isinstance(self.when, str) else 0)
        if found is None:
            return None
        groups = {str(number): group or "" for number, group in enumerate(found.groups(), 1)}
        return values | groups | found.groupdict("")


class ScriptedProvider:
    """A `Provider` that needs no model: rules say what it answers, one word at a time.

    The first rule that applies to the last text of the user answers. The same requests in the same order give the same elements,
    ids included. Usage is an estimate: one token for each piece that `split` makes.

    ```python
    provider = ScriptedProvider([Rule("hello|hi", "Hello! How are you?")], default="You said: {text}", delay_s=0.03)
    ```

    Args:
        rules: In the order in which they are tried.
        default: What to say when no rule applies.
        delay_s: Pause before each token, in seconds; virtual under virtual time.
        split: Cuts an answer into tokens, which must join to the answer.
        name: What it is called in errors and usage.
        keep_requests: Number of requests that `requests` remembers.

    Raises:
        ConfigError: If a number is negative.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        default: Answer = "You said: {text}",
        delay_s: float = 0.0,
        split: Callable[[str], Iterable[str]] = split_words,
        name: str = "scripted",
        keep_requests: int = 1000,
    ) -> None:
        if delay_s < 0:
            raise ConfigError("delay_s", f"{delay_s} is no pause; give 0 or more seconds")
        if keep_requests < 0:
            raise ConfigError("keep_requests", f"{keep_requests} is no number of requests; give 0 or more")
        self.name = name
        """What it is called in errors and usage."""
        self._rules = (*rules, Rule(lambda _: True, default))
        self._delay_s = delay_s
        self._split = split
        self._requests: deque[ModelRequest] = deque(maxlen=keep_requests)
        self._calls = 0

    @property
    def requests(self) -> tuple[ModelRequest, ...]:
        """The latest requests, oldest first."""
        return tuple(self._requests)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Answer as the rules say.

        Out: `ThinkingElement` and `TextElement` fragments, the final `UsageElement`, the `MessageElement`. A request's `max_tokens`
        cuts the answer, and the stop reason is then `length`.

        Cancellation: a checkpoint before the first element and, with a delay, before each token; nothing is left behind.

        Raises:
            ProviderError: Where a rule says so.
        """
        self._calls += 1
        self._requests.append(request)
        id = f"{self.name}-{self._calls}"
        rule, thinking, answer = self._plan(request)
        limit = len(answer) if request.max_tokens is None else request.max_tokens
        said = answer[:limit]
        await anyio.lowlevel.checkpoint()
        fragments = [
            *(ThinkingElement(token, id=id) for token in thinking),
            *(TextElement(token, id=id) for token in said),
        ]
        for fragment in fragments if rule.error is None else fragments[: rule.error_after]:
            if self._delay_s:
                await anyio.sleep(self._delay_s)
            yield fragment
        if rule.error is not None:
            raise type(rule.error)(*rule.error.args)  # a new one: a raised exception carries its traceback along
        yield UsageElement(self._usage(request, len(fragments)), final=True)
        text = "".join(said)
        message = Message(
            "assistant",
            [ThinkingPart("".join(thinking)), TextPart(text)] if thinking else text,
            id=id,
            stop_reason=rule.stop_reason if limit >= len(answer) else "length",
        )
        yield MessageElement(message, id=id)

    def __repr__(self) -> str:
        return f"<ScriptedProvider {self.name!r}, {len(self._rules) - 1} rules>"

    def _plan(self, request: ModelRequest) -> tuple[Rule, list[str], list[str]]:
        """Return the rule that applies, and the tokens of its thoughts and of its answer."""
        text = next((message.text for message in reversed(request.messages) if message.role == "user"), "")
        # There is always one: the last rule is the default, which applies to everything.
        rule, values = next((rule, values) for rule in self._rules if (values := rule.match(text)) is not None)
        said = rule.answer(request) if callable(rule.answer) else _fill(rule.answer, values)
        return rule, list(self._split(rule.thinking)), list(self._split(said))

    def _usage(self, request: ModelRequest, output_tokens: int) -> Usage:
        return Usage(
            input_tokens=sum(len(list(self._split(message.text))) for message in request.messages),
            output_tokens=output_tokens,
            model=request.model or self.name,
            provider=self.name,
            estimated=True,
        )


def _fill(answer: str, values: dict[str, str]) -> str:
    """Replace known placeholders, in one pass: what a user says is never taken for a placeholder."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), answer)
