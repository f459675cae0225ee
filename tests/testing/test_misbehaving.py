"""The zoo: what is borne changes nothing, what is unusual does what its model says, and each misbehaviour shows."""

from __future__ import annotations

import anyio
import pytest

from streamflow import ErrorElement, PipelineBuilder, PipelineConfig, RunTimeoutError, StageError, TextElement
from streamflow.errors import ChannelBusyError, ChannelClosedError, ElementError
from streamflow.testing import ProbeError, assert_all_stages_stopped, misbehaving, probed, run_stage

GIVEN = [TextElement(str(number)) for number in range(7)]
BORNE = [one for one in misbehaving.ZOO if one.is_borne]


@pytest.mark.parametrize("capacity", [1, 16])
@pytest.mark.parametrize("unusual", misbehaving.UNUSUAL, ids=lambda one: one.name)
async def test_an_unusual_stage_keeps_the_rules(unusual, capacity) -> None:
    """semantics 3.1: how a stage reads and writes is its own affair."""
    assert await run_stage(unusual(), GIVEN, capacity=capacity) == unusual.model(GIVEN)
    assert await run_stage(unusual()) == unusual.model([])
    await assert_all_stages_stopped()


@pytest.mark.parametrize("beast", BORNE, ids=lambda one: one.name)
async def test_what_the_runtime_bears_changes_nothing_for_others(beast) -> None:
    """semantics 3.1, 5.5: a stage that forgets to close, or uses its ends too late, harms nobody, in its second run neither."""
    pipeline = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(one := beast()).build()
    for _ in range(2):
        got = (await pipeline.run(GIVEN)).elements
        assert list(got) == ([] if beast is misbehaving.returns_unread else GIVEN)
    await anyio.sleep(5)
    await assert_all_stages_stopped()
    if beast in (misbehaving.sends_after_return, misbehaving.keeps_its_ports):
        assert isinstance(one._memory["error"], ChannelClosedError)


def test_each_misbehaviour_says_which_rule_it_breaks() -> None:
    """testing.misbehaving: one line each, one rule each, no two of a name."""
    assert len({one.name for one in (*misbehaving.ZOO, *misbehaving.UNUSUAL)}) == 26 + 15
    assert all(one.rule.startswith("SF-") and one.breaks.endswith(".") for one in misbehaving.ZOO)
    assert all(one.does.endswith(".") and "\n" not in one.does for one in misbehaving.UNUSUAL)


@pytest.mark.parametrize(
    ("beast", "texts"),
    [
        (misbehaving.loses_the_last, "012345"),
        (misbehaving.duplicates, "01223456"),
        (misbehaving.reorders, "1032546"),
        (misbehaving.shares_state, "01234"),
    ],
    ids=lambda one: getattr(one, "name", None),
)
async def test_what_changes_the_output_does_so(beast, texts) -> None:
    """testing.misbehaving: a beast that did nothing wrong would prove nothing."""
    assert "".join(one.text for one in await run_stage(beast(), GIVEN)) == texts


async def test_control_is_dropped_and_an_element_written_into() -> None:
    """testing.misbehaving: what nobody must do to an element."""
    assert await run_stage(misbehaving.drops_control(), [ErrorElement("code", "text")]) == []
    shared = TextElement("a", id="a")
    await run_stage(misbehaving.mutates(), [shared])
    assert shared.id == "a!"


@pytest.mark.parametrize(
    ("beast", "cause"),
    [
        (misbehaving.sends_none, ElementError),
        (misbehaving.raises_in_cleanup, RuntimeError),
    ],
    ids=lambda one: getattr(one, "name", None),
)
async def test_what_is_refused_is_an_error_of_the_stage(beast, cause) -> None:
    """semantics 2.1, 5.6: named, with what it did as the cause."""
    with pytest.raises(StageError) as caught:
        await run_stage(beast(), GIVEN)
    error = caught.value.__cause__
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, cause)


async def test_what_never_ends_is_ended_by_the_limit() -> None:
    """semantics 5.9: and the runtime says what took too long."""
    with pytest.raises(RunTimeoutError):
        await run_stage(misbehaving.never_ends(), GIVEN, timeout_s=5)


async def test_what_holds_everything_back_and_what_drops_show_at_small_edges() -> None:
    """testing.misbehaving: two that pass every test with large edges."""
    async with probed(misbehaving.reads_everything_first()) as (source, sink):
        await source.send(*GIVEN)
        sink.request(1)
        await sink.expect_no_element()
        source.complete()
        await sink.expect_next("0")
    async with probed(misbehaving.drops_for_want_of_room()) as (source, sink):
        await source.send(*GIVEN)
        source.complete()
        await sink.request_next("0")
        with pytest.raises(ProbeError):  # another one, or the end: how much else fits is up to who goes on first
            await sink.request_next("1")


async def test_two_tasks_cannot_read_one_edge() -> None:
    """semantics 2.1: the second one that waits is refused at once."""
    async with probed(misbehaving.reads_in_two_tasks()) as (_, sink):
        error = (await sink.expect_error(StageError)).__cause__
    assert isinstance(error, BaseExceptionGroup)
    assert isinstance(error.exceptions[0], ChannelBusyError)
