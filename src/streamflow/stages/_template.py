"""Templates, whose variables are filled in once and never read again, and the stages around them.

Above: users, `_prompt`. Below: `_conversing`.
Rules: a template is what the programmer wrote; what users, tools and documents say is a value. A value is put in letter by letter,
in one pass, so that braces in it mean nothing.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

from ..elements import Message, MessageElement, Metadata
from ..errors import ConfigError, TemplateError
from ._checks import checked_count
from ._conversing import ConversationStage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..elements import JsonValue, StreamElement
    from ._context import RunContext

__all__ = ["Template", "TemplateStage", "VariablesOf", "VariablesStage"]

VARIABLES = "variables"
"""The key of the metadata under which variables travel on a message."""

Variables: TypeAlias = "Mapping[str, JsonValue]"
"""Variables by name."""

VariablesOf: TypeAlias = "Variables | Callable[[RunContext[object], MessageElement], Variables | Awaitable[Variables]]"
"""Where variables come from: a dict, or a function of the run (with its `deps`) and the last message of the user; may be async."""

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Template:
    """A text with variables: `{name}`; `{{` and `}}` are braces.

    ```python
    Template("You help {name}. Answer as {{...}}.").fill({"name": "Ada {x}"})  # "You help Ada {x}. Answer as {...}."
    ```

    Args:
        text: The text.
        name: What errors call it.

    Raises:
        ConfigError: If a brace stands alone, or what is in braces is no name.
    """

    def __init__(self, text: str, *, name: str = "template") -> None:
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - programs are not all checked
            raise ConfigError("text", f"template {name!r}: give a text, got {text!r:.80}")
        self.name: str = name
        self._pieces: tuple[tuple[str, str | None], ...] = tuple(_pieces(text, name))
        self.variables: frozenset[str] = frozenset(one for _, one in self._pieces if one is not None)
        """The names of its variables."""

    def fill(self, values: Mapping[str, object], *, refuse_unused: bool = False) -> str:
        """Return the text with its variables filled in; values are put in as `str()` says them, and never read as templates.

        Args:
            values: What the variables are. None is no value.
            refuse_unused: Whether a value that the template does not have is an error.

        Raises:
            TemplateError: If a variable is missing, or a value unused; names them.
        """
        missing = tuple(sorted(one for one in self.variables if values.get(one) is None))
        unused = tuple(sorted(set(values) - self.variables)) if refuse_unused else ()
        if missing or unused:
            raise TemplateError(self.name, missing, unused)
        return "".join(text if one is None else text + str(values[one]) for text, one in self._pieces)

    def __repr__(self) -> str:
        return f"<Template {self.name!r} {sorted(self.variables)}>"


class VariablesStage(ConversationStage):
    """Find out the variables of a turn, and write them into the metadata of the user's last message, for `TemplateStage`.

    ```python
    VariablesStage({"product": "Acme"}, lambda run, message: {"user": run.deps.user_name})
    ```

    In: `MessageElement`s, the conversation of one turn, oldest first; `TextElement`s, each a whole message of the user; `TurnEnd`.
    Out: the same messages; the last one of the user has `variables` in its metadata. What is there already is kept, and laid under
    what this stage finds. A turn without a message of the user is passed on as it is.

    Flow:
        emits: on `TurnEnd`; for the rest when the input ends.
        backpressures: while the output is full, and while a function works; holds at most `max_messages` messages.
        completes: when the input ends, after the last turn.
        fails: with what a function raises; `ElementError` if a value is not JSON, or a turn has more than `max_messages` messages.
        cancels: drops what it holds.
        interrupts: keeps the messages that it holds.

    Args:
        sources: Where variables come from, in order: a later one wins.
        max_messages: Most messages of one turn.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    def __init__(self, *sources: VariablesOf, max_messages: int = 10_000, name: str = "variables") -> None:
        super().__init__(name, max_messages)
        for place, source in enumerate(cast("tuple[object, ...]", sources)):
            if not isinstance(source, Mapping) and not callable(source):
                raise ConfigError(f"sources[{place}]", f"stage {name!r}: give a dict or a function, got {source!r:.80}")
        if not sources:
            raise ConfigError("sources", f"stage {name!r}: give at least one dict or function")
        self._sources = tuple(one if callable(one) else Metadata(one) for one in sources)

    async def assemble(self, messages: list[MessageElement], run: RunContext[object]) -> Sequence[StreamElement]:
        """Return the messages, the user's last one with its variables."""
        place = last_of_user(messages)
        if place is None:
            return messages
        asked = messages[place]
        known = dict(variables_of(asked))
        for source in self._sources:
            made = source(run, asked) if callable(source) else source
            known.update(await made if inspect.isawaitable(made) else made)
        return [*messages[:place], asked.with_metadata(**{VARIABLES: known}), *messages[place + 1 :]]


