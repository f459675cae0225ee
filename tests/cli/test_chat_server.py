"""`streamflow chat` with a real server process, over real HTTP streaming."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest
from fake_server import KEY, TEXT, model, serving

pytestmark = pytest.mark.services

WITHIN_S = 20


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Where the server process listens, as `http://127.0.0.1:port/v1`."""
    with serving() as address:
        yield f"{address}/v1"


def ask(start, server: str, faults: str, *arguments: str, said: str = "Hi\n", env=None) -> tuple[int, str, str]:
    process = start("chat", "--base-url", server, "--model", model(faults), *arguments, stdin=subprocess.PIPE, env=env)
    out, err = process.communicate(said, timeout=WITHIN_S)
    return process.returncode, out, err


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("faults", ["", "split=3", "done=0"])
def test_an_answer_of_a_real_server_is_shown(start, server: str, faults: str, backend: str) -> None:
    """The main job over the wire, however the server cuts its answer."""
    assert ask(start, server, faults, "--quiet", "--backend", backend) == (0, f"{TEXT}\n", "")


def test_anthropic_s_wire_is_spoken_too(start, server: str) -> None:
    """`--provider anthropic`, with the key of its own variable."""
    address = server.removesuffix("/v1")
    arguments = ["--quiet", "--provider", "anthropic"]

    assert ask(start, address, "", *arguments, env={"ANTHROPIC_API_KEY": KEY}) == (0, f"{TEXT}\n", "")


def test_the_environment_can_name_the_server(start, server: str) -> None:
    """`OPENAI_BASE_URL`, `OPENAI_MODEL`, `OPENAI_API_KEY`: the usual variables; the start says which server it is."""
    variables = {"OPENAI_BASE_URL": server, "OPENAI_MODEL": "echo", "OPENAI_API_KEY": KEY}
    process = start("chat", stdin=subprocess.PIPE, env=variables)

    out, err = process.communicate("What now?\n", timeout=WITHIN_S)

    assert (process.returncode, err) == (0, "")
    assert f"Server: {server}, model {variables['OPENAI_MODEL']}, with a key." in out
    assert "you> What now?\nbot> What now?\n" in out
    assert "Offline" not in out
    assert KEY not in out


@pytest.mark.parametrize(
    ("faults", "told"),
    [("status=401", "401"), ("status=500", "500"), ("cut=2", "broke"), ("end=2", ""), ("page", "")],
)
def test_what_goes_wrong_at_the_server_is_one_clear_line(start, server: str, faults: str, told: str) -> None:
    """Exit code 1; a refused key, a failing server, a broken connection, something that is no model server."""
    code, out, err = ask(start, server, faults)

    assert code == 1
    assert "Traceback" not in out + err
    assert err.startswith("streamflow: ")
    assert err.count("\n") == 1
    assert told in err
    assert out.endswith("\n")


def test_a_key_that_the_server_quotes_is_not_printed(start, server: str) -> None:
    """Secrets are never printed, whoever says them; nor does the server steer the terminal."""
    arguments = ("--api-key-env", "MY_KEY")
    code, out, err = ask(start, server, "status=400&quote=1", *arguments, env={"MY_KEY": KEY})

    assert code == 1
    assert KEY not in out + err
    assert "\x1b" not in out + err


def test_an_answer_that_takes_too_long_is_one_clear_line(start, server: str) -> None:
    """`--timeout-s`, with what had come of the answer before it."""
    code, out, err = ask(start, server, "stall=2", "--quiet", "--timeout-s", "0.5")

    assert (code, out) == (1, "Hel\n")
    assert err == "streamflow: no whole answer within 0.5 s; give more time with --timeout-s\n"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_ends_an_answer_that_a_server_holds_back(start, server: str, backend: str) -> None:
    """The token that had come was shown at once; the wait for the next one ends at once too."""
    process = start(
        "chat",
        "--quiet",
        "--base-url",
        server,
        "--model",
        model("stall=2"),
        "--backend",
        backend,
        stdin=subprocess.PIPE,
    )
    process.stdin.write("Hi\n")
    process.stdin.flush()
    assert process.stdout.read(3) == "Hel"

    process.send_signal(signal.SIGINT)

    assert process.wait(WITHIN_S) == 130
    assert process.stderr.read() == "streamflow: interrupted\n"
