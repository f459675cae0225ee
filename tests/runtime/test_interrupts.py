"""Ctrl-C in a blocking call: clean-up runs and `KeyboardInterrupt` leaves unwrapped (SF-41)."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import signal
import sys
from collections.abc import AsyncIterator
import anyio
from streamflow import PipelineBuilder, TextElement, stage
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background starts us without it

@stage
async def waits(stream: AsyncIterator[TextElement]) -> AsyncIterator[TextElement]:
    try:
        async for element in stream:
            print("ready", flush=True)
            await anyio.sleep(60)
            yield element
    finally:
        print("cleaned up", flush=True)

pipeline = PipelineBuilder().chain(waits).build()
backend, form = sys.argv[1:]
try:
    if form == "execute_sync":
        pipeline.execute_sync("x", backend=backend)
    else:
        for _ in pipeline.stream_sync("x", backend=backend):
            pass
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("form", ["execute_sync", "stream_sync"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_ends_a_blocking_call_cleanly(backend: str, form: str):
    """A person who presses Ctrl-C gets their prompt back, and the stages their clean-up."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, backend, form], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert out == "cleaned up\ninterrupted\n"
    assert err == ""
    assert process.returncode == 0
