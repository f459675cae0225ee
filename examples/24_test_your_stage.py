"""Prove a stage: the kit finds a fault that a test with four words does not, and shows it by the shortest input."""

from collections.abc import AsyncIterator

from streamflow import ReceiveEnd, SendEnd, StageKind, StreamElement, TextElement, TurnEnd, stage
from streamflow.testing import ConformanceError, check_stage


async def loses_the_last(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    held: list[str] = []
    async for element in stream:
        held.append(element.text)
        if len(held) == 2:
            yield TextElement(" ".join(held))
            held.clear()


@stage(kind=StageKind.ACCUMULATE)
async def in_pairs(input: ReceiveEnd[TextElement | TurnEnd], output: SendEnd[TextElement | TurnEnd]) -> None:
    held: list[str] = []
    async for element in input:
        if isinstance(element, TextElement):
            held.append(element.text)
        if held and (len(held) == 2 or isinstance(element, TurnEnd)):
            await output.send(TextElement(" ".join(held)))
            held.clear()
        if isinstance(element, TurnEnd):
            await output.send(element)
    if held:
        await output.send(TextElement(" ".join(held)))


def model(items: list[StreamElement]) -> list[str]:
    words = [item.text for item in items if isinstance(item, TextElement)]
    return [" ".join(words[i : i + 2]) for i in range(0, len(words), 2)]


def main() -> None:
    words = ["one", "two", "three"]
    try:
        check_stage(lambda: loses_the_last, items=words, model=model, rules=["SF-01", "SF-02"])
    except ConformanceError as error:
        print(error)
    report = check_stage(lambda: in_pairs, items=words, model=model)
    print(f"\nmended: {len(report.failed)} rules broken")


main()
