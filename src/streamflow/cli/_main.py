"""The `streamflow` command: the commands that there are, and the dispatch to what is asked for.

Above: the console script, `python -m streamflow`. Below: `_chat_command`, `_fake_llm`, `_replay`, `_serve_chat`.
Rules: only the module of the command that is asked for is loaded, so `--help`, and a replay, wait for no provider and no server.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import TYPE_CHECKING, Protocol, cast

from .. import __version__
from ..errors import ConfigError, StreamflowError
from ._screen import FAILED, INTERRUPTED, MISUSED, Screen

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_COMMANDS = {
    "chat": ("._chat_command", "chat with a model, or with the offline provider"),
    "fake-llm": ("._fake_llm", "serve a model that is none, on three wires, for tests"),
    "serve-chat": ("._serve_chat", "serve a chat for the browser"),
    "replay": ("._replay", "show what was recorded, or play it again against a pipeline"),
}
"""The module of each command, and its line in the help."""


class _Command(Protocol):
    """The module of a command."""

    HELP: str
    MORE: str

    def add_options(self, command: argparse.ArgumentParser) -> None: ...

    def run_command(self, given: argparse.Namespace, screen: Screen) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; see `streamflow chat --help` for the codes.

    Args:
        argv: The arguments; None: those of the process.
    """
    screen = Screen(sys.stdout, sys.stderr)
    try:
        return _run(argv, screen)
    except KeyboardInterrupt:  # before the chat has begun to listen for it, or after
        screen.error("interrupted")
        return INTERRUPTED
    except StreamflowError as error:
        screen.error(str(error))
        return MISUSED if isinstance(error, ConfigError) else FAILED
    finally:
        if screen.is_gone:
            screen.abandon()


def _run(argv: Sequence[str] | None, screen: Screen) -> int:
    words = sys.argv[1:] if argv is None else argv
    parser = _parser(words)
    try:
        given = parser.parse_args(words)
    except SystemExit as end:  # after --help, --version, or a wrong option
        return end.code if isinstance(end.code, int) else MISUSED
    if given.command is None:
        parser.print_help(sys.stderr)
        return MISUSED
    return _command(given.command).run_command(given, screen)


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser for a command line, which knows the options of the command that it names."""
    parser = argparse.ArgumentParser(
        prog="streamflow",
        description="A runtime for streaming LLM, voice and multimodal pipelines.",
        epilog="streamflow COMMAND --help shows what a command can do, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"streamflow {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, (_, line) in _COMMANDS.items():
        command = commands.add_parser(name, help=line, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name in words:
            module = _command(name)
            command.description, command.epilog = module.HELP, module.MORE
            module.add_options(command)
    return parser


def _command(name: str) -> _Command:
    return cast("_Command", importlib.import_module(_COMMANDS[name][0], __package__))
