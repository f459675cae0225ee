"""What a guard is, what it may decide, and guards for words, patterns and lengths.

Above: `_guard_checks`, `_json_guard`, users. Below: `errors`.
A guard looks at a piece of a text and says where in it something is to be done. A text that streams is shown to it again and again,
with more behind; what it says about a place counts once as many characters are behind that place as the guard's `reach`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from ..errors import ConfigError
from ._checks import checked_count

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "GuardAction",
    "GuardAnswer",
    "GuardDecision",
    "GuardFunction",
    "GuardView",
    "Guardrail",
    "LengthGuard",
    "RegexGuard",
    "WordGuard",
    "checked_action",
]

GuardAction = Literal["allow", "deny", "replace", "abort"]
"""What becomes of a text: it goes on; it ends here; a part of it is replaced; it ends here and so does the model's call."""


@dataclasses.dataclass(frozen=True, slots=True)
class GuardDecision:
    """What a guard says about a text, or about a part of it."""

    action: GuardAction
    """What is to be done."""
    reason: str = ""
    """Why, for people and logs. Do not repeat the text in it."""
    text: str = ""
    """Replace: what stands there instead. Deny and abort: what is said instead of the rest; empty: the stage's `refusal`."""
    start: int | None = None
    """Where in the text that the guard was shown it begins; None: all that has not been let through yet."""
    end: int | None = None
    """Where it ends; None: the end of the text."""


GuardAnswer: TypeAlias = bool | GuardDecision | Sequence[GuardDecision] | None
"""What a guard returns: None or True allow, False denies; one decision, or one for each place."""

GuardFunction: TypeAlias = Callable[[str], GuardAnswer | Awaitable[GuardAnswer]]
"""A function as a guard: takes the text, may be async. One that is not async must be quick."""


@dataclasses.dataclass(frozen=True, slots=True)
class GuardView:
    """What a guard is shown."""

    text: str
    """The text as the model or the user wrote it, as far as it is there and still matters."""
    start: int = 0
    """Where in it begins what has not been let through yet; what is before is there for the context."""
    offset: int = 0
    """How many characters of the whole text stood before it."""
    final: bool = True
    """Whether nothing comes behind it."""


@runtime_checkable
class Guardrail(Protocol):
    """A guard. A function of the text is one, too; see `GuardFunction`."""

    @property
    def name(self) -> str:
        """What it is called in decisions."""
        ...

    @property
    def reach(self) -> int | None:
        """Longest text, in characters, that it has to see at once; None: all of it, so that it is not for streams."""
        ...

    def check(self, view: GuardView) -> GuardAnswer | Awaitable[GuardAnswer]:
        """Say what is to be done. Called again with more text behind; what is decided beyond its reach is asked again."""
        ...


class RegexGuard:
    r"""A guard that finds a pattern.

    ```python
    RegexGuard(r"\b\d{16}\b", action="replace", text="[card]", reach=16)
    ```

    Args:
        pattern: A regular expression. It is yours: one that backtracks without end holds up the event loop.
        action: What is to be done where it is found.
        text: What is said instead.
        reach: Longest text that it can match, in characters. On a stream a longer match is found, but what stood before its
            last `reach` characters may have been shown.
        reason: Why, for people and logs.
        name: What it is called in decisions.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    def __init__(
        self,
        pattern: str | re.Pattern[str],
        *,
        action: GuardAction = "deny",
        text: str = "",
        reach: int = 200,
        reason: str = "a forbidden pattern",
        name: str = "regex",
    ) -> None:
        try:
            self._pattern = re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ConfigError("pattern", f"give a regular expression: {error}") from error
        self._decision = GuardDecision(checked_action(action), reason, text)
        self.reach: int | None = checked_count(reach, "reach", name)
        self.name: str = name

    def check(self, view: GuardView) -> Sequence[GuardDecision]:
        """Return a decision for each match."""
        return [
            dataclasses.replace(self._decision, start=found.start(), end=found.end())
            for found in self._pattern.finditer(view.text, view.start)
            if found.end() > found.start()
        ]


class WordGuard(RegexGuard):
    """A guard that finds words and phrases, in upper or lower case.

    Args:
        words: What is forbidden, letter by letter.
        action: What is to be done where one is found.
        text: What is said instead.
        whole_words: Whether a word counts only where no letter or digit stands beside it.
        reason: Why, for people and logs.
        name: What it is called in decisions.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    def __init__(
        self,
        words: Iterable[str],
        *,
        action: GuardAction = "deny",
        text: str = "",
        whole_words: bool = True,
        reason: str = "a forbidden word",
        name: str = "words",
    ) -> None:
        if isinstance(words, str):
            raise ConfigError("words", "give a list of words, not one text")
        given = sorted(
            _checked_words(words), key=len, reverse=True
        )  # of two that begin alike, the longer one is tried first
        pattern = "|".join(map(re.escape, given))
        if whole_words:
            pattern = rf"(?<!\w)(?:{pattern})(?!\w)"
        super().__init__(
            re.compile(pattern, re.IGNORECASE), action=action, text=text, reach=len(given[0]), reason=reason, name=name
        )


class LengthGuard:
    """A guard that limits how long a text may be.

    Args:
        max_chars: Most characters; what is beyond is denied, replaced or the reason for an end.
        min_chars: Fewest characters; a shorter text is denied, and on a stream that is known only at its end.
        action: What is to be done beyond `max_chars`: `replace` cuts it off and says `text` there.
        text: What is said instead.
        name: What it is called in decisions.

    Raises:
        ConfigError: If an argument is wrong; the field is named.
    """

    reach: int | None = 1

    def __init__(
        self,
        max_chars: int,
        *,
        min_chars: int = 0,
        action: GuardAction = "deny",
        text: str = "",
        name: str = "length",
    ) -> None:
        self._max_chars = checked_count(max_chars, "max_chars", name)
        self._min_chars = checked_count(min_chars, "min_chars", name, least=0)
        self._decision = GuardDecision(checked_action(action), f"longer than {max_chars} characters", text)
        self.name: str = name

    def check(self, view: GuardView) -> GuardDecision | None:
        """Return a decision for what is beyond the limit."""
        length = view.offset + len(view.text)
        if view.final and length < self._min_chars:
            return GuardDecision("deny", f"shorter than {self._min_chars} characters", start=view.start)
        if length <= self._max_chars:
            return None
        at = max(self._max_chars - view.offset, view.start)
        is_first = self._max_chars >= view.offset + view.start
        return dataclasses.replace(
            self._decision, start=at, end=len(view.text), text=self._decision.text if is_first else ""
        )


def checked_action(action: object) -> GuardAction:
    """Return `action`, if it is one that a guard can be told.

    Raises:
        ConfigError: If it is anything else.
    """
    if action not in ("deny", "replace", "abort"):
        raise ConfigError("action", f"give 'deny', 'replace' or 'abort', got {action!r:.80}")
    return action


def _checked_words(words: Iterable[object]) -> Iterator[str]:
    found = False
    for word in words:
        if not isinstance(word, str) or not word.strip():
            raise ConfigError("words", f"a word is a non-empty text, got {word!r:.80}")
        found = True
        yield word
    if not found:
        raise ConfigError("words", "give at least one word")
