"""Doubles that play a script, and fail on what it does not expect and on what was not played: for speech, tools and models.

Above: tests. Below: `stages`, `providers`, `elements`. Rules:

- One object plays its script once, over however many runs; `with` checks at its end that nothing is left.
- What is unexpected is an error where it comes: the run of that stage fails with it, and the text says what came and what was next.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from ..elements import AudioElement, JsonValue, StreamElement, TextElement
from ..stages import BaseStage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from ..channels import ReceiveEnd, SendEnd
    from ..providers import ModelRequest, Provider
    from ..stages import Accepts

__all__ = ["Called", "Heard", "ScriptError", "ScriptedSTT", "ScriptedTTS", "ScriptedTool", "Spoken", "StrictProvider"]

S = TypeVar("S")


class ScriptError(AssertionError):
    """A double was used otherwise than its script says; the text says how."""


class _Script(Generic[S]):
    """The steps that are left."""

    def __init__(self, owner: str, steps: Sequence[S]) -> None:
        self._owner = owner
        self._steps = deque(steps)
        self._played = 0
        self._unexpected: list[str] = []

    @property
    def next(self) -> S | None:
        """The step that comes next; None behind the last one."""
        return self._steps[0] if self._steps else None

    def play(self) -> S:
        """Take the next step."""
        self._played += 1
        return self._steps.popleft()

    def refuse(self, what: str) -> ScriptError:
        """Return the error for something unexpected, which `check()` tells as well."""
        expected = f"expected {self.next!r}" if self.next is not None else "nothing more is expected"
        told = f"{self._owner}: {what}; {expected} (step {self._played + 1} of {self._played + len(self._steps)})"
        self._unexpected.append(told)
        return ScriptError(told)

    def check(self) -> None:
        """Raise if something was unexpected, or is left."""
        found = list(self._unexpected)
        if self._steps:
            found.append(f"{self._owner}: {len(self._steps)} steps were not played, first {self._steps[0]!r}")
        if found:
            raise ScriptError("\n".join(found))


class _Playing(Generic[S]):
    """Base of doubles: the check at the end."""

    _script: _Script[S]

    def assert_consumed(self) -> None:
        """Check that the whole script was played, and nothing else was asked for.

        Raises:
            ScriptError: If not; says what.
        """
        self._script.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.assert_consumed()


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """One thing that a `ScriptedSTT` understands."""

    text: str
    """What was said."""
    chunks: int = 1
    """After how many audio elements it is understood."""
    data: bytes | None = None
    """What these have to hold, joined; None: whatever they hold."""
    delay_s: float = 0.0
    """How long understanding takes, in seconds of the event loop's clock."""
    error: Exception | None = None
    """What it fails with instead."""


class ScriptedSTT(_Playing[Heard], BaseStage):
    """Speech to text by a script: takes audio, sends the texts of its steps.

    Flow:
        emits: a text for each step, once its audio has come.
        backpressures: while a step takes its time.
        completes: when the input ends; audio of a step that has not come whole is unexpected.
        fails: with `ScriptError` on audio that no step expects; with the error of a step.

    Args:
        steps: What it understands, in this order.
        name: Name in the graph.
    """

    accepts: Accepts | None = (AudioElement,)
    emits: Accepts | None = (TextElement,)
    max_held: int | None = 1

    def __init__(self, steps: Sequence[Heard | str], *, name: str = "stt") -> None:
        super().__init__(name)
        self._script = _Script(name, [Heard(one) if isinstance(one, str) else one for one in steps])

    async def process(self, input: ReceiveEnd[AudioElement], output: SendEnd[TextElement]) -> None:
        """Play the script."""
        held: list[bytes] = []
        async for element in input:
            step = self._script.next
            if step is None:
                raise self._script.refuse(f"{len(element.data or b'')} bytes of audio came")
            held.append(element.data or b"")
            if len(held) < step.chunks:
                continue
            if step.data is not None and b"".join(held) != step.data:
                raise self._script.refuse(f"other audio came, {sum(map(len, held))} bytes")
            self._script.play()
            held.clear()
            await anyio.sleep(step.delay_s)
            if step.error is not None:
                raise step.error
            await output.send(TextElement(step.text))
        if held:
            raise self._script.refuse(f"the audio ended after {len(held)} chunks")


@dataclasses.dataclass(frozen=True, slots=True)
class Spoken:
    """One thing that a `ScriptedTTS` says."""

    text: str
    """The text that it expects, of one element or of several joined."""
    chunks: Sequence[bytes] = (b"\0\0",)
    """The audio that it sends."""
    delay_s: float = 0.0
    """How long it takes before each of these, in seconds of the event loop's clock."""
    error: Exception | None = None
    """What it fails with behind them."""


