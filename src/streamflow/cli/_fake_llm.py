"""`streamflow fake-llm`: a model server without a model, for clients of any kind on this machine.

Above: `_main`. Below: `testing`, `providers`, and the optional uvicorn, which only this module imports.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import logging
import socket
from typing import TYPE_CHECKING

from ..errors import MissingExtraError
from ..providers import ScriptedProvider, load_script
from ._offline import offline_provider

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from ._screen import Screen

__all__ = ["add_fake_llm", "fake_llm"]

_HELP = """\
Serve a model that is none: OpenAI's chat completions and responses, and Anthropic's messages, answered by a script.

Point any client at it: the openai and anthropic packages, curl, programs in other languages. Without a script it answers
by the rules of the offline provider. It listens on this machine alone, asks for no key, and ends with Ctrl-C."""

_MORE = """\
faults: a request asks for them in the name of the model, or in the header x-fake-llm
  status=429&retry_after=2   a status, with what a client should wait; times=2: only the first two requests
  first=3  slow=0.5          seconds before the first event, before each
  cut=4  stall=4  end=4      after four events: break the connection, fall silent, end as if all were said
  error=4  malformed=4       after four events: an error inside the stream, what is no JSON
  split=7                    few bytes at a time, cut inside characters and escapes; other numbers make other cuts
  huge=1000000  ping  usage=0  done=0  whole  page
  keep_alive=0.2             a sign of life every 0.2 seconds of first, slow and stall
  as in: curl -N http://127.0.0.1:8123/v1/chat/completions -d '{"model": "any?cut=3", "stream": true, …}'

what became of a request:
  GET /fake/calls            all of the latest
  GET /fake/ended?model=…    waits until the call with that model has ended

exit codes: 0 after Ctrl-C, 1 if it cannot listen, 2 for wrong options

examples:
  streamflow fake-llm
  streamflow fake-llm --port 8123 --script script.toml"""

_STOP_S = 1  # an answer that is under way when the server ends gets this long


def add_fake_llm(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command and its options, by the method of the commands that there are."""
    command = add_parser(
        "fake-llm",
        help="serve a model that is none, on three wires, for tests",
        description=_HELP,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--host", metavar="HOST", default="127.0.0.1", help="where to listen; default 127.0.0.1")
    command.add_argument("--port", metavar="N", type=_port, default=8123, help="default 8123; 0: any that is free")
    command.add_argument("--script", metavar="FILE", help="what to answer: a .json or .toml file")
    command.add_argument(
        "--delay-s",
        metavar="N",
        type=float,
        default=0.03,
        help="pause before each token without a script; default 0.03",
    )
    command.add_argument(
        "--max-request-bytes", metavar="N", type=int, default=10 * 1024 * 1024, help="largest request; default 10 MiB"
    )


def fake_llm(given: argparse.Namespace, screen: Screen) -> int:
    """Serve until it is ended, and return the exit code.

    Raises:
        ConfigError: If an option, or the script, is wrong.
        MissingExtraError: If uvicorn is not installed.
    """
    uvicorn = _import_uvicorn()
    from ..testing import FakeLLM  # noqa: PLC0415 - only this command needs it

    provider: ScriptedProvider = load_script(given.script) if given.script else offline_provider(given.delay_s)
    app = FakeLLM(provider, max_request_bytes=given.max_request_bytes)
    try:
        listener = _listen(given.host, given.port)
    except OSError as error:
        screen.error(f"cannot listen on {given.host}:{given.port}: {error.strerror or error}")
        return 1
    with listener:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            screen.error(f"warning: {shown} can be reached by other machines, and this server asks for no key")
        told = f"script {given.script}" if given.script else "rules of the offline provider"
        screen.line(f"fake-llm at http://{shown}:{port}/v1 (OpenAI) and http://{shown}:{port} (Anthropic), {told}")
        screen.line("Press Ctrl-C to end it.")
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=_STOP_S,
            ws="none",
        )
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    return 0


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether uvicorn has found an error: it takes for one what a fault asked for, and what Ctrl-C has cut short."""
    if record.exc_info and not isinstance(record.exc_info[1], Exception):
        return False  # a cancellation
    said = record.getMessage()
    return "without completing response" not in said and "graceful shutdown exceeded" not in said


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; names of hosts are looked up.

    Raises:
        OSError: If the address is not this machine's, or taken.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)  # from here on clients can connect, so the address may be told
    except BaseException:
        listener.close()
        raise
    return listener


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _import_uvicorn() -> ModuleType:
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtraError("uvicorn", "web") from error
    return uvicorn