class TemplateStage(ConversationStage):
    """Put a system message in front of a turn, made of a template and the turn's variables.

    In: `MessageElement`s, the conversation of one turn, oldest first; `TextElement`s, each a whole message of the user; `TurnEnd`.
    Out: the system message, with the `route` of the user's last message in its metadata if that has one; the messages, just as they
    came: what users, tools and stores say is never a template. The template is filled once for each turn.

    Variables are what `variables` gives, and over it what the metadata `variables` of the user's last message say.

    Flow:
        emits: on `TurnEnd`; for the rest when the input ends.
        backpressures: while the output is full; holds at most `max_messages` messages.
        completes: when the input ends, after the last turn.
        fails: `TemplateError` if a variable is missing, or, where that is asked for, unused; `ElementError` if a turn has more than
            `max_messages` messages.
        cancels: drops what it holds.
        interrupts: keeps the messages that it holds.

    Args:
        template: The template of the system message, or one for each route.
        variables: Values for all turns.
        default_route: Whose template is used for a message without a route, or with one that `template` does not name.
        refuse_unused: Whether a variable that the template does not have is an error.
        max_messages: Most messages of one turn.
        name: Name in the graph.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    def __init__(
        self,
        template: str | Template | Mapping[str, str | Template],
        *,
        variables: Mapping[str, JsonValue] | None = None,
        default_route: str = "general",
        refuse_unused: bool = False,
        max_messages: int = 10_000,
        name: str = "template",
    ) -> None:
        super().__init__(name, checked_count(max_messages, "max_messages", name))
        given = template if isinstance(template, Mapping) else {default_route: template}
        self._templates = {
            route: one if isinstance(one, Template) else Template(one, name=f"{name}/{route}")
            for route, one in given.items()
        }
        if default_route not in self._templates:
            names = ", ".join(map(repr, self._templates))
            raise ConfigError("default_route", f"stage {name!r}: no template for {default_route!r}; there are {names}")
        self._default_route = default_route
        self._variables = Metadata(variables or {})
        self._refuse_unused = refuse_unused

    async def assemble(self, messages: list[MessageElement], run: RunContext[object]) -> Sequence[StreamElement]:
        """Return the messages with the system message in front."""
        place = last_of_user(messages)
        asked = None if place is None else messages[place]
        route = None if asked is None else asked.metadata.get("route")
        chosen = self._templates.get(route) if isinstance(route, str) else None
        values = {**self._variables, **({} if asked is None else variables_of(asked))}
        text = (chosen or self._templates[self._default_route]).fill(values, refuse_unused=self._refuse_unused)
        system = MessageElement(Message("system", text))
        return [system if route is None else system.with_metadata(route=route), *messages]


def last_of_user(messages: Sequence[MessageElement]) -> int | None:
    """Return where the last message of the user stands; None: nowhere."""
    return next((at for at in reversed(range(len(messages))) if messages[at].message.role == "user"), None)


def variables_of(element: MessageElement) -> Mapping[str, JsonValue]:
    """Return the variables that a message carries."""
    carried = element.metadata.get(VARIABLES)
    return carried if isinstance(carried, Mapping) else {}


def _pieces(text: str, name: str) -> Iterable[tuple[str, str | None]]:
    """Give a template in pieces: text, and the variable behind it."""
    at, said = 0, ""
    for found in _PIECE.finditer(text):
        said += text[at : found.start()]
        at = found.end()
        if found[0] in ("{{", "}}"):
            said += found[0][0]
            continue
        variable = found[1]
        if variable is None or not _NAME.fullmatch(variable):
            place = f"character {found.start()}"
            message = (
                f"template {name!r}: {found[0]!r:.40} at {place} is no variable; write {{name}}, or double the brace"
            )
            raise ConfigError("text", message)
        yield said, variable
        said = ""
    yield said + text[at:], None
