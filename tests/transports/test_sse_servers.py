"""Responses over real sockets: Starlette on uvicorn (asyncio), and on hypercorn with trio."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from streamflow import TextElement
from streamflow.elements import EndOfStream, decode
from streamflow.wire import SSEParser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamflow.wire import SSEEvent

pytestmark = [pytest.mark.services, pytest.mark.real_clock]

SERVER = Path(__file__).parents[1] / "servers" / "sse_server.py"
_numbers = count()


@pytest.fixture(scope="module", params=["uvicorn", "hypercorn"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    with subprocess.Popen([sys.executable, str(SERVER), request.param], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.terminate()
            process.wait(10)


def state(port: int, id: str, **options: object) -> dict:
    address = f"http://127.0.0.1:{port}/state?{urlencode({'id': id, **options})}"
    with urllib.request.urlopen(address, timeout=20) as response:
        return json.load(response)


def ended(port: int, id: str) -> str:
    """Return how a run ended, once it has."""
    return state(port, id, wait=True)["ended"]


def request(port: int, path: str, headers: str = "", buffer: int | None = None, **query: object) -> socket.socket:
    client = socket.socket()
    if buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    client.sendall(f"GET {path}?{urlencode(query)} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n".encode())
    return client


def curl(port: int, path: str, *arguments: str) -> tuple[str, list[SSEEvent]]:
    """Return the status and the events of a response that curl reads."""
    address = f"http://127.0.0.1:{port}{path}"
    done = subprocess.run(
        ["curl", "-sN", "-w", "\n%{http_code}", *arguments, address], capture_output=True, timeout=30, check=False
    )
    body, _, status = done.stdout.rpartition(b"\n")
    return status.decode(), SSEParser().feed(body + b"\n")


def text_of(*parts: list[SSEEvent]) -> str:
    elements = [decode(event.data) for part in parts for event in part]
    assert [place for place, one in enumerate(elements) if isinstance(one, EndOfStream)] == [len(elements) - 1]
    return "".join(one.text for one in elements if isinstance(one, TextElement))


def fresh() -> str:
    return f"run{next(_numbers)}"


def test_headers_first_text_and_heartbeats_arrive_while_the_run_goes_on(port: int) -> None:
    """semantics 23.3: over a socket, with a real server's own buffers."""
    id = fresh()
    with request(port, "/direct", id=id, count=1, pause_s=30, heartbeat_s=0.1) as client:
        got = b""
        while got.count(b": heartbeat") < 2:
            got += client.recv(65536)
        assert b"text/event-stream" in got
        assert b"x-accel-buffering: no" in got.lower()
        assert b'"text":"0;"' in got
        assert state(port, id)["ended"] is None
    assert ended(port, id) == "cancelled"


def test_a_client_that_goes_cancels_its_run(port: int) -> None:
    """semantics 23.4: a closed socket is a hang-up."""
    id = fresh()
    with request(port, "/direct", id=id, pause_s=0.01) as client:
        assert client.recv(65536)
    assert ended(port, id) == "cancelled"


def test_curl_comes_back_for_the_rest(port: int) -> None:
    """semantics 23.7: three connections of another program, one stream."""
    id = fresh()
    _, first = curl(port, f"/chat/{id}?count=40&pause_s=0.03", "--max-time", "0.4")
    assert 0 < len(first) < 40
    _, second = curl(port, f"/chat/{id}", "--max-time", "0.3", "-H", f"Last-Event-ID: {first[-1].id}")
    last = (second or first)[-1].id
    _, third = curl(port, f"/chat/{id}", "-H", f"Last-Event-ID: {last}")
    over, nothing = curl(port, f"/chat/{id}", "-H", f"Last-Event-ID: {third[-1].id}")
    lost, _ = curl(port, f"/chat/{id}", "-H", "Last-Event-ID: other:7")
    bad, _ = curl(port, f"/chat/{id}", "-H", "Last-Event-ID: ;")

    assert text_of(first, second, third) == "".join(f"{number};" for number in range(40))
    assert (over, nothing, lost, bad) == ("204", [], "410", "400")


def test_a_detached_run_is_stopped_by_a_request(port: int) -> None:
    """semantics 23.4: the stop handle, over HTTP."""
    id = fresh()
    curl(port, f"/chat/{id}?pause_s=0.01", "--max-time", "0.3")
    assert state(port, id)["ended"] is None
    assert curl(port, f"/chat/{id}/stop", "-X", "POST")[0] == "202"
    assert ended(port, id) == "cancelled"
    assert curl(port, f"/chat/{id}/stop", "-X", "POST")[0] == "404"
    _, events = curl(port, f"/chat/{id}")
    assert decode(events[-1].data).reason == "cancelled"


def test_a_client_that_reads_a_kilobyte_a_second_costs_no_memory(port: int) -> None:
    """semantics 23.5: buffers of the system and of the server fill, ours is 64 KiB, and then the source waits."""
    id = fresh()
    with request(port, "/direct", id=id, size=1000, buffer=4096) as client:
        client.recv(1024)
        before = state(port, id, after_s=1)
        for _ in range(3):
            assert client.recv(1024)
            after = state(port, id, after_s=1)
        assert before["made"] < 10_000  # 10 MB; the system alone buffers several
        assert after["made"] - before["made"] < 500
        assert after["rss_kib"] - before["rss_kib"] < 2048
    assert ended(port, id) == "cancelled"


def test_a_client_that_takes_nothing_is_dropped(port: int) -> None:
    """semantics 23.5: the write deadline, when the server's buffer is full."""
    id = fresh()
    with request(port, "/direct", id=id, size=1000, write_timeout_s=0.5, buffer=4096) as client:
        assert client.recv(1024)
        assert ended(port, id) == "cancelled"
