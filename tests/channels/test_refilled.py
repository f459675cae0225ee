"""An edge that its reader fills from a source, and when that reader lets others run. Semantics 16.5."""

from __future__ import annotations

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
