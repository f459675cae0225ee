"""The command `streamflow chat`: its options, and what they ask for.

Above: `_main`. Below: `_chat`, `_connect`, `_history`, `_tools`.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import math
import sys
from typing import TYPE_CHECKING

import anyio

from ..errors import MissingExtraError
from ._chat import Setup, chat
from ._connect import connection_for
from ._history import open_history
from ._options import ChatOptions
from ._tools import BUNDLED, add_tools, tools_for

if TYPE_CHECKING:
    from ._screen import Screen

__all__ = ["HELP", "MORE", "add_options", "run_command"]

HELP = """\
Chat with a model in the terminal; the answer appears as it arrives.

What you say is typed, or piped on standard input, one message per line. With neither, a bundled conversation is
shown. Without a server the offline provider answers, by rules: no model is asked. With --history what was said is
kept, also of an answer that was stopped, and goes on with --resume."""

MORE = """\
environment:
  OPENAI_BASE_URL, OPENAI_API_KEY  connect to a server without options; a key alone means OpenAI
  OPENAI_MODEL                     the model, where --model is not given
  ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY, ANTHROPIC_MODEL
                                   the same for --provider anthropic; keys are read from the environment alone
  NO_COLOR                         no grey for what tools do, which only terminals get

exit codes:
  0    ended by /quit, Ctrl-D, or the end of the input
  1    an answer failed (a terminal chat goes on instead), or the output could not be written
  2    wrong options
  130  Ctrl-C; during an answer in a terminal, Ctrl-C stops the answer and the chat goes on

examples:
  streamflow chat
  streamflow chat --base-url http://localhost:11434/v1 --model llama3.2 --tools
  streamflow chat --provider anthropic --model claude-sonnet-4-5 --tools my_tools:weather
  streamflow chat --history chats.db
  streamflow chat --history chats.db --resume
  echo "What is backpressure?" | streamflow chat --quiet"""


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    server = command.add_argument_group("the model")
    server.add_argument(
        "--provider",
        choices=("openai", "anthropic", "scripted"),
        help="whose wire the server speaks; scripted: offline; default: openai with a server, else scripted",
    )
    server.add_argument("--base-url", metavar="URL", help="address of the server, as in http://localhost:11434/v1")
    server.add_argument("--model", metavar="NAME", help="name of the model; default: the server's choice")
    server.add_argument(
        "--api-key-env", metavar="VAR", help="environment variable that holds the key; default OPENAI_API_KEY"
    )
    server.add_argument("--offline", action="store_true", help="stay offline, whatever the environment says")
    server.add_argument("--system", metavar="TEXT", help="what the model is told first")
    server.add_argument(
        "--timeout-s", metavar="N", type=_duration, default=120.0, help="longest time of one answer; default 120"
    )
    add_tools(server.add_argument)
    talk = command.add_argument_group("the chat")
    talk.add_argument("--history", metavar="PATH", help="SQLite file that keeps the conversations")
    talk.add_argument(
        "--resume",
        metavar="ID",
        nargs="?",
        const="",
        help="go on with this conversation; the beginning of its id will do; without one, with the last",
    )
    talk.add_argument("--list", action="store_true", help="list the conversations of the file instead")
    talk.add_argument("--quiet", action="store_true", help="print the answers alone")
    talk.add_argument(
        "--wait-s", metavar="N", type=_duration, default=5.0, help="longest wait for a first piped message; default 5"
    )
    talk.add_argument(
        "--delay-s",
        metavar="N",
        type=_pause,
        help="pause between the offline provider's words; default 0.03 in a terminal, else 0",
    )
    talk.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio", help="event loop; default asyncio")


def run_command(given: argparse.Namespace, screen: Screen) -> int:
    """Chat until the end of the input, and return the exit code."""
    if given.backend == "trio" and importlib.util.find_spec("trio") is None:
        raise MissingExtraError("trio", "trio")
    given.tools = tuple(given.tools)
    options = ChatOptions(**{name: value for name, value in vars(given).items() if name != "command"})
    store = open_history(options)
    connection = connection_for(options, is_watched=screen.is_terminal)
    tools = tools_for(options.tools or ((BUNDLED,) if connection.is_offline else ()))
    talk = functools.partial(chat, options, Setup(connection, tools, store), screen, sys.stdin)
    return anyio.run(talk, backend=options.backend)


def _duration(text: str) -> float:
    seconds = _pause(text)
    if not seconds:
        raise argparse.ArgumentTypeError("give more than 0 seconds")
    return seconds


def _pause(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (0 <= seconds < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds
