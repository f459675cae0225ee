"""`streamflow serve-chat`: a chat in the browser, and for the clients of AG-UI and of the Vercel AI SDK.

Above: `_main`. Below: `apps`, `_connect`, `_server`.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from .. import __version__
from ..apps import LOOPBACK_HOSTS, ChatService, ChatSettings, chat_app
from ..errors import ConfigError
from ..runtime import PipelineConfig
from ..state import MemoryStore, SQLiteStore
from ._connect import connection_for
from ._options import ModelOptions
from ._server import address_of, import_uvicorn, is_loopback, listen, port, serve
from ._tools import BUNDLED, add_tools, tools_for

if TYPE_CHECKING:
    import argparse

    from ._screen import Screen

__all__ = ["HELP", "MORE", "add_options", "run_command"]

HELP = """\
Serve a chat: a page for the browser, and addresses for the clients of AG-UI and of the Vercel AI SDK.

It listens on this machine alone, asks for no key, and ends with Ctrl-C. Without a server to ask, the offline provider
answers, by rules: no model is asked."""

MORE = """\
environment:
  OPENAI_BASE_URL, OPENAI_API_KEY, OPENAI_MODEL   as for streamflow chat

addresses:
  /                the page
  /api/ag-ui       for HttpAgent of @ag-ui/client, CopilotKit and others
  /api/vercel      for DefaultChatTransport of the ai package, useChat and others
  /api/chats       for programs of your own: process_step events, or elements with ?format=raw

exit codes: 0 after Ctrl-C, 1 if it cannot begin, 2 for wrong options

examples:
  streamflow serve-chat
  streamflow serve-chat --base-url http://localhost:11434/v1 --model llama3.2 --history chats.db
  streamflow serve-chat --allow-origin http://localhost:3000"""

_SHUTDOWN_S = 2.0  # a user who has pressed Ctrl-C does not wait ten seconds for a stage that hangs


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.add_argument("--host", metavar="HOST", default="127.0.0.1", help="where to listen; default 127.0.0.1")
    command.add_argument("--port", metavar="N", type=port, default=8000, help="default 8000; 0: any that is free")
    command.add_argument(
        "--public", action="store_true", help="listen also where other machines can connect: anybody there can chat"
    )
    command.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="a further name of this server; may be repeated",
    )
    command.add_argument(
        "--allow-origin",
        metavar="URL",
        action="append",
        default=[],
        help="a page of another server that may ask, as in http://localhost:3000; may be repeated",
    )
    command.add_argument("--history", metavar="PATH", help="keep the chats in this SQLite file; default: in memory")
    command.add_argument("--title", metavar="TEXT", default="streamflow chat", help="title of the page")
    command.add_argument("--system", metavar="TEXT", default="", help="what the model is told first")
    command.add_argument(
        "--provider",
        choices=("openai", "anthropic", "scripted"),
        help="whose wire the server speaks; scripted: offline",
    )
    command.add_argument("--base-url", metavar="URL", help="address of the server")
    command.add_argument("--model", metavar="NAME", help="name of the model; default: the server's choice")
    add_tools(command.add_argument)
    command.add_argument("--api-key-env", metavar="VAR", help="environment variable that holds the key")
    command.add_argument("--offline", action="store_true", help="stay offline, whatever the environment says")
    command.add_argument(
        "--timeout-s", metavar="N", type=float, default=120.0, help="longest time of one answer; default 120"
    )
    command.add_argument(
        "--delay-s", metavar="N", type=float, default=0.03, help="pause before each word of the offline provider"
    )


def run_command(given: argparse.Namespace, screen: Screen) -> int:
    """Serve until it is ended, and return the exit code.

    Raises:
        ConfigError: If an option is wrong.
        MissingExtraError: If uvicorn, or what the provider needs, is not installed.
    """
    import_uvicorn()  # before anything else is done
    connection = connection_for(_model_options(given), is_watched=True)
    tools = tools_for(given.tools or ((BUNDLED,) if connection.is_offline else ()))
    store = SQLiteStore(given.history) if given.history else MemoryStore()
    config = PipelineConfig(timeout_s=given.timeout_s, shutdown_timeout_s=_SHUTDOWN_S)
    try:
        listener = listen(given.host, given.port)
    except OSError as error:
        screen.error(f"cannot listen on {given.host}:{given.port}: {error.strerror or error}")
        return 1
    with listener:
        address = address_of(listener)
        host = address.rpartition(":")[0]
        if not is_loopback(listener):
            if not given.public:
                raise ConfigError("--host", f"{host} can be reached by other machines; give --public if that is meant")
            screen.error(f"warning: {host} can be reached by other machines, and this server asks for no key")
        # A server that listens everywhere has no name by that.
        named = () if ipaddress.ip_address(host.strip("[]")).is_unspecified else (host,)
        app = chat_app(
            ChatService(store, connection.provider, tools=tools, config=config),
            title=given.title,
            settings=ChatSettings(system=given.system),
            hosts=(*LOOPBACK_HOSTS, *named, *given.allow_host),
            origins=given.allow_origin,
            resources=(store, connection.opened),
        )

        def tell() -> None:
            screen.line(f"streamflow {__version__} · serve-chat\n{connection.notice}")
            screen.line(f"Open http://{address}/ in a browser. Press Ctrl-C to end it.")

        failure = serve(app, listener, lifespan="on", ready=tell)
    if failure is not None:
        screen.error(failure)
        return 1
    return 0


def _model_options(given: argparse.Namespace) -> ModelOptions:
    return ModelOptions(
        provider=given.provider,
        base_url=given.base_url,
        model=given.model,
        api_key_env=given.api_key_env,
        offline=given.offline,
        timeout_s=given.timeout_s,
        delay_s=given.delay_s,
    )
