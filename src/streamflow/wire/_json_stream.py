"""JSON as it arrives: decoded characters of chosen strings, and the value so far, in one pass over the input.

Above: the stage `ExtractJsonStage`, users. Below: `_json_paths`, `errors`.

The reader is a machine with one function per state (`_step`), each of which takes as much of the text as it can and says how far it
came. A string is taken in runs found by a regular expression, never character by character; nothing is ever read twice, so the
cost is that of the document, however it is cut. Containers are put into their parents when they open, and so are live.

What a cut leaves undecided is kept and put in front of the next text: an escape that is not complete, or the first half of a
surrogate pair, at most 11 characters; and half a UTF-8 character. Numbers and words are kept until what follows ends them: `1` may
become `12`.

Refused as `json.loads` refuses it (RFC 8259), and also what it accepts beyond the standard or what no element can hold: `NaN`,
`Infinity`, a number beyond the range of a float. A surrogate without its other half becomes U+FFFD.
"""

from __future__ import annotations

import codecs
import contextlib
from typing import TYPE_CHECKING, Literal, NoReturn, TypeVar, cast, final

from ..errors import ConfigError, JsonStreamError
from ._json_partial import view_of
from ._json_paths import compile_paths
from ._json_reader import JsonField, JsonReader, JsonTree
from ._json_scan import CUT_WORD, NUMBER, SURROGATE, WORDS, what_is

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["JsonStream"]

T = TypeVar("T")


