"""Rules about what a provider sends: which elements, in which order, and that the whole equals them.

Above: `check_provider`, which loads them. Below: `_provider_case`.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint

from ..elements import (
    AudioElement,
    AudioPart,
    DataElement,
    DataPart,
    ImageElement,
    ImagePart,
    TextElement,
    ThinkingElement,
    ThinkingPart,
    ToolCallDelta,
    ToolCallElement,
    Usage,
    UsageElement,
    decode,
    encode,
)
from ..providers import CITATION, DelayStep, TextStep, UsageStep
from ._conformance import rule
from ._provider_case import Answered, ProviderTrial, answers, ask, need_script, opened, request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..elements import Message, StreamElement
    from ..providers import Step

__all__: list[str] = []

_HOLDS = "18.14"


async def _each(trial: ProviderTrial, look: Callable[[Answered], None], *, model: str = "m") -> None:
    """Look at what comes of each answer that the provider can give; it must not fail."""
    for name, steps in answers(trial):
        trial.given(name)
        async with opened(trial, steps) as (provider, _, _):
            answered = await ask(provider, request_of(trial, model=model))
        trial.require(answered.failure is None, f"the call failed: {answered.failure!r}")
        look(answered)


@rule(
    "PR-01",
    "An answer is any number of fragments and wholes, then the final usage if there is one, then one message, which is the last.",
    holds=_HOLDS,
    subject="provider",
)
async def _order(trial: ProviderTrial) -> None:
    def look(answered: Answered) -> None:
        names = [type(one).__name__ for one in answered.elements]
        trial.require(
            names.count("MessageElement") == 1, f"there are {names.count('MessageElement')} messages: {names}"
        )
        trial.require(names[-1] == "MessageElement", f"the message is not the last: {names}")
        finals = [place for place, one in enumerate(answered.elements) if isinstance(one, UsageElement) and one.final]
        trial.require(len(finals) <= 1, f"the usage is final {len(finals)} times")
        trial.require(
            finals in ([], [len(names) - 2]), f"something comes between the final usage and the message: {names}"
        )
        allowed = (
            TextElement,
            ThinkingElement,
            ToolCallDelta,
            ToolCallElement,
            AudioElement,
            ImageElement,
            DataElement,
        )
        other = [one for one in answered.elements[:-1] if not isinstance(one, (*allowed, UsageElement))]
        trial.require(not other, f"it sent {other[:1]!r}, which is no part of an answer")

    await _each(trial, look)


@rule("PR-02", "All elements of an answer share one id, and no other answer has it.", holds=_HOLDS, subject="provider")
async def _ids(trial: ProviderTrial) -> None:
    for name, steps in answers(trial):
        trial.given(f"{name}, twice")
        async with opened(trial, steps) as (provider, _, _):
            found = [await ask(provider, request_of(trial)) for _ in range(2)]
        ids = [{one.id for one in each.elements if not isinstance(one, UsageElement)} for each in found]
        trial.require(all(len(one) == 1 for one in ids), f"the ids of two answers are {ids}")
        trial.require("" not in ids[0] | ids[1], "the id is empty")
        trial.require(ids[0] != ids[1], f"two answers have the id {ids[0]}")
        message = found[0].message
        trial.require(message is not None and {message.id} == ids[0], "the message inside its element has another id")


@rule("PR-03", "The message equals what came before it, part by part.", holds=_HOLDS, subject="provider")
async def _whole(trial: ProviderTrial) -> None:
    def look(answered: Answered) -> None:
        assert answered.message is not None
        for what, streamed, whole in _compared(answered, answered.message):
            trial.require(streamed == whole, f"{what}: {streamed!r:.200} came, but the message says {whole!r:.200}")

    await _each(trial, look)


def _compared(answered: Answered, message: Message) -> list[tuple[str, object, object]]:
    sent, parts = answered.elements, message.parts
    calls = [one for one in sent if isinstance(one, ToolCallElement)]
    thoughts = [one for one in parts if isinstance(one, ThinkingPart)]
    signatures = [one.signature for one in sent if isinstance(one, ThinkingElement) and one.signature]
    return [
        ("text", "".join(one.text for one in sent if isinstance(one, TextElement)), message.text),
        (
            "thoughts",
            "".join(one.text for one in sent if isinstance(one, ThinkingElement)),
            "".join(one.text for one in thoughts),
        ),
        ("proofs of thoughts", signatures, [one.signature for one in thoughts if one.signature]),
        (
            "arguments of tools",
            [(call.call_id, _written(answered, call.call_id)) for call in calls],
            [(call.call_id, call.raw) for call in calls],
        ),
        (
            "calls of tools",
            [(one.call_id, one.name, one.args) for one in calls],
            [(one.call_id, one.name, one.args) for one in message.tool_calls],
        ),
        (
            "pictures",
            [(one.data, one.url) for one in sent if isinstance(one, ImageElement)],
            [(one.data, one.url) for one in parts if isinstance(one, ImagePart)],
        ),
        (
            "sound",
            b"".join(one.data for one in sent if isinstance(one, AudioElement)),
            b"".join(one.data or b"" for one in parts if isinstance(one, AudioPart)),
        ),
        (
            "citations",
            [one.value for one in sent if isinstance(one, DataElement) and one.name == CITATION],
            [one.value for one in parts if isinstance(one, DataPart) and one.name == CITATION],
        ),
    ]


def _written(answered: Answered, call_id: str) -> str:
    return "".join(one.args for one in answered.elements if isinstance(one, ToolCallDelta) and one.call_id == call_id)


@rule(
    "PR-04",
    "Usage is a running total: it never falls, the final one is the last, and what nobody said is not zero.",
    holds=_HOLDS,
    subject="provider",
)
async def _usage(trial: ProviderTrial) -> None:
    def look(answered: Answered) -> None:
        seen = Usage()
        for one in answered.elements:
            if isinstance(one, UsageElement):
                for field in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"):
                    before, now = getattr(seen, field), getattr(one.usage, field)
                    falls = before is not None and now is not None and now < before
                    trial.require(not falls, f"{field} falls from {before} to {now}")
                seen = one.usage
                trial.require(one.usage.provider, "a usage does not name its provider")

    await _each(trial, look)
    if trial.subject.scripted:
        trial.given("a model that used 5 tokens to read and 7 to write")
        steps: list[Step] = [TextStep("a"), UsageStep(Usage(input_tokens=5, output_tokens=7))]
        async with opened(trial, steps) as (provider, _, _):
            answered = await ask(provider, request_of(trial))
        final = [one.usage for one in answered.elements if isinstance(one, UsageElement) and one.final]
        told = [(one.input_tokens, one.output_tokens) for one in final]
        trial.require(told == [(5, 7)], f"the final usage is {final}")


@rule(
    "PR-05",
    "The stop reason says why: calls of tools, a limit, a refusal, or that it was said.",
    holds=_HOLDS,
    subject="provider",
)
async def _stop_reason(trial: ProviderTrial) -> None:
    need_script(trial)
    wanted = {"a refusal": "refusal", "an answer that was cut at its limit": "length"}
    for name, steps in answers(trial):
        trial.given(name)
        async with opened(trial, steps) as (provider, _, _):
            answered = await ask(provider, request_of(trial))
        reason = None if answered.message is None else answered.message.stop_reason
        expected = wanted.get(name, "tool_calls" if "call" in name else "stop")
        trial.require(reason == expected, f"the stop reason is {reason!r}, not {expected!r}")


@rule("PR-06", "A fragment leaves before the model has made the next.", holds=_HOLDS, subject="provider")
async def _streams(trial: ProviderTrial) -> None:
    need_script(trial)
    trial.given("a model that says a word each ten seconds")
    steps: list[Step] = [part for word in ("one", " two", " three") for part in (TextStep(word), DelayStep(10))]
    async with opened(trial, steps) as (provider, _, _):
        start, times = anyio.current_time(), list[float]()
        async with aclosing(provider.stream(request_of(trial))) as stream:
            async for element in stream:
                if isinstance(element, TextElement):
                    times.append(round(anyio.current_time() - start, 1))
    trial.require(times == [0, 10, 20], f"the words came after {times} seconds")


@rule("PR-07", "Bytes may be cut anywhere: the answer is the same.", holds=_HOLDS, subject="provider")
async def _cuts(trial: ProviderTrial) -> None:
    need_script(trial)
    whole: list[list[StreamElement]] = []
    await _each(trial, lambda answered: whole.append(answered.content))
    for seed in range(1, 1 + trial.effort):
        left = iter(whole)

        def look(answered: Answered, seed: int = seed, left: Iterator[list[StreamElement]] = left) -> None:
            trial.given(f"{trial.shown_by}, bytes cut by seed {seed}")
            wanted = next(left)
            same = answered.content == wanted
            trial.require(same, f"it became {answered.content!r:.300} instead of {wanted!r:.300}")

        await _each(trial, look, model=f"m?split={seed}")


@rule("PR-08", "Every element survives JSON.", holds=_HOLDS, subject="provider")
async def _json(trial: ProviderTrial) -> None:
    def look(answered: Answered) -> None:
        for element in answered.elements:
            again = decode(encode(element))
            trial.require(again == element, f"{element!r:.200} became {again!r:.200}")

    await _each(trial, look)


@rule("PR-09", "A call leaves its request as it was, and asks the model once.", holds=_HOLDS, subject="provider")
async def _one_call(trial: ProviderTrial) -> None:
    request = request_of(trial)
    before = repr(request)
    async with opened(trial, [TextStep("a")]) as (provider, model, _):
        await ask(provider, request)
        await checkpoint()
    trial.require(repr(request) == before, "the request was changed")
    trial.require(model.calls == 1 or not trial.subject.scripted, f"the model was asked {model.calls} times")