class ScriptedTTS(_Playing[Spoken], BaseStage):
    """Text to speech by a script: takes texts, sends the audio of its steps.

    Flow:
        emits: the audio of a step, once its text has come.
        backpressures: while a step takes its time.
        completes: when the input ends; a text that has not come whole is unexpected.
        fails: with `ScriptError` on a text that the next step does not expect; with the error of a step.

    Args:
        steps: What it says, in this order; a string is a step with one short piece of audio.
        sample_rate: Of the audio, in hertz.
        name: Name in the graph.
    """

    accepts: Accepts | None = (TextElement,)
    emits: Accepts | None = (AudioElement,)
    max_held: int | None = 1

    def __init__(self, steps: Sequence[Spoken | str], *, sample_rate: int = 16000, name: str = "tts") -> None:
        super().__init__(name)
        self.sample_rate: int = sample_rate
        """Of the audio, in hertz."""
        self._script = _Script(name, [Spoken(one) if isinstance(one, str) else one for one in steps])

    async def process(self, input: ReceiveEnd[TextElement], output: SendEnd[AudioElement]) -> None:
        """Play the script."""
        held = ""
        async for element in input:
            held += element.text
            step = self._script.next
            if step is None or not step.text.startswith(held):
                raise self._script.refuse(f"the text {held!r:.200} came")
            if held != step.text:
                continue
            self._script.play()
            held = ""
            for chunk in step.chunks:
                await anyio.sleep(step.delay_s)
                await output.send(AudioElement(chunk, self.sample_rate, 1))
            if step.error is not None:
                raise step.error
        if held:
            raise self._script.refuse(f"the text ended after {held!r:.200}")


@dataclasses.dataclass(frozen=True, slots=True)
class Called:
    """One call of a `ScriptedTool`."""

    result: JsonValue = None
    """What it returns."""
    arguments: Mapping[str, JsonValue] | None = None
    """What it has to be called with; None: whatever it is."""
    delay_s: float = 0.0
    """How long it takes, in seconds of the event loop's clock."""
    error: Exception | None = None
    """What it raises instead."""


class ScriptedTool(_Playing[Called]):
    """A tool by a script: an async function of named arguments, which knows how it will be called.

    ```python
    with ScriptedTool("weather", [Called("sunny", {"city": "Oslo"})]) as weather:
        assert await weather(city="Oslo") == "sunny"
    ```

    Args:
        name: Name of the tool.
        steps: Its calls, in this order.
    """

    def __init__(self, name: str, steps: Sequence[Called]) -> None:
        self.name: str = name
        """Name of the tool."""
        self.__name__: str = name
        """As that of a function."""
        self._script = _Script(name, steps)

    async def __call__(self, **arguments: JsonValue) -> JsonValue:
        """Play the next step. Cancellation: the step has been played.

        Raises:
            ScriptError: If no call is expected, or one with other arguments.
            Exception: The error of the step.
        """
        step = self._script.next
        if step is None or (step.arguments is not None and dict(step.arguments) != arguments):
            raise self._script.refuse(f"it was called with {arguments!r:.200}")
        self._script.play()
        await anyio.sleep(step.delay_s)
        if step.error is not None:
            raise step.error
        return step.result


class StrictProvider(_Playing["Callable[[ModelRequest], bool]"]):
    """A model that is asked what a test expects, and nothing else: it checks each request, and lets another provider answer.

    ```python
    expected = [lambda request: request.messages[-1].text == "hello"]
    with StrictProvider(ScriptedProvider([Rule("hello", "Hi!")]), expected) as model:
        ...
    ```

    Args:
        inner: Who answers.
        requests: For each call, in this order, whether the request is as it should be.
    """

    def __init__(self, inner: Provider, requests: Sequence[Callable[[ModelRequest], bool]]) -> None:
        self.inner: Provider = inner
        """Who answers."""
        self._script = _Script(inner.name, requests)

    @property
    def name(self) -> str:
        """What it is called in errors and usage: as who answers."""
        return self.inner.name

    def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Check the request, and let the other provider answer.

        Raises:
            ScriptError: If no call is expected, or not this one.
        """
        is_expected = self._script.next
        if is_expected is None or not is_expected(request):
            raise self._script.refuse(
                f"a call with {len(request.messages)} messages came, last {request.messages[-1:]!r:.200}"
            )
        self._script.play()
        return self.inner.stream(request)
