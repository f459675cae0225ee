"""A model that answers by a script and by rules: offline, without a key, the same every time.

Above: tests, examples, demonstrations. Below: `_script`, `_playing`, `_protocol`.
Rules: which turn answers is decided before the first wait, so that calls that are made at a time do not take each other's.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

import anyio
import anyio.lowlevel

from ..elements import ControlElement, StopReason, WholeElement
from ..errors import ConfigError, ProviderError
from ._playing import Playing
from ._protocol import ModelRequest, check_each
from ._script import (
    CutStep,
    DelayStep,
    ErrorStep,
    MalformedStep,
    ScriptTurn,
    StopStep,
    TextStep,
    ThinkingStep,
    When,
    fill,
    last_text,
    split_words,
    values_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ..elements import StreamElement
    from ._script import Step

__all__ = ["Answer", "Rule", "ScriptedProvider"]

_MAX_KEPT = 1000  # of the calls that were left or unexpected

Answer = str | Callable[[ModelRequest], str]
"""What a scripted model says: a text, or a function of the request."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    r"""One thing that a scripted model knows how to answer, as often as it is asked.

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
    """What to say. In a text, `{text}` is what the user said, `{1}` and `{name}` are groups of the expression, `{result}` is the
    text of the latest tool result; other braces are left as they are."""
    thinking: str = ""
    """What to think before."""
    stop_reason: StopReason = "stop"
    """Why the model stops."""
    error: ProviderError | None = None
    """How to fail, instead of finishing."""
    error_after: int = 0
    """Number of tokens to send before the failure."""

    def match(self, request: ModelRequest) -> dict[str, str] | None:
        """Return what the answer's placeholders stand for, or None if the rule does not apply."""
        text = last_text(request)
        if callable(self.when):
            return values_of(request) if self.when(text) else None
        if re.search(self.when, text, re.IGNORECASE if isinstance(self.when, str) else 0) is None:
            return None
        return values_of(request, self.when)


@dataclasses.dataclass(slots=True)
class _Played:
    """One call that a turn of the script has answered, and how far it came."""

    turn: int
    steps: tuple[Step, ...]
    done: int = 0


