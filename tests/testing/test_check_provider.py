"""`check_provider`: it finds what is wrong, and says what shows it."""

from __future__ import annotations

import pytest

from streamflow.elements import Message, MessageElement, TextElement, UsageElement
from streamflow.errors import ConfigError, ProviderError
from streamflow.testing import ConformanceError, check_provider

KEPT: list = []


class Around:
    """A provider around another one, to be broken in one way."""

    def __init__(self, inner) -> None:
        self.inner = inner
        self.name = inner.name

    async def stream(self, request):
        async for element in self.inner.stream(request):
            yield element


class Doubled(Around):
    async def stream(self, request):
        async for element in self.inner.stream(request):
            yield element
            if isinstance(element, MessageElement):
                yield element


class SameId(Around):
    async def stream(self, request):
        async for element in self.inner.stream(request):
            yield element.replace(id="same")


class LosesText(Around):
    async def stream(self, request):
        first = True
        async for element in self.inner.stream(request):
            if not (first and isinstance(element, TextElement)):
                yield element
            first = False


class Collects(Around):
    async def stream(self, request):
        elements = [element async for element in self.inner.stream(request)]
        for element in elements:
            yield element


class Forgets(Around):
    async def stream(self, request):
        stream = self.inner.stream(request)
        KEPT.append(stream)
        async for element in stream:
            yield element


class Silent(Around):
    async def stream(self, request):
        text = ""
        try:
            async for element in self.inner.stream(request):
                text += element.text if isinstance(element, TextElement) else ""
                yield element
        except ProviderError:
            yield MessageElement(Message("assistant", text))


class Leaky(Around):
    async def stream(self, request):
        try:
            async for element in self.inner.stream(request):
                yield element
        except ProviderError as error:
            raise ValueError(request.messages) from error


class OneUsage(Around):
    async def stream(self, request):
        async for element in self.inner.stream(request):
            yield element
            if isinstance(element, UsageElement) and not element.final:
                yield element.replace(usage=element.usage.__class__(input_tokens=0, provider="x"))


class Remembers(Around):
    async def stream(self, request):
        async for element in self.inner.stream(request):
            KEPT.append([element])
            yield element


@pytest.mark.parametrize(
    ("broken", "rule", "shown", "found"),
    [
        (Doubled, "PR-01", "a text", "there are 2 messages"),
        (SameId, "PR-02", "a text, twice", "two answers have the id"),
        (LosesText, "PR-03", "a text", "but the message says"),
        (OneUsage, "PR-04", "a text", "falls from 5 to 0"),
        (Collects, "PR-06", "a word each ten seconds", "the words came after"),
        (Silent, "PR-22", "a text, cut off after 0 steps", "sent a message, as if the answer were whole"),
        (Leaky, "PR-20", "a server that answers with auth", "ValueError"),
        (Forgets, "PR-30", "closed after 1 elements", "goes on"),
        (Remembers, "PR-34", "300 turns", "objects more than before"),
    ],
)
def test_a_provider_that_breaks_a_rule_is_found(broken, rule, shown, found):
    """semantics 18.14: the rule, and the shortest answer or schedule that shows it."""
    with pytest.raises(ConformanceError) as caught:
        check_provider(lambda fake: broken(fake.provider), rules=[rule], turns=300)

    told = str(caught.value)
    assert rule in told
    assert shown in told
    assert found in told


def test_a_provider_with_an_answer_of_its_own_is_held_to_what_it_can_show():
    """semantics 18.14: rules that need a script are skipped, and the report says why."""

    class Fixed:
        name = "fixed"
        calls = 0

        async def stream(self, request):
            self.calls += 1
            yield TextElement("a", id=f"f{self.calls}")
            yield MessageElement(Message("assistant", "a", id=f"f{self.calls}"), id=f"f{self.calls}")

    report = check_provider(lambda _: Fixed(), scripted=False, turns=10)

    assert {one.rule.id for one in report.passed} == {"PR-01", "PR-02", "PR-03", "PR-04", "PR-08", "PR-09", "PR-34"}
    assert all("answer of its own" in one.why for one in report.skipped)


@pytest.mark.parametrize(
    "options", [{"features": ["taste"]}, {"turns": 0}, {"request": object()}], ids=["features", "turns", "request"]
)
def test_wrong_arguments_are_refused(options):
    """Wrong arguments fail at once, by name."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        check_provider(lambda fake: fake.provider, **options)
