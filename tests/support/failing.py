"""What the tests of supervision share: stages that fail when they are told to, and runs of which everything is kept."""

from collections import Counter

import anyio

from streamflow import CollectStage, PipelineBuilder, PipelineConfig, TextElement, stage
from streamflow.testing import EdgeLedger


class RefusalError(Exception):
    """What the stages of these tests fail with."""


def counting(failures, name="count"):
    """Return a stage of a whole stream that numbers what it takes, and fails on an element as often as is said.

    What it sends is `<text>/<its number in this frame>`.
    """
    left = Counter(failures)

    @stage(name=name)
    async def count(stream):
        number = 0
        async for element in stream:
            if left[element.text] > 0:
                left[element.text] -= 1
                raise RefusalError(element.text)
            number += 1
            yield TextElement(f"{element.text}/{number}")

    return count


def one_by_one(failures):
    """Return a function of one element that fails on an element as often as is said, and returns it in capitals."""
    left = Counter(failures)

    def work(element: TextElement) -> TextElement:
        if left[element.text] > 0:
            left[element.text] -= 1
            raise RefusalError(element.text)
        return TextElement(element.text.upper())

    return work


class Told:
    """All that came of one run."""

    def __init__(self):
        self.texts = []
        self.elements = []
        self.letters = []
        self.events = []
        self.error = None
        self.stats = None
        self.took_s = 0.0

    def names(self, *wanted):
        return [event.name for event in self.events if event.name in wanted]


async def supervised(one, supervision, source, *, capacity=4, letters=False, behind=(), config=None, books=True):
    """Run a stage under supervision to the end, with every edge in the books; the ledger knows nothing of what is kept aside."""
    told = Told()
    name = one.name
    builder = PipelineBuilder(config or PipelineConfig(buffer_size=capacity)).chain(one, *behind)
    into = CollectStage(told.letters, name="letters") if letters else None
    builder.supervise(name, supervision, dead_letters=into).on_event(told.events.append)
    began = anyio.current_time()
    with EdgeLedger() as ledger:
        async with builder.build().execute(source) as run:
            try:
                async for element in run:
                    told.elements.append(element)
            except Exception as error:  # noqa: BLE001 - what the run ends with is what the tests look at
                told.error = error
            told.took_s = anyio.current_time() - began
            told.stats = run.stats().stages[name]
    if books:
        ledger.check(ended=True)
    told.texts = [element.text for element in told.elements if isinstance(element, TextElement)]
    return told
