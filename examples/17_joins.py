"""Joins by policy: branches answer at their own pace, and `policy=` says how their answers come together."""

from collections.abc import AsyncIterator

import anyio

from streamflow import BatchElement, PassthroughStage, PipelineBuilder, StreamElement, TextElement, TurnEnd, stage
from streamflow.graph import Barrier, MergePolicy, Ordered, PolicyName, Prioritized, Zip


@stage
async def careful(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    """The slow one, with two answers to each question."""
    async for question in stream:
        await anyio.sleep(0.01)
        yield TextElement(f"{question.text}: perhaps")
        yield TextElement(f"{question.text}: yes")


@stage
def quick(question: TextElement) -> TextElement:
    return TextElement(f"{question.text}: sure!")


async def ask(policy: PolicyName | MergePolicy) -> None:
    """Ask both the same questions, in two turns."""
    builder = PipelineBuilder().branch(PassthroughStage("questions"), careful, quick)
    pipeline = builder.merge(PassthroughStage("answers"), careful, quick, policy=policy).build()
    source: list[StreamElement] = [TextElement("rain"), TextElement("snow"), TurnEnd(), TextElement("sun"), TurnEnd()]
    print(f"{policy}:" if isinstance(policy, str) else f"{policy.name}, with a parameter:")
    async for element in pipeline.execute(source):
        match element:
            case TextElement(text=text):
                print(f"   {text}")
            case BatchElement(items=items):
                print(f"   {' + '.join(one.text for one in items if isinstance(one, TextElement))}")
            case TurnEnd():
                print("   --")
            case _:
                pass


def longer(left: TextElement, right: TextElement) -> TextElement:
    return max(left, right, key=lambda one: len(one.text))


async def main() -> None:
    await ask("ordered")  # the answers to one question before those to the next
    await ask("barrier")  # nothing of a turn before both have finished it; then one after the other
    await ask("zip")  # one of each as one element; what is left over at the end of a turn is dropped, and counted
    await ask(Zip(longer))
    await ask("race")  # the first to answer wins; the other is stopped
    await ask("concat")  # all of the first one, then all of the other

    # Policies with parameters are objects. These are checked at once, and by build().
    print(Barrier(max_held=100), Prioritized(weights=(3, 1)), Ordered(key=len).waits_for_inputs)


if __name__ == "__main__":
    anyio.run(main)