@final
class JsonStream(JsonReader):
    """Read one JSON document piece by piece, and tell what is selected as it arrives.

    ```python
    stream = JsonStream(["slots[*].message"])
    for delta in deltas:
        for field in stream.feed(delta):
            print(field.text, end="")
    document = stream.finish()
    ```

    Any cut of the document tells the same: every character of a selected string once, in order, as soon as it is certain. A
    selected number, word, object or array is told once, when it is complete (one that is the whole document: by `finish()` alone).
    Paths are those of the real structure: a key of the same name elsewhere, or in the text of a string, is none of it.

    Args:
        select: Paths: `a.b`, `a[2]`, `a[*].b`, `*`, `a["odd.key"]`; `$` is the document itself. None of them: nothing is told.
        max_depth: Most objects and arrays inside each other.
        max_chars: Longest document, in characters.
        duplicate_keys: A key that comes twice in an object: `last` counts, as with `json.loads`, or is an `error`.

    Raises:
        ConfigError: If a path cannot be read, or a limit is not positive.
    """

    def __init__(
        self,
        select: Iterable[str] = (),
        *,
        max_depth: int = 100,
        max_chars: int = 10_000_000,
        duplicate_keys: Literal["last", "error"] = "last",
    ) -> None:
        for name, limit in (("max_depth", max_depth), ("max_chars", max_chars)):
            if limit < 1:
                raise ConfigError(name, f"{limit} is no limit; give 1 or more")
        if duplicate_keys not in {"last", "error"}:
            raise ConfigError("duplicate_keys", f"give 'last' or 'error', got {duplicate_keys!r:.80}")
        super().__init__(
            compile_paths((select,) if isinstance(select, str) else tuple(select)),
            max_depth=max_depth,
            refuses_duplicates=duplicate_keys == "error",
        )
        self._max_chars = max_chars
        # The input: what a cut has left undecided, and what is wrong with what comes behind the text in hand.
        self._half: str | bytes = b""
        self._is_begun = False
        self._late = ""
        self._error: tuple[str, int, bool, str] | None = None
        self._is_finished = False
        # Looks at the value with the open string in it.
        self._undo: Callable[[], object] | None = None
        self._views: dict[object, tuple[int, object]] = {}

    @property
    def value(self) -> JsonTree:
        """The value so far, live: objects and arrays grow in place. A string, number or word is there once it is complete.

        Looking costs nothing. None as long as there is nothing. Do not change it; take a copy to keep a state of it.
        """
        self._take_back()
        return self._root

    @property
    def is_complete(self) -> bool:
        """Whether the document is complete; only spaces may follow."""
        return self._is_over() and self._error is None

    def growing(self) -> JsonTree:
        """Return the value so far with the string that is still arriving in it, as far as it has come.

        The same live object as `value`, so it is the reader's again with the next call. Looking costs what this one string is long.
        """
        if self._undo is not None or not self._is_in_string() or not self._parts:
            return self._root
        text = "".join(self._parts)
        self._parts[:], self._parts_told = [text], min(self._parts_told, 1)
        container, key, before = self._container, self._key, self._root
        if isinstance(container, list):
            container.append(text)
            self._undo = container.pop
        elif container is None:
            self._root = text
            self._undo = lambda: setattr(self, "_root", before)
        elif key in container:
            last = container[key]
            container[key] = text
            self._undo = lambda: container.__setitem__(key, last)
        else:
            container[key] = text
            self._undo = lambda: container.pop(key)
        return self._root

    def partial(self, model: type[T]) -> T | None:
        """Return the document so far as an object of a model in which nothing is required; None as long as there is none.

        The string that is still arriving is in it where its field takes any text; a choice of a `Literal` is there once it is
        complete. What has not come is None, or the default that the model gives. So the object is not of the type `model` itself,
        but has its fields; read the whole document with the model's own decoder. While what has come does not fit the model, it is
        the last object that did. Made at most once between two pieces of input, however often you look.

        Args:
            model: A `msgspec.Struct` or a pydantic model.

        Raises:
            ConfigError: If it is neither.
        """
        return cast("T | None", self._seen_as(model))

    def _seen_as(self, model: object) -> object:
        read = view_of(model).read
        seen_at, made = self._views.get(model, (-1, None))
        if seen_at == self._offset:
            return made
        for look in (self.growing, lambda: self.value):
            whole = look()
            if isinstance(whole, dict):
                with contextlib.suppress(ValueError):
                    made = read(whole)
                    break
        self._views[model] = (self._offset, made)
        return made

    def feed(self, chunk: str | bytes) -> list[JsonField]:
        """Take the next piece of the document, and return what it makes known.

        Args:
            chunk: Text, or UTF-8, cut anywhere.

        Raises:
            JsonStreamError: If the document is malformed or beyond a limit. What was certain before it is returned first; the
                error then comes from the next call. The reader is of no use after it.
        """
        if self._error is not None or self._is_finished:
            self._fail_again()
        if self._undo is not None:
            self._take_back()
        text = chunk if type(chunk) is str and not self._half else self._decoded(chunk)
        if not text.isascii():
            text = self._without_surrogates(text)
        if self._tail:
            text = self._tail + text
            self._tail = ""
        size = len(text)
        if self._offset + size > self._max_chars:
            size = self._max_chars - self._offset
            text, self._late = text[:size], f"a document longer than max_chars={self._max_chars}; raise the limit"
        at = 0
        try:
            while at < size:
                at = self._step(self, text, at)
            if self._late:
                self._fail(self._late, size)
        except JsonStreamError as error:
            self._error = (error.message, error.offset, error.truncated, error.path)
        self._offset += size - len(self._tail)
        if self._path is not None and len(self._parts) > self._parts_told:
            self._tell_text()
        told = self._told
        if told:
            self._told = []
            return told
        if self._error is not None:
            self._fail_again()
        return []

    def finish(self) -> JsonTree:
        """Say that nothing follows, and return the document.

        Raises:
            JsonStreamError: If the document is malformed, or is not complete: `truncated` tells these apart.
        """
        if self._error is not None:
            self._fail_again()
        self._take_back()
        if self._half or self._tail:
            self._cut_off()
        if self._is_in_word():
            word = "".join(self._parts)
            if self._container is None and (word in WORDS or NUMBER(word)):
                self._end_word()
            elif not CUT_WORD(word):
                self._fail(what_is(word), self._word_at - self._offset)
        if not self._is_over():
            self._cut_off()
        self._is_finished = True
        return self._root

    # The input, and what is wrong with it.

    def _decoded(self, chunk: str | bytes) -> str:
        """Return a piece of input as text, as far as its characters are whole."""
        half, self._half = self._half, b""
        if isinstance(chunk, str):
            if isinstance(half, str):
                return half + chunk
            self._late = "half a UTF-8 character, and text behind it"
            return ""
        if isinstance(half, str):
            self._late = "half a surrogate pair, and bytes behind it"
            return ""
        data = half + chunk
        try:
            text, size = codecs.utf_8_decode(data, "strict", False)
        except UnicodeDecodeError as error:
            text, size, self._late = data[: error.start].decode(), len(data), "bytes that are no UTF-8"
        self._half = data[size:]
        if not self._is_begun and text:
            self._is_begun = True
            return text.removeprefix("\ufeff")  # json.loads takes a byte order mark from bytes, not from text
        return text

    def _without_surrogates(self, text: str) -> str:
        """Return text as it can be encoded. Halves of a pair are joined, wherever it was cut; a lone one becomes U+FFFD."""
        if SURROGATE.search(text) is None:
            return text
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _cut_off(self) -> NoReturn:
        self._fail("the document is cut off", len(self._tail), truncated=True)

    def _fail_again(self) -> NoReturn:
        if self._error is None:
            self._fail("input after finish()", 0)
        raise JsonStreamError(*self._error)

    def _take_back(self) -> None:
        """Take the open string out of the value again."""
        if self._undo is not None:
            self._undo()
            self._undo = None
