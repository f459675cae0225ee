"""Chaos: the same schedule for the same seed, another one for another, and nothing of it when it is off."""

from __future__ import annotations

import pytest

from streamflow import PassthroughStage, PipelineBuilder, PipelineConfig, TextElement
from streamflow.channels import ReceiveEnd, SendEnd
from streamflow.errors import RunStateError
from streamflow.testing import EdgeLedger, assert_all_stages_stopped, chaos, run_stage, run_virtual

METHODS = [vars(SendEnd)["send"], vars(SendEnd)["send_all"], vars(ReceiveEnd)["__anext__"]]


def racing():
    """Two ways of one length: which one is first is up to the scheduler."""
    builder = PipelineBuilder(PipelineConfig(buffer_size=1)).chain(PassthroughStage(name="fork"))
    builder.branch("fork", PassthroughStage(name="a"), PassthroughStage(name="b"))
    return builder.merge(PassthroughStage(name="join"), "a", "b").build()


async def raced(seed: int) -> tuple[int, tuple[str, ...]]:
    sources: list[str] = []
    with chaos(seed) as storm, EdgeLedger() as ledger:
        await racing().run([str(number) for number in range(12)])
    ledger.check(ended=True)
    await assert_all_stages_stopped()
    sources = [edge for edge, record in ledger.edges.items() for _ in range(record.blocked["send"])]
    return storm.pauses, tuple(sources)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_seed_makes_one_schedule(backend) -> None:
    """testing.chaos: the same again from the same seed, on trio too, and different ones from different seeds."""
    found = [run_virtual(raced, seed, backend=backend) for seed in (1, 2, 3, 4)]
    assert len(set(found)) > 1
    assert [run_virtual(raced, seed, backend=backend) for seed in (1, 2, 3, 4)] == found
    assert all(pauses > 20 for pauses, _ in found)


async def test_off_means_off_and_one_is_on_at_a_time() -> None:
    """testing.chaos: the fast path is the package's own again, also when the block raised."""
    with pytest.raises(ValueError, match="mine") as caught, chaos(7):
        assert vars(SendEnd)["send"] is not METHODS[0]
        with pytest.raises(RunStateError, match=r"chaos\(seed=7\) is on already"), chaos(8):
            pass
        raise ValueError("mine")
    assert any("chaos(seed=7)" in note for note in caught.value.__notes__)
    assert [vars(SendEnd)["send"], vars(SendEnd)["send_all"], vars(ReceiveEnd)["__anext__"]] == METHODS


async def test_without_a_seed_it_says_which_one_it_has_taken() -> None:
    """testing.chaos: what fails once can be run again."""
    with chaos() as storm:
        assert await run_stage(PassthroughStage(), ["a"]) == [TextElement("a")]
    assert 0 <= storm.seed < 2**32
