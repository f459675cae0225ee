"""What tests of tools and agents share."""

from streamflow import Message, MessageElement, PipelineBuilder, ReceiveEnd, SendEnd, TextElement, TurnEnd, stage
from streamflow.elements import ToolCallElement, ToolResultElement, check_history
from streamflow.providers import ScriptedProvider, ScriptTurn, StopStep, TextStep, ToolCallStep, When

ASK = [MessageElement(Message("user", "go")), TurnEnd()]


def calling(*calls, times: int | None = 1, stop: str | None = None, text: str = "", when=None) -> ScriptTurn:
    """A turn that calls tools: `(name, args)` or `(name, args, call_id)`, or a step."""
    steps = [TextStep(text)] if text else []
    for one in calls:
        if isinstance(one, ToolCallStep):
            steps.append(one)
        else:
            name, args, *rest = one
            steps.append(ToolCallStep(name, args, rest[0] if rest else ""))
    if stop:
        steps.append(StopStep(stop))
    return ScriptTurn(steps, times=times, when=when)


def saying(text: str, **options) -> ScriptTurn:
    return ScriptTurn([TextStep(text)], **options)


def script(*turns: ScriptTurn) -> ScriptedProvider:
    return ScriptedProvider(turns=turns)


def call(call_id: str, name: str, **args) -> ToolCallElement:
    return ToolCallElement(call_id, name, args)


def results(elements) -> list[tuple[str, str, str]]:
    """Return call, status and text of each final result, in order."""
    return [
        (one.call_id, one.status, one.text)
        for one in elements
        if isinstance(one, ToolResultElement) and not one.preliminary
    ]


def said(elements) -> list[Message]:
    """Return the messages, oldest first."""
    return [one.message for one in elements if isinstance(one, MessageElement)]


def end(elements) -> TurnEnd:
    """Return the last end of a turn."""
    return [one for one in elements if isinstance(one, TurnEnd)][-1]


GO = (Message("user", "go"),)


def check(elements, asked=GO) -> None:
    """A strict provider accepts what was said, and each call has exactly one result."""
    messages = [*asked, *said(elements)]
    check_history(messages)
    called = [part.call_id for message in messages for part in message.tool_calls]
    assert sorted(one[0] for one in results(elements)) == sorted(called)


async def within_a_stage(work):
    """Return what an async function returns that is called from within a stage."""
    returned = []

    @stage(name="asks")
    async def asks(input: ReceiveEnd[TextElement], output: SendEnd[TextElement]) -> None:
        async for _ in input:
            returned.append(await work())

    await PipelineBuilder().chain(asks).build().run([TextElement("go")])
    return returned[0]


__all__ = ["ASK", "When", "call", "calling", "check", "end", "results", "said", "saying", "script", "within_a_stage"]
