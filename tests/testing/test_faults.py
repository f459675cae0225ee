"""Fault injection: at edges, in calls, on a line; each strikes where the plan says, once."""

from __future__ import annotations

import anyio
import pytest

from streamflow import PassthroughStage, PipelineBuilder, PipelineConfig, StageError
from streamflow.errors import ConfigError
from streamflow.testing import CallFault, EdgeFault, LinePlan, all_cuts, bad_line, edge_faults, faulty


@pytest.fixture(params=[True, False], ids=["fused", "unfused"])
def two(request):
    """Two stages, that share a task and that do not."""
    config = PipelineConfig(fuse=request.param)
    return PipelineBuilder(config).chain(PassthroughStage(name="a"), PassthroughStage(name="b")).build


async def test_the_nth_operation_at_an_edge_is_late(two) -> None:
    """testing.edge_faults: nothing is lost by a delay, and it takes its time."""
    with edge_faults(EdgeFault("a → b", at=2, delay_s=30), EdgeFault("a → b", at=1, end="receive", delay_s=7)):
        result = await two().run(["x", "y", "z"])
    assert result.text == "xyz"
    assert 30 <= anyio.current_time() <= 37


@pytest.mark.parametrize(("end", "failing"), [("send", "a"), ("receive", "b")])
async def test_the_nth_operation_at_an_edge_fails(two, end, failing) -> None:
    """testing.edge_faults: a failure of the stage that uses that end, with its own error as the cause."""
    fault = EdgeFault("a → b", at=2, end=end, error=OSError("the line is dead"))
    with edge_faults(fault), pytest.raises(StageError) as caught:
        await two().run(["x", "y", "z"])
    assert caught.value.stage == failing
    assert isinstance(caught.value.__cause__, OSError)


async def test_an_edge_closes_at_the_nth_operation(two) -> None:
    """testing.edge_faults: the sender completes, the reader finds its end closed."""
    fault = EdgeFault("a → b", at=2, closes=True)
    with edge_faults(fault), pytest.raises(StageError, match="stage 'b' failed: ChannelClosedError"):
        await two().run(["x", "y", "z"])


async def test_a_fault_that_does_not_strike_is_told(two) -> None:
    """testing.edge_faults: a misspelt edge would let every test pass."""
    with (
        pytest.raises(AssertionError, match=r"have not struck: 'a → c' \(send #1\)"),
        edge_faults(EdgeFault("a → c", delay_s=1)),
    ):
        await two().run(["x"])
    for wrong in ({}, {"at": 0, "delay_s": 1}, {"delay_s": -1}):
        with pytest.raises(ConfigError):
            EdgeFault("a → b", **wrong)


class Store:
    """Keeps one text."""

    def __init__(self):
        self.kept = ""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        self.kept += "."

    async def save(self, text):
        self.kept += text

    async def load(self):
        return self.kept

    async def each(self):
        for letter in self.kept:
            yield letter

    def size(self):
        return len(self.kept)


async def test_calls_fail_are_late_or_never_come_back() -> None:
    """testing.faulty: by method and number; `after` fails when the effect is there."""
    plain = Store()
    faults = (
        CallFault("save", at=2, error=OSError("full")),
        CallFault("save", at=3, error=OSError("no answer"), after=True),
        CallFault("load", delay_s=5),
        CallFault(at=5, hangs=True),
        CallFault("each", at=2, error=OSError("cut"), after=True),
    )
    async with faulty(plain, *faults) as store:
        await store.save("a")
        with pytest.raises(OSError, match="full"):
            await store.save("b")
        with pytest.raises(OSError, match="no answer"):
            await store.save("c")
        assert await store.load() == "ac"
        assert anyio.current_time() == 5
        with anyio.move_on_after(60) as scope:
            await store.load()
        assert scope.cancelled_caught
        assert [one async for one in store.each()] == ["a", "c"]
        got = []
        with pytest.raises(OSError, match="cut"):
            async for one in store.each():
                got.append(one)
        assert got == ["a", "c"]
        assert store.size() == 2
    assert plain.kept == "ac."
    with pytest.raises(ConfigError):
        CallFault("save")


async def through(plan, sent, size):
    """Send bytes through a line to a server that sends them back, and return what comes back."""

    async def echo(peer):
        async with peer:
            async for data in peer:
                await peer.send(data)

    got = b""
    listening = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listening as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with bad_line("127.0.0.1", port, to_client=plan) as line:
            async with await anyio.connect_tcp(line.host, line.port) as client:
                await client.send(sent)
                pieces = []
                with anyio.move_on_after(0.5 if plan.stall_after is not None else 5):
                    while len(got) < size:
                        try:
                            pieces.append(await client.receive())
                        except (anyio.EndOfStream, anyio.BrokenResourceError):
                            break
                        got += pieces[-1]
            moved = line.moved["to_client"], line.connections
        tasks.cancel_scope.cancel()
    return got, pieces, moved


@pytest.mark.services
@pytest.mark.real_clock
@pytest.mark.parametrize(
    ("plan", "size"),
    [
        (LinePlan(), 10),
        (LinePlan(cut_after=4), 4),
        (LinePlan(stall_after=3), 3),
        (LinePlan(largest=3, delay_s=0.001, seed=7), 10),
    ],
    ids=["as it is", "cut", "stalled", "split"],
)
async def test_a_line_cuts_stalls_splits_and_delays(plan, size) -> None:
    """testing.bad_line: what arrives is a beginning of what was sent, as long as the plan says."""
    got, pieces, (moved, connections) = await through(plan, b"0123456789", 10)
    assert got == b"0123456789"[:size]
    assert (moved, connections) == (size, 1)
    if plan.largest:
        assert len(pieces) > 1


def test_all_cuts_are_all_of_them() -> None:
    """testing.all_cuts: each place once, and what is cut is whole again."""
    assert list(all_cuts("ab")) == [["", "ab"], ["a", "b"], ["ab", ""]]
    assert len(list(all_cuts(b"abc", 3))) == 10
    assert all(b"".join(cut) == b"abc" for cut in all_cuts(b"abc", 3))
