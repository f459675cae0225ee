"""The machine that reads JSON: one function per state, and the containers, strings and words in hand.

Above: `_json_stream`. Below: `_json_scan`, `_json_paths`, `errors`.

Each state (`_step`) takes as much of the text as it can and says how far it came; it may take nothing when only the state changes.
Nothing is ever read twice, so the cost is that of the document, however it is cut. Containers are put into their parents when they
open, and so are live. The path of a value is not kept but looked up, in the containers that are open, when a value that is wanted
begins or ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, TypeAlias

import msgspec

from ..errors import JsonStreamError
from ._json_paths import Node, show_path
from ._json_scan import (
    COLON_QUOTE,
    COMMA_QUOTE,
    CUT_ESCAPE,
    ESCAPED,
    PLAIN,
    SHORT_ESCAPES,
    SPACE,
    SPACES,
    WORD,
    WORDS,
    number,
    unescaped,
    what_is,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JsonField", "JsonReader", "JsonTree"]

JsonTree: TypeAlias = "str | int | float | bool | dict[str, JsonTree] | list[JsonTree] | None"
"""A JSON value as `json.loads` gives it."""

_Container: TypeAlias = "dict[str, JsonTree] | list[JsonTree]"
_Step: TypeAlias = "Callable[[JsonReader, str, int], int]"


class JsonField(msgspec.Struct, frozen=True, gc=False):
    """What has become known of a value that was selected."""

    path: tuple[str | int, ...]
    """Where the value stands, as in `("slots", 0, "message")`."""
    text: str = ""
    """The next characters of a string, decoded."""
    offset: int = 0
    """How many characters of this string came before `text`."""
    done: bool = False
    """Whether the value is complete: `value` is it, and a string has no more characters."""
    value: JsonTree = None
    """The value, once it is complete."""
    reset: bool = False
    """Whether a key came again: forget what was told at `path`, and below it. Nothing else is in such a field."""


class JsonReader:
    """The state of reading one document.

    Args:
        top: What is wanted, from the document itself on.
        max_depth: Most objects and arrays inside each other.
        refuses_duplicates: Whether a key that comes twice in an object is an error.
    """

    def __init__(self, top: Node | None, *, max_depth: int, refuses_duplicates: bool) -> None:
        self._max_depth = max_depth
        self._refuses_duplicates = refuses_duplicates
        self._step: _Step = JsonReader._begin_value
        self._told: list[JsonField] = []
        # Where we are: the open container, its node, the key in hand, and the same of the containers around it.
        self._top = top
        self._container: _Container | None = None
        self._node: Node | None = None
        self._key = ""
        self._around: list[tuple[_Container | None, Node | None, str]] = []
        self._root: JsonTree = None
        # The string, key or word in hand.
        self._parts: list[str] = []
        self._path: tuple[str | int, ...] | None = None
        self._parts_told = 0
        self._chars_told = 0
        self._word_at = 0
        self._offset: int = 0  # of the text in hand: how many characters came before it
        self._tail: str = ""  # of the text in hand: what could not be taken yet

    def _is_over(self) -> bool:
        return self._step is JsonReader._after_root

    def _is_in_string(self) -> bool:
        return self._step is JsonReader._in_string

    def _is_in_word(self) -> bool:
        return self._step is JsonReader._in_word

    # The states. Each takes what it can of `text` from `at` on, `at < len(text)`, and returns how far it came.

    def _begin_value(self, text: str, at: int) -> int:
        char = text[at]
        if char == '"':
            return self._begin_string(at + 1)
        if char == "{":
            self._open({}, JsonReader._first_key, at)
            return at + 1
        if char == "[":
            self._open([], JsonReader._first_item, at)
            return at + 1
        if char in SPACES:
            return SPACE(text, at).end()
        end = WORD(text, at).end()
        if end == at:
            self._fail(f"{char!r} where a value must begin", at)
        self._word_at = self._offset + at
        self._step = JsonReader._in_word
        return at

    def _begin_string(self, at: int) -> int:
        if self._node is not None or self._container is None:
            node = self._node_here()
            self._path = self._path_here() if node is not None and node.is_wanted else None
        self._step = JsonReader._in_string
        return at

    def _in_string(self, text: str, at: int) -> int:
        end = PLAIN(text, at).end()
        if end > at:
            self._parts.append(text[at:end])
        if end == len(text):
            return end
        if text[end] != '"':
            return self._unplain(text, end)
        parts = self._parts
        value = parts[0] if len(parts) == 1 else "".join(parts)
        if self._path is not None:
            self._tell_end(value)
        if parts:
            parts.clear()
        self._store(value)
        return end + 1

    def _unplain(self, text: str, at: int) -> int:
        """Take escapes, and the plain characters between them."""
        end = ESCAPED(text, at).end()
        if end > at:
            raw = text[at:end]
            self._parts.append(SHORT_ESCAPES[raw] if raw in SHORT_ESCAPES else unescaped(raw))
        if end < len(text):
            char = text[end]
            if char == "\\":
                if not CUT_ESCAPE(text, end):
                    self._fail("an escape that JSON does not know", end)
                self._tail = text[end:]
                return len(text)
            if char != '"':
                self._fail(f"the control character {char!r} inside a string", end)
        return end

    def _in_key(self, text: str, at: int) -> int:
        end = PLAIN(text, at).end()
        parts = self._parts
        if end == len(text):
            parts.append(text[at:end])
            return end
        if text[end] != '"':
            if end > at:
                parts.append(text[at:end])
            return self._unplain(text, end)
        key = text[at:end]
        if parts:
            parts.append(key)
            key = "".join(parts)
            parts.clear()
        self._key = key
        assert isinstance(self._container, dict)
        if key in self._container:
            self._take_duplicate(end)
        match = COLON_QUOTE(text, end + 1)
        if match is not None:
            return self._begin_string(match.end())
        self._step = JsonReader._before_colon
        return end + 1

    def _in_word(self, text: str, at: int) -> int:
        end = WORD(text, at).end()
        self._parts.append(text[at:end])
        if end < len(text):
            self._end_word()
        return end

    def _first_key(self, text: str, at: int) -> int:
        char = text[at]
        if char == '"':
            self._step = JsonReader._in_key
            return at + 1
        if char in SPACES:
            return SPACE(text, at).end()
        if char != "}":
            self._fail(f"{char!r} where a key or the end of the object must be", at)
        self._close()
        return at + 1

    def _before_key(self, text: str, at: int) -> int:
        char = text[at]
        if char == '"':
            self._step = JsonReader._in_key
            return at + 1
        if char not in SPACES:
            self._fail(f"{char!r} where a key must begin", at)
        return SPACE(text, at).end()

    def _before_colon(self, text: str, at: int) -> int:
        char = text[at]
        if char == ":":
            self._step = JsonReader._begin_value
            return at + 1
        if char not in SPACES:
            self._fail(f"{char!r} where the colon behind a key must be", at)
        return SPACE(text, at).end()

    def _after_member(self, text: str, at: int) -> int:
        match = COMMA_QUOTE(text, at)
        if match is not None:
            self._step = JsonReader._in_key
            return match.end()
        char = text[at]
        if char == ",":
            self._step = JsonReader._before_key
        elif char == "}":
            self._close()
        elif char in SPACES:
            return SPACE(text, at).end()
        else:
            self._fail(f"{char!r} where a comma or the end of the object must be", at)
        return at + 1

    def _first_item(self, text: str, at: int) -> int:
        if text[at] == "]":
            self._close()
            return at + 1
        if text[at] in SPACES:
            return SPACE(text, at).end()
        return self._begin_value(text, at)

    def _after_item(self, text: str, at: int) -> int:
        match = COMMA_QUOTE(text, at)
        if match is not None:
            return self._begin_string(match.end())
        char = text[at]
        if char == ",":
            self._step = JsonReader._begin_value
        elif char == "]":
            self._close()
        elif char in SPACES:
            return SPACE(text, at).end()
        else:
            self._fail(f"{char!r} where a comma or the end of the array must be", at)
        return at + 1

    def _after_root(self, text: str, at: int) -> int:
        end = SPACE(text, at).end()
        if end < len(text):
            self._fail(f"{text[end]!r} behind the end of the document", end)
        return end

    # What the states do.

    def _open(self, container: _Container, step: _Step, at: int) -> None:
        if len(self._around) >= self._max_depth:
            self._fail(
                f"more than max_depth={self._max_depth} objects and arrays inside each other; raise the limit", at
            )
        outer = self._container
        node = self._node_here() if self._node is not None or outer is None else None
        self._around.append((outer, self._node, self._key))
        if outer is None:
            self._root = container
        elif isinstance(outer, dict):
            outer[self._key] = container
        else:
            outer.append(container)
        self._container, self._node, self._step = container, node, step

    def _close(self) -> None:
        closed, node = self._container, self._node
        container, self._node, self._key = self._around.pop()
        self._container = container
        if isinstance(container, dict):
            self._step = JsonReader._after_member
        else:
            self._step = JsonReader._after_root if container is None else JsonReader._after_item
        if node is not None and node.is_wanted:
            self._told.append(JsonField(self._path_here(stored=True), done=True, value=closed))

    def _store(self, value: JsonTree) -> None:
        container = self._container
        if type(container) is dict:
            container[self._key] = value
            self._step = JsonReader._after_member
        elif type(container) is list:
            container.append(value)
            self._step = JsonReader._after_item
        else:
            self._root = value
            self._step = JsonReader._after_root

    def _end_word(self) -> None:
        word = "".join(self._parts)
        value: JsonTree
        if word in WORDS:
            value = WORDS[word]
        else:
            value = number(word)
            if value is None:
                self._fail(what_is(word), self._word_at - self._offset)
        self._parts.clear()
        if self._node is not None or self._container is None:
            node = self._node_here()
            if node is not None and node.is_wanted:
                self._told.append(JsonField(self._path_here(), done=True, value=value))
        self._store(value)

    def _take_duplicate(self, at: int) -> None:
        if self._refuses_duplicates:
            self._fail("a key that this object has already", at)
        # What was told of the earlier value cannot be taken back, only called void.
        if self._node is not None and self._node_here() is not None:
            self._told.append(JsonField(self._path_here(), reset=True))

    def _node_here(self) -> Node | None:
        """Return the node of the value that begins here."""
        node, container = self._node, self._container
        if container is None:
            return self._top
        if node is None:
            return None
        if isinstance(container, dict):
            return node.keys.get(self._key, node.other_key)
        return node.items.get(len(container), node.other_item)

    def _path_here(self, *, stored: bool = False) -> tuple[str | int, ...]:
        """Return the path of the value that begins here, or that has just been stored."""
        path: list[str | int] = [
            key if isinstance(outer, dict) else len(outer) - 1 for outer, _, key in self._around if outer is not None
        ]
        container = self._container
        if isinstance(container, dict):
            path.append(self._key)
        elif container is not None:
            path.append(len(container) - stored)
        return tuple(path)

    def _tell_text(self) -> None:
        """Tell the characters of the open string that were not told."""
        parts, told = self._parts, self._parts_told
        text = parts[told] if len(parts) == told + 1 else "".join(parts[told:])
        self._parts_told = len(parts)
        assert self._path is not None
        self._told.append(JsonField(self._path, text, self._chars_told))
        self._chars_told += len(text)

    def _tell_end(self, value: str) -> None:
        assert self._path is not None
        rest = "".join(self._parts[self._parts_told :])
        self._told.append(JsonField(self._path, rest, self._chars_told, done=True, value=value))
        self._path, self._parts_told, self._chars_told = None, 0, 0

    def _fail(self, message: str, at: int, *, truncated: bool = False) -> NoReturn:
        raise JsonStreamError(message, self._offset + at, truncated, show_path(self._path_here()))