class ScriptedProvider:
    """A `Provider` that needs no model: a script, or rules, say what it answers, piece by piece.

    The first turn of the script that is for the request, and has not been played as often as it may, answers; else the first rule
    that applies to the last text of the user; else `default`. With a script and no `default`, a request that nothing is for is
    an error, and `assert_consumed()` tells of it. The same requests in the same order give the same elements, ids included.
    Usage is an estimate where the script gives none: one token for each piece that `split` makes.

    ```python
    provider = ScriptedProvider([Rule("hello|hi", "Hello! How are you?")], default="You said: {text}", delay_s=0.03)

    provider = ScriptedProvider(
        turns=[
            ScriptTurn([ToolCallStep("weather", {"city": "Rome"})], when="weather"),
            ScriptTurn([TextStep("It is {result} in Rome.")], when=When(tool_result="weather")),
        ]
    )
    ```

    Args:
        rules: In the order in which they are tried, behind the script.
        turns: The script, in the order in which it is tried.
        default: What to say when nothing applies; None: `You said: {text}` without a script, an error with one.
        delay_s: Pause before each token, in seconds; virtual under virtual time.
        split: Cuts texts and arguments into tokens, which must join to what was cut.
        name: What it is called in errors and usage.
        keep_requests: Number of requests that `requests` remembers.

    Raises:
        ConfigError: If a number is negative, or a rule or a turn is none.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        turns: Iterable[ScriptTurn] = (),
        default: Answer | None = None,
        delay_s: float = 0.0,
        split: Callable[[str], Iterable[str]] = split_words,
        name: str = "scripted",
        keep_requests: int = 1000,
    ) -> None:
        if not delay_s >= 0:
            raise ConfigError("delay_s", f"{delay_s} is no pause; give 0 or more seconds")
        if keep_requests < 0:
            raise ConfigError("keep_requests", f"{keep_requests} is no number of requests; give 0 or more")
        self.name: str = name
        """What it is called in errors and usage."""
        self._turns = tuple(turns)
        self._rules = tuple(rules)
        check_each("turns", self._turns, ScriptTurn, "ScriptTurn([TextStep('Hi!')])")
        check_each("rules", self._rules, Rule, "Rule('hello', 'Hi!')")
        if default is None and not self._turns:
            default = "You said: {text}"
        self._default = None if default is None else Rule(lambda _: True, default)
        self._delay_s = delay_s
        self._split = split
        self._requests: deque[ModelRequest] = deque(maxlen=keep_requests)
        self._calls = 0
        self._times = [0] * len(self._turns)
        self._under_way: dict[int, _Played] = {}
        self._unexpected: deque[str] = deque(maxlen=_MAX_KEPT)

    @property
    def requests(self) -> tuple[ModelRequest, ...]:
        """The latest requests, oldest first."""
        return tuple(self._requests)

    @property
    def calls(self) -> int:
        """How many calls there have been."""
        return self._calls

    def assert_consumed(self) -> None:
        """Check that the script was played to its end, and that nothing was asked that it has no answer for.

        Raises:
            AssertionError: If a turn was not played, or left in its middle, or a request was unexpected; the text names each.
        """
        told = [f"unexpected: {text}" for text in self._unexpected]
        for number, (turn, played) in enumerate(zip(self._turns, self._times, strict=True), 1):
            wanted = turn.times or 0
            if played < wanted:
                times = "not played" if not played else f"played {played} of {wanted} times"
                told.append(f"turn {number} was {times}: {_names_of(turn.steps)}")
        for one in self._under_way.values():
            rest = _names_of(one.steps[one.done :])
            told.append(f"turn {one.turn} was left after {one.done} of {len(one.steps)} steps, before {rest}")
        if told:
            raise AssertionError(
                f"the script of {self.name!r} and the {self._calls} calls do not fit: " + "; ".join(told)
            )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Answer as the script and the rules say.

        Out: what the steps say, in order; the final `UsageElement`; the `MessageElement`. A request's `max_tokens` cuts the texts
        of the answer, and the stop reason is then `length`.

        Cancellation: a checkpoint before the first element and, with a delay, before each token; nothing is left behind.

        Raises:
            ProviderError: Where the script or a rule says so; `bad_request` if nothing is for this request.
        """
        if not isinstance(cast("object", request), ModelRequest):
            message = f"a ModelRequest was expected, got a value of type {type(request).__name__}"
            raise ConfigError("request", f"{message}; give ModelRequest(messages=(Message('user', 'Hello'),))")
        self._calls += 1
        call = self._calls
        self._requests.append(request)
        playing = Playing(f"{self.name}-{call}", request, call=call, provider=self.name, split=self._split)
        plan = self._plan(request, call)
        played = _Played(plan.turn, plan.steps)
        if plan.turn:
            self._note(call, played)
        await anyio.lowlevel.checkpoint()
        sent = 0
        for step in plan.steps:
            if playing.stopped or (plan.error is not None and sent == plan.error_after):
                break
            if isinstance(step, DelayStep):
                await anyio.sleep(step.seconds)
            else:
                if isinstance(step, ErrorStep | CutStep | MalformedStep):
                    self._under_way.pop(call, None)  # played to its end, which this is
                for element in playing.take(step, plan.values):
                    if plan.error is not None and sent == plan.error_after:
                        break
                    if self._delay_s and not isinstance(element, WholeElement | ControlElement):
                        await anyio.sleep(self._delay_s)
                    yield element
                    sent += 1
            played.done += 1
        self._under_way.pop(call, None)
        if plan.error is not None:
            raise type(plan.error)(*plan.error.args)  # a new one: a raised exception carries its traceback along
        for element in playing.end():
            yield element

    def __repr__(self) -> str:
        turns = f", {len(self._turns)} turns" if self._turns else ""
        return f"<ScriptedProvider {self.name!r}, {len(self._rules)} rules{turns}>"

    def _note(self, call: int, played: _Played) -> None:
        """Remember a call until it has been played to its end: those that were left stay, the latest of them."""
        self._under_way[call] = played
        if len(self._under_way) > _MAX_KEPT:
            del self._under_way[next(iter(self._under_way))]

    def _plan(self, request: ModelRequest, call: int) -> _Plan:
        """Return what answers a request, and take the turn that does."""
        for number, turn in enumerate(self._turns):
            if (turn.times is None or self._times[number] < turn.times) and turn.matches(request, call):
                self._times[number] += 1
                expression = turn.when.text if isinstance(turn.when, When) else None
                return _Plan(tuple(turn.steps), values_of(request, expression), number + 1)
        for rule in (*self._rules, *([self._default] if self._default is not None else [])):
            values = rule.match(request)
            if values is not None:
                said = rule.answer(request) if callable(rule.answer) else fill(rule.answer, values)
                steps: list[Step] = [ThinkingStep(rule.thinking)] if rule.thinking else []
                steps += [TextStep(said)]
                if rule.stop_reason != "stop":
                    steps.append(StopStep(rule.stop_reason))
                return _Plan(tuple(steps), {}, error=rule.error, error_after=rule.error_after)
        # What was said is for whoever reads the test, and stays out of the error, which may be logged.
        self._unexpected.append(f"call {call}, {last_text(request)!r:.80}")
        step = ErrorStep(
            "bad_request", f"the script of {self.name!r} has nothing for call {call}; see assert_consumed()"
        )
        return _Plan((step,), {})


@dataclasses.dataclass(slots=True)
class _Plan:
    """What answers one request."""

    steps: tuple[Step, ...]
    values: dict[str, str]
    turn: int = 0
    error: ProviderError | None = None
    error_after: int = 0


def _names_of(steps: Iterable[Step]) -> str:
    return ", ".join(type(step).__name__ for step in steps) or "no steps"
