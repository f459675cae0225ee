"""Ctrl-C in a blocking call: clean-up runs and `KeyboardInterrupt` leaves unwrapped (SF-41)."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

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


EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "19_drain_on_ctrl_c.py"

ON_BACKEND = """
import functools, runpy, sys
import anyio
backend = sys.argv.pop(1)
anyio.run = functools.partial(anyio.run, backend=backend)
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 2])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_drains_and_a_second_one_cancels(backend: str, presses: int) -> None:
    """semantics 5.8 (7.8): the example, as a person uses it; who is in a hurry is not made to wait."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", ON_BACKEND, backend, str(EXAMPLE), "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(3)] == [f"order {n}, packed\n" for n in (1, 2, 3)]
        told = ""
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
            told += process.stdout.readline()
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()
    assert (err, process.returncode) == ("", 0)
    assert told.startswith("Ctrl-C: no more orders")
    if presses == 1:
        assert out == "the end: done\nevery order that was taken was packed: True\n"
    else:
        assert "Ctrl-C again: everything stops\n" in told
        assert out.startswith("every order that was taken was packed: False\nnot delivered: ")
