"""`streamflow fake-llm`: a model server without a model, for clients of any kind on this machine.

Above: `_main`. Below: `testing`, `providers`, `_server`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..providers import ScriptedProvider, load_script
from ._offline import offline_provider
from ._server import address_of, import_uvicorn, is_loopback, listen, port, serve

if TYPE_CHECKING:
    import argparse

    from ._screen import Screen

__all__ = ["HELP", "MORE", "add_options", "run_command"]

HELP = """\
Serve a model that is none: OpenAI's chat completions and responses, and Anthropic's messages, answered by a script.

Point any client at it: the openai and anthropic packages, curl, programs in other languages. Without a script it answers
by the rules of the offline provider. It listens on this machine alone, asks for no key, and ends with Ctrl-C."""

MORE = """\
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


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument("--host", metavar="HOST", default="127.0.0.1", help="where to listen; default 127.0.0.1")
    command.add_argument("--port", metavar="N", type=port, default=8123, help="default 8123; 0: any that is free")
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


def run_command(given: argparse.Namespace, screen: Screen) -> int:
    """Serve until it is ended, and return the exit code.

    Raises:
        ConfigError: If an option, or the script, is wrong.
        MissingExtraError: If uvicorn is not installed.
    """
    import_uvicorn()  # before anything else is done
    from ..testing import FakeLLM  # noqa: PLC0415 - only this command needs it

    provider: ScriptedProvider = load_script(given.script) if given.script else offline_provider(given.delay_s)
    app = FakeLLM(provider, max_request_bytes=given.max_request_bytes)
    try:
        listener = listen(given.host, given.port)
    except OSError as error:
        screen.error(f"cannot listen on {given.host}:{given.port}: {error.strerror or error}")
        return 1
    with listener:
        address = address_of(listener)
        if not is_loopback(listener):
            host = address.rpartition(":")[0]
            screen.error(f"warning: {host} can be reached by other machines, and this server asks for no key")
        told = f"script {given.script}" if given.script else "rules of the offline provider"
        screen.line(f"fake-llm at http://{address}/v1 (OpenAI) and http://{address} (Anthropic), {told}")
        screen.line("Press Ctrl-C to end it.")
        serve(app, listener, lifespan="off")
    return 0
