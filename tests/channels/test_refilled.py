"""An edge that its reader fills from a source, and when that reader lets others run. Semantics 16.5."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from types import FrameType

import anyio
import pytest

from streamflow import ReceiveEnd, SendEnd, TextElement, open_channel
from streamflow.channels import WIDE, pull_into, pull_when_asked


def same(item: TextElement) -> TextElement:
    return item


@pytest.mark.parametrize("capacity", [1, 16, WIDE - 1])
async def test_who_has_waited_for_room_takes_no_checkpoint_besides(capacity: int) -> None:
    """semantics 16.5: others have run meanwhile."""
    inlet: SendEnd[TextElement]
    input: ReceiveEnd[TextElement]
    output: SendEnd[TextElement]
    outlet: ReceiveEnd[TextElement]
    (inlet, input), (output, outlet) = open_channel(capacity), open_channel(capacity)
    input.forward_to(output)
    items = iter([TextElement("x")] * 500)

    def pull() -> None:
        if not pull_into(inlet, items, same):
            pull_when_asked(input, None)
            inlet.close()

    async def copy() -> None:
        async for item in input:
            await output.send(item)
        output.close()

    pull_when_asked(input, pull)
    arrived = 0
    async with anyio.create_task_group() as group:
        group.start_soon(copy)
        async for _ in outlet:
            arrived += 1

    assert arrived == 500
    assert input.asked_at == -1, "it has been suspended where it reads"


@pytest.mark.parametrize("how", ["pulled", "all", "each"])
def test_another_thread_may_learn_a_type_between_any_two_steps(how: str) -> None:
    """semantics 2.4: runs of one pipeline share the types that they know, whichever threads they are in."""
    plain: set[type] = {TextElement}
    inlet: SendEnd[TextElement]
    inlet, input = open_channel(16, plain=plain)
    items = [TextElement("x")] * 3

    async def stream() -> AsyncIterator[TextElement]:
        for item in items:
            yield item

    async def put() -> None:
        if how == "pulled":
            pull_into(inlet, iter(items), same)
        else:
            await (inlet.send_all(stream()) if how == "all" else inlet.send_each(items))

    def learn(_frame: FrameType, _event: str, _arg: object) -> None:
        plain.add(type("Learned", (), {}))  # as another thread may, wherever Python may change over to it

    def trace(frame: FrameType, _event: str, _arg: object) -> Callable[..., None]:
        frame.f_trace_opcodes = True
        return learn

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(StopIteration):
            put().send(None)  # there is room: it waits for nothing
    finally:
        sys.settrace(before)
    assert [input.receive_nowait() for _ in items] == items
    assert len(plain) > 2, "nothing was learned meanwhile"
