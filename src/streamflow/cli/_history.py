"""The conversations of the command line: which one goes on, what was said in it, and the list of all.

Above: `_chat`. Below: `apps`, `state`.
"""

from __future__ import annotations

import datetime
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from ..apps import ChatSettings
from ..errors import ConfigError
from ..state import MemoryStore, SQLiteStore

if TYPE_CHECKING:
    from ..apps import ChatConversation, ChatService
    from ..state import StateStore
    from ._options import ChatOptions
    from ._screen import Screen

__all__ = ["ChosenConversation", "list_conversations", "open_history"]

SYSTEM = "You are a helpful AI assistant. Be friendly and informative."
"""What the model is told first, where nobody says otherwise."""

_MAX_TITLE = 60
_PAGE = 100


def open_history(options: ChatOptions) -> StateStore:
    """Return the store of the conversations, to be opened: the file that was named, else one that is forgotten.

    Raises:
        ConfigError: If an option needs a file that is not named, or not there.
    """
    for option, is_given in (("--resume", options.resume is not None), ("--list", options.list)):
        if is_given and options.history is None:
            raise ConfigError(option, "needs the file with the conversations: give --history PATH")
        if is_given and not Path(options.history or "").is_file():
            raise ConfigError(option, f"there is no file {options.history!r}")
    return MemoryStore() if options.history is None else SQLiteStore(options.history)


async def all_conversations(service: ChatService, prefix: str = "") -> list[ChatConversation]:
    """Return the conversations whose id begins so, the one that was changed last at the end."""
    found: list[ChatConversation] = []
    after: str | None = None
    while True:
        page = await service.conversations(prefix=prefix, after=after, limit=_PAGE)
        found += page.conversations
        after = page.next
        if after is None:
            return sorted(found, key=lambda one: one.updated_s)


async def list_conversations(service: ChatService, screen: Screen) -> None:
    """Show one line for each conversation."""
    found = await all_conversations(service)
    for one in found:
        when = datetime.datetime.fromtimestamp(one.updated_s).astimezone().strftime("%Y-%m-%d %H:%M")
        turns = f"{one.turns} turn{'s' * (one.turns != 1)}"
        screen.line(f"{one.id}  {when}  {turns:>9}  {' '.join(one.title.split())}".rstrip())
    if not found:
        screen.line("There are no conversations.")


class ChosenConversation:
    """The conversation of a chat. A new one is made with the first message, whose beginning is its title."""

    def __init__(self, service: ChatService, options: ChatOptions) -> None:
        self._service = service
        self._options = options
        self.resumed: ChatConversation | None = None
        """The one that goes on; None: a new one."""
        self._id = ""

    async def choose(self) -> None:
        """Find the conversation that is to go on, if one is.

        Raises:
            ConfigError: If there is none, or several have an id that begins so.
        """
        wanted = self._options.resume
        if wanted is None:
            return
        found = await all_conversations(self._service, wanted)
        exact = [one for one in found if one.id == wanted]
        if exact or not wanted:
            found = (exact or found)[-1:]
        if len(found) != 1:
            problem = "several conversations have an id that begins so" if found else "there is no such conversation"
            raise ConfigError("--resume", f"{problem if wanted else 'there are no conversations'}; see --list")
        self.resumed, self._id = found[0], found[0].id
        system = self._options.system
        if system is not None and system != self.resumed.settings.system:
            self.resumed = await self._service.update(self._id, self.resumed.settings.replace(system=system))

    async def id_for(self, text: str) -> str:
        """Return the id, for a message of the user; a new conversation is made now."""
        if not self._id:
            title = " ".join(text.split())
            title = title if len(title) <= _MAX_TITLE else f"{title[: _MAX_TITLE - 1]}…"
            system = SYSTEM if self._options.system is None else self._options.system
            made = await self._service.create(ChatSettings(title=title, system=system), id=uuid.uuid4().hex[:12])
            self._id = made.id
        return self._id
