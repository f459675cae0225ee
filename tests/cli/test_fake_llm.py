"""`streamflow fake-llm`: what it says, and how it begins and ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import urllib.request

import pytest

from streamflow.cli import main

WITHIN_S = 20


def test_a_missing_extra_is_one_line_that_says_what_to_install(monkeypatch, capsys):
    """`docs/architecture.md`: the absence of an optional dependency is an error that names the extra."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)

    assert main(["fake-llm"]) == 1
    assert "streamflow-runtime[web]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--script", "/nowhere/script.json"], "cannot be read"),
        (["--port", "70000"], "no port"),
        (["--port", "x"], "no port"),
        (["--max-request-bytes", "0"], "max_request_bytes"),
        (["--delay-s", "-1"], "delay_s"),
    ],
    ids=range(5),
)
def test_a_wrong_option_is_refused(capsys, arguments, told):
    """Exit code 2, and one line that says what is wrong."""
    assert main(["fake-llm", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_port_that_is_taken_is_one_line(capsys):
    """Exit code 1: it cannot listen."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["fake-llm", "--port", str(port)]) == 1

    assert capsys.readouterr().err == f"streamflow: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.services
def test_it_answers_by_rules_and_ends_with_ctrl_c(start):
    """semantics 18.11: on this machine alone; Ctrl-C ends it, an answer that hangs included, without a word of what was asked."""
    process = start("fake-llm", "--port", "0", "--delay-s", "0")
    first = process.stdout.readline()
    address = re.search(r"http://127\.0\.0\.1:\d+", first)[0]
    body = json.dumps({"model": "any", "input": "hello"}).encode()
    with urllib.request.urlopen(f"{address}/v1/responses", data=body, timeout=10) as response:
        answer = json.load(response)
    private = {"model": "any?stall=1", "input": "a private question", "stream": True}
    hanging = urllib.request.Request(f"{address}/v1/responses", json.dumps(private).encode())
    hanging.add_header("authorization", "Bearer sk-planted-0123456789")
    with urllib.request.urlopen(hanging, timeout=10):
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == 0

    assert "without a model" in answer["output"][0]["content"][0]["text"]
    assert "rules of the offline provider" in first
    assert process.stdout.read() == "Press Ctrl-C to end it.\n"
    assert process.stderr.read() == ""


@pytest.mark.services
def test_it_warns_when_other_machines_can_reach_it(start):
    """semantics 18.11: loopback by default; another address must be asked for, and is warned about."""
    process = start("fake-llm", "--port", "0", "--host", "0.0.0.0")
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.wait(WITHIN_S)

    assert "warning: 0.0.0.0 can be reached by other machines" in process.stderr.read()


@pytest.mark.services
def test_a_connection_that_breaks_on_purpose_is_no_error_of_the_server(start):
    """semantics 18.11: a fault that was asked for leaves no line in the terminal."""
    process = start("fake-llm", "--port", "0", "--delay-s", "0")
    address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
    for faults in ("cut=0", "cut=2"):
        body = json.dumps({"model": f"any?{faults}", "input": "hello", "stream": True}).encode()
        with pytest.raises(Exception, match=r".*"), urllib.request.urlopen(f"{address}/v1/responses", data=body) as got:
            got.read()
    process.send_signal(signal.SIGINT)
    process.wait(WITHIN_S)

    assert process.stderr.read() == ""
