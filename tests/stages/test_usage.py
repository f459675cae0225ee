"""What models use, what it costs, and a log that tells no secrets. Semantics 21.13, 21.14."""

from __future__ import annotations

import logging

import pytest

from streamflow import (
    ConfigError,
    DataElement,
    ErrorElement,
    Message,
    MessageElement,
    StageError,
    TextElement,
    ToolCallElement,
    TurnEnd,
    UsageElement,
)
from streamflow.elements import Metadata, Usage
from streamflow.errors import UsageLimitError
from streamflow.stages import DebugStage, ModelPrice, UsageStage
from streamflow.testing import run_stage


def used(read, written, *, final=True, **more):
    return UsageElement(Usage(input_tokens=read, output_tokens=written, model="m", **more), final=final)


async def test_the_final_usages_of_all_calls_are_added_and_priced():
    """semantics 21.13: running totals replace each other (seed 004 lost them); a price of the provider wins."""
    stage = UsageStage({"m": ModelPrice(1.0, 2.0, cached=0.5)})
    given = [used(5, 1, final=False), used(1_000_000, 500_000, cached_tokens=200_000), used(1, 1, cost_usd=0.25)]
    got = await run_stage(stage, [*given, TurnEnd(), TurnEnd()])

    assert [one.usage.cost_usd for one in got[1:3]] == [pytest.approx(0.8 + 0.1 + 1.0), 0.25]
    total = got[3]
    assert isinstance(total, DataElement)
    assert (total.value["calls"], total.value["input_tokens"]) == (2, 1_000_001)
    assert total.value["cost_usd"] == pytest.approx(2.15)
    assert got[4:] == [TurnEnd(), TurnEnd()]


@pytest.mark.parametrize(
    ("limits", "what"),
    [({"max_tokens": 10}, "tokens"), ({"max_cost_usd": 0.1}, "cost_usd"), ({"max_calls": 1}, "calls")],
)
async def test_a_limit_ends_the_run_behind_the_usage_that_is_beyond_it(limits, what):
    """semantics 21.13: as soon as it is known, also while a call goes on."""
    given = [used(4, 4, cost_usd=0.06), used(8, 1, final=False, cost_usd=0.06)]
    with pytest.raises((StageError, UsageLimitError)) as caught:
        await run_stage(UsageStage(**limits), given)
    cause = caught.value.__cause__ or caught.value
    assert isinstance(cause, UsageLimitError)
    assert cause.what == what
    told = await run_stage(UsageStage(**limits, on_limit="tell"), [*given, *given])
    assert [one.code for one in told if isinstance(one, ErrorElement)] == ["usage_limit"]


async def test_the_log_has_no_secrets(caplog):
    """semantics 21.14: sizes and names; texts only where they are asked for, and never arguments or metadata."""
    given = [
        TextElement("my password is hunter2", metadata=Metadata({"key": "hunter2"})),
        MessageElement(Message("user", "hunter2")),
        ToolCallElement("c", "login", raw='{"password": "hunter2"}'),
        ErrorElement("failed", "hunter2"),
        TurnEnd(),
    ]
    with caplog.at_level(logging.DEBUG, "streamflow.stage.debug"):
        assert await run_stage(DebugStage(), given) == given
        assert len(caplog.records) == 5
        assert "hunter2" not in caplog.text
        await run_stage(DebugStage(preview_chars=5), given[:1])
    assert "'my pa'" in caplog.text


async def test_the_log_is_bounded(caplog):
    """semantics 21.14: an endless run does not fill a disk."""
    with caplog.at_level(logging.DEBUG, "streamflow.stage.debug"):
        await run_stage(DebugStage(max_lines=3), [TextElement(str(number)) for number in range(50)])
    assert len(caplog.records) == 4


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: UsageStage({"m": 3}), "prices['m']"),
        (lambda: UsageStage(max_tokens=0), "max_tokens"),
        (lambda: UsageStage(max_cost_usd=-1), "max_cost_usd"),
        (lambda: UsageStage(max_calls=True), "max_calls"),
        (lambda: UsageStage(on_limit="shrug"), "on_limit"),
        (lambda: DebugStage(preview_chars=-1), "preview_chars"),
        (lambda: DebugStage(max_lines=0), "max_lines"),
    ],
    ids=map(str, range(7)),
)
def test_a_bad_argument_is_refused_at_once_and_by_name(make, field):
    """semantics 21.13: the field that is wrong is named."""
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.field == field
