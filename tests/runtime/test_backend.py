"""The part of the runtime that knows the event loop: what it does where no loop is, or is no more."""

from __future__ import annotations

import threading

import anyio
import pytest

from streamflow import PassthroughStage, PipelineBuilder, PipelineConfig
from streamflow.runtime._backend import Backend, current_backend, loop_is_running


def in_a_thread(func) -> None:
    thread = threading.Thread(target=func)
    thread.start()
    thread.join()


@pytest.mark.parametrize("name", ["asyncio", "trio"])
def test_a_backend_knows_its_own_loop_and_outlives_it(name: str):
    """5.1: objects that are lost after their loop has ended, in whichever thread, make no noise."""
    calls: list[str] = []

    async def main() -> Backend:
        assert loop_is_running()
        backend = current_backend()
        assert backend.is_here()
        backend.call(lambda: calls.append("at once"))
        assert calls == ["at once"]
        await anyio.to_thread.run_sync(lambda: backend.call(lambda: calls.append("soon")))
        with anyio.fail_after(5):
            while len(calls) < 2:
                await anyio.lowlevel.checkpoint()
        return backend

    backend = anyio.run(main, backend=name)
    assert calls == ["at once", "soon"]
    assert not backend.is_here()
    assert not loop_is_running()
    in_a_thread(lambda: backend.call(lambda: calls.append("too late")))
    assert calls == ["at once", "soon"]


def test_an_asyncio_loop_that_is_closed_is_not_called_from_its_own_thread_either():
    """5.1: as above, in the loop's own thread."""
    calls: list[str] = []

    async def main() -> Backend:
        return current_backend()

    anyio.run(main).call(lambda: calls.append("too late"))
    assert calls == []


def test_a_pipeline_tells_its_settings():
    """`Pipeline.config` is what the builder was given."""
    config = PipelineConfig(buffer_size=3)
    assert PipelineBuilder(config).chain(PassthroughStage("p")).build().config == config
    assert PipelineBuilder().chain(PassthroughStage("p")).build().config == PipelineConfig()
