"""What the checks of providers are given: a provider that asks a scripted model, and what may be known of it.

Above: `check_provider`, the modules with the rules of providers. Below: `_conformance`, `_fake_llm`, `providers`.
"""

from __future__ import annotations

import dataclasses
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, cast, get_args

from ..elements import EMPTY_METADATA, Message, MessageElement, Usage, UsageElement
from ..errors import ProviderError
from ..providers import (
    AudioStep,
    CitationStep,
    ImageStep,
    ModelRequest,
    RefusalStep,
    ScriptedProvider,
    ScriptTurn,
    StopStep,
    TextStep,
    ThinkingStep,
    ToolCallStep,
    UsageStep,
)
from ._conformance import Trial
from ._fake_llm import FakeLLM

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from ..elements import StreamElement
    from ..providers import Provider, Step

__all__ = [
    "FEATURES",
    "Answered",
    "Feature",
    "Opened",
    "ProviderCase",
    "ProviderTrial",
    "answers",
    "ask",
    "need_script",
    "opened",
    "request_of",
]

Feature = Literal["thinking", "tools", "images", "audio", "citations", "refusals"]
"""What an answer may consist of beyond text."""

FEATURES: Final[tuple[Feature, ...]] = get_args(Feature)

_TEXT: Final = 'Hello, wörld — 你好 🌍 "q" \\ \n!'
_USED: Final = UsageStep(Usage(input_tokens=5, output_tokens=7, cached_tokens=2))
_ANSWERS: Final[dict[str, tuple[Feature | None, tuple[Step, ...]]]] = {
    "a text": (None, (TextStep(_TEXT), _USED)),
    "an answer without text": (None, ()),
    "an answer that was cut at its limit": (None, (TextStep("a b"), StopStep("length"))),
    "thoughts and a text": ("thinking", (ThinkingStep("Let me think.", "proof"), TextStep("Yes."), _USED)),
    "a call of a tool": ("tools", (ToolCallStep("weather", {"city": 'R"öm"\\'}), _USED)),
    "a text and two calls": (
        "tools",
        (TextStep("I look."), ToolCallStep("weather", {"city": "Rome", "days": [1, 2]}), ToolCallStep("time")),
    ),
    "a refusal": ("refusals", (RefusalStep("I can't do that."),)),
    "a picture": ("images", (TextStep("See:"), ImageStep(b"\x89PNG\r\n", "image/png"))),
    "sound": ("audio", (AudioStep(b"\0\1" * 40, text="Hello"), AudioStep(b"\2\3" * 40))),
    "a citation": (
        "citations",
        (TextStep("So it says."), CitationStep({"type": "url_citation", "url": "https://e.org"})),
    ),
}


Given: TypeAlias = "Provider | AbstractAsyncContextManager[Provider]"
"""What a factory returns."""


@dataclasses.dataclass(frozen=True, slots=True)
class ProviderCase:
    """A provider on trial."""

    connect: Callable[[FakeLLM], Given]
    """Makes it, so that it asks the model behind the fake server."""
    features: frozenset[Feature] = frozenset(FEATURES)
    """What its answers may consist of beyond text."""
    scripted: bool = True
    """Whether it asks the model that it is given. If not, it has one answer of its own."""
    request: ModelRequest | None = None
    """What to ask one that has an answer of its own."""
    secret: str | None = None
    """The key that it was made with, which must appear nowhere."""
    turns: int = 1000
    """How many turns a long life has."""


ProviderTrial: TypeAlias = Trial[ProviderCase]
"""What a check of a rule about providers gets."""


class Model:
    """The model behind a provider on trial: plays a script, and counts who listens."""

    def __init__(self, turns: Sequence[ScriptTurn]) -> None:
        self.name: str = "model"
        """What it is called."""
        self.listeners: int = 0
        """How many answers are under way."""
        self.calls: int = 0
        """How often it was asked."""
        self._script = ScriptedProvider(turns=turns, name="model", keep_requests=1)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[StreamElement, None]:
        """Play the script."""
        self.calls += 1
        self.listeners += 1
        answer = self._script.stream(request)
        try:
            async for element in answer:
                yield element
        finally:
            self.listeners -= 1
            await answer.aclose()


class Opened(NamedTuple):
    """A provider that is ready, and what is behind it."""

    provider: Provider
    """The provider on trial."""
    model: Model
    """Whom it asks."""
    fake: FakeLLM
    """The server before the model; unused if it asks the model directly."""


class Answered(NamedTuple):
    """What came of a call."""

    elements: list[StreamElement]
    """What was sent."""
    failure: ProviderError | None = None
    """How it failed; None: it did not."""

    @property
    def message(self) -> Message | None:
        """The whole; None if there is none."""
        return next((one.message for one in self.elements if isinstance(one, MessageElement)), None)

    @property
    def content(self) -> list[StreamElement]:
        """The elements without what differs from call to call, and without the usage."""
        kept = [one for one in self.elements if not isinstance(one, UsageElement | MessageElement)]
        return [one.replace(id="", metadata=EMPTY_METADATA) for one in kept]


def need_script(trial: ProviderTrial) -> None:
    """Skip a rule that needs a model that does what it is told."""
    if not trial.subject.scripted:
        trial.skip("this provider has an answer of its own")


def answers(trial: ProviderTrial) -> list[tuple[str, tuple[Step, ...]]]:
    """Return the answers that the provider can give, short ones first, each with its name."""
    if not trial.subject.scripted:
        return [("its own answer", ())]
    offered = trial.subject.features
    return [(name, steps) for name, (feature, steps) in _ANSWERS.items() if feature is None or feature in offered]


@asynccontextmanager
async def opened(trial: ProviderTrial, *answers: Sequence[Step]) -> AsyncGenerator[Opened, None]:
    """Open the provider with a model that gives these answers, one after the other, and the last for ever."""
    *first, last = answers or ((TextStep("Hello"),),)
    turns = [*(ScriptTurn(list(steps)) for steps in first), ScriptTurn(list(last), times=None)]
    model = Model(turns)
    fake = FakeLLM(model, keep_calls=1)
    given = trial.subject.connect(fake)
    if not hasattr(given, "stream"):
        async with cast("AbstractAsyncContextManager[Provider]", cast("object", given)) as provider:
            yield Opened(provider, model, fake)
    else:
        yield Opened(cast("Provider", given), model, fake)


async def ask(provider: Provider, request: ModelRequest) -> Answered:
    """Ask, and return what came of it; what is no `ProviderError` is raised."""
    elements: list[StreamElement] = []
    try:
        async with aclosing(provider.stream(request)) as stream:
            async for element in stream:
                elements.append(element)  # noqa: PERF401 - what came before a failure counts
    except ProviderError as failure:
        return Answered(elements, failure)
    return Answered(elements)


def request_of(trial: ProviderTrial, text: str = "hi", *, model: str | None = "m") -> ModelRequest:
    """Return what to ask the provider on trial."""
    return trial.subject.request or ModelRequest(messages=(Message("user", text),), model=model)
